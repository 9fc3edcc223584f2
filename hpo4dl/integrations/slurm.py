"""Calls as Slurm jobs: `Tuner(..., executor=SlurmExecutor('jobs', time=60, partition='gpu'), num_workers=16)`.

A job a call, through submitit: it waits in the queue, starts Python, imports torch, trains, and gives
its GPU back. That is worth it where an epoch takes minutes; for shorter ones start workers once, inside one allocation
(MPI, Dask). Calls are submitted one by one: but for the first ones, a race never has several to submit at the same
time, so an array of jobs would be an array of one.

What became of a job is looked up in two places. Its result, a file, is looked for every second. The state of all jobs
is asked with one `squeue` every half minute, which needs no accounting database, as sacct would. A job that ended (by
its time limit, a pre-emption, scancel, a dead node, too little memory) and whose result is not seen `patience` seconds
later, NFS shows new files late, is lost: an `ExecutorError` that names its state and its log, so that the tuner makes
the call again if `retry` allows. Jobs are submitted with `--no-requeue`: Slurm may start a job again while its first
copy still writes, the tuner's own second call works in a folder of its own.
"""

from __future__ import annotations

import concurrent.futures
import math
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..checks import check_choice, check_number, check_path
from ..errors import ArgumentError, ExecutorError
from ..log import Log
from ..text import one_line

LOOK = 1.0
"""Seconds between two looks for the result of a job."""
ASK = 30.0
"""Seconds between two calls of squeue."""
ENDED = {'BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL', 'OUT_OF_MEMORY', 'PREEMPTED'}
ENDED |= {'REVOKED', 'TIMEOUT'}
"""The states in which a job does not run, and will not."""

logger = Log(__name__)


class SlurmExecutor:
    """Submits calls as Slurm jobs.

    Args:
        folder: where the scripts, logs and results of jobs lie, a folder each, on a file system that the compute nodes
            see. A job's folder is removed with its result, but for that of a call that failed.
        time: the time limit of a job: minutes, or a text as sbatch has it ('1-12:00:00').
        patience: seconds to wait for the result of a job that has ended; default 60.
        cluster: 'slurm' (default), or 'local': processes of this machine, to try it without Slurm.
        python: the command that starts Python in a job; default: the Python that runs here.
        parameters: of the job, as submitit's `SlurmExecutor` has them: `partition='gpu'`, `gpus_per_node=1`,
            `cpus_per_task=8`, `mem='32GB'`, `account=...`, `setup=['module load cuda']`; or whatever sbatch accepts,
            `additional_parameters={'reservation': 'mine'}`.

    Raises:
        ArgumentError: an argument cannot be used.
        ExecutorError: submitit or Slurm is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        time: int | str,
        *,
        patience: float = 60,
        cluster: str = 'slurm',
        python: str | None = None,
        **parameters: Any,
    ) -> None:
        self.folder = Path(check_path('folder', folder)).absolute()
        self.patience = check_number('patience', patience)
        self._local = check_choice('cluster', cluster, ('slurm', 'local')) == 'local'
        self._python = python
        own = {'no-requeue': True, 'signal': 'B:CONT@1'}  # a signal that does nothing, instead of submitit's USR2
        self._parameters = {'timeout_min': time} if self._local else {'time': time, 'job_name': 'hpo4dl'}
        self._parameters |= parameters | {'additional_parameters': own | parameters.get('additional_parameters', {})}
        tasks = parameters.get('nodes', 1) * (parameters.get('ntasks_per_node') or 1)
        if tasks != 1 and parameters.get('use_srun', True):
            raise ArgumentError('parameters', parameters, 'one task a job, or use_srun=False')
        self._submitter(self.folder)
        self._states: dict[str, str] = {}
        self._asked = self._tried = -math.inf

    def submit(self, function: Callable[..., Any], *arguments: Any) -> SlurmFuture:
        """Submit a call; raises what pickle or sbatch has against it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix='job_', dir=self.folder))
        try:
            with outside_of_jobs():
                job = self._submitter(folder).submit(in_job, function, *arguments)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return SlurmFuture(self, job.task(0), folder)

    def ended(self, job: Any, since: float) -> str | None:
        """Return how a job ended, submitted at `since` (monotonic clock); None: it did not, as far as we know."""
        if self._local:
            return str(job.state) if job.done() else None
        if monotonic() - self._tried >= ASK:
            self._tried = monotonic()
            states = job_states()
            if states is not None:
                self._states, self._asked = states, self._tried
        if self._asked <= since:
            return None
        state = self._states.get(job.job_id, 'forgotten by Slurm')
        return state if state.partition(' ')[0] in ENDED or job.job_id not in self._states else None

    def _submitter(self, folder: Path) -> Any:
        """Submitit's own executor for a folder."""
        try:
            import submitit
        except ImportError as error:
            raise ExecutorError(f'Slurm needs submitit: pip install submitit ({error})') from error
        try:
            engine = submitit.LocalExecutor if self._local else submitit.SlurmExecutor
            submitter = engine(folder, python=self._python)
        except RuntimeError as error:
            raise ExecutorError(f'Slurm cannot be used here: {one_line(error)}') from error
        try:
            submitter.update_parameters(**self._parameters)
        except (TypeError, ValueError) as error:
            raise ArgumentError('parameters', self._parameters, one_line(error)) from error
        return submitter


class SlurmFuture:
    """A submitted call, with what PEP 3148 asks of a future."""

    def __init__(self, executor: SlurmExecutor, job: Any, folder: Path) -> None:
        self._executor = executor
        self._job = job
        self._folder = folder
        self._submitted = monotonic()
        self._next_look = 0.0
        self._ended: float | None = None
        """When its job was first seen to have ended."""
        self._cancelled = False
        self._is_done = False
        self._result: Any = None
        self._exception: BaseException | None = None

    def done(self) -> bool:
        """Return whether the call is over; looks once a second at most."""
        if not self._is_done and monotonic() >= self._next_look:
            self._look()
            self._next_look = monotonic() + LOOK
        return self._is_done

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the call, and return what it returned.

        Raises:
            ExecutorError: the job failed, or ended without a result; names its log.
            concurrent.futures.CancelledError: it was cancelled.
            concurrent.futures.TimeoutError: it is not over after `timeout` seconds.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call, and return what `result` raises, or None."""
        end = math.inf if timeout is None else monotonic() + timeout
        while not self.done():
            if monotonic() >= end:
                raise concurrent.futures.TimeoutError
            sleep(min(LOOK, max(0.0, end - monotonic())))
        return self._exception

    def cancel(self) -> bool:
        """End the job, whether it waits or runs; False: it is over already."""
        if self.done():
            return False
        self._job.cancel(check=False)
        self._cancelled = True
        return True

    def _look(self) -> None:
        if self._has_result():
            self._read()
            return
        state = self._executor.ended(self._job, self._submitted)
        if state is None:
            self._ended = None
        elif self._cancelled:
            self._end(concurrent.futures.CancelledError())
        elif self._ended is None:
            self._ended = monotonic()
        elif monotonic() - self._ended >= self._executor.patience:
            self._end(ExecutorError(f'Slurm job {self._job.job_id} ended without a result: {state}; {self._log()}'))

    def _has_result(self) -> bool:
        try:  # on NFS, opening a folder brings the news; looking for a file may not
            return self._job.paths.result_pickle.name in os.listdir(self._folder)
        except OSError as error:
            logger.warning('%s cannot be read: %s', self._folder, one_line(error))
            return False

    def _read(self) -> None:
        try:
            error = self._job.exception()
            if error is None:
                self._result = self._job.result()
        except Exception as unreadable:  # whatever unpickling raises
            error = unreadable
        if error is None:
            self._end(None)
            if getattr(self._result, 'failed', None) is None:
                shutil.rmtree(self._folder, ignore_errors=True)
            return
        last = str(error).rpartition('\n-----')[0].strip() or str(error)  # the traceback stands between dashes
        self._end(ExecutorError(f'Slurm job {self._job.job_id} failed: {last.splitlines()[-1]}; {self._log()}'))

    def _end(self, error: BaseException | None) -> None:
        self._exception = error
        self._is_done = True

    def _log(self) -> str:
        return f'its log: {self._job.paths.stderr}'


def in_job(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a job: signals end it, as they end other programs; submitit's handlers would ignore or requeue."""
    for name in (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2):
        signal.signal(name, signal.SIG_DFL)
    return function(*arguments)


def job_states() -> dict[str, str] | None:
    """Return the states of all of the user's jobs that Slurm has in memory, by their ids; None: it did not answer."""
    command = ['squeue', '--noheader', '--states=all', '--format=%i|%T|%r', f'--user={os.getuid()}']
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning('squeue does not answer: %s', one_line(error))
        return None
    fields = [line.split('|', 2) for line in told.splitlines() if line.count('|') >= 2]
    return {job: state if reason in ('None', '') else f'{state} ({reason})' for job, state, reason in fields}


@contextmanager
def outside_of_jobs() -> Iterator[None]:
    """Hides the job that the tuner itself may run in: what is submitted would take over its memory, GPUs and tasks."""
    kept = ('SLURM_CONF', 'SLURM_CLUSTERS')
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith('SLURM_') and name not in kept}
    try:
        yield
    finally:
        os.environ.update(hidden)
