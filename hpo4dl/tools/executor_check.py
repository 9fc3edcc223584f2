"""Check that an executor can run trials: call `check_executor(EXECUTOR, num_workers)` where the tuner would run."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import check_count, check_number
from ..errors import ArgumentError, HPO4DLError
from ..execution.engines import ExecutorSlot, LostCall, Workers, slots_for
from ..text import brief, one_line
from ..trial import Attempt, Configuration, Objective, Outcome, Trial

SMALL_CALLS = 50
"""Number of calls of the first check, as many at a time as there are workers."""


@dataclass(frozen=True)
class ExecutorCheck:
    """One check and its result."""

    name: str
    problem: str | None
    """None if the check passed."""

    def __str__(self) -> str:
        return f'ok      {self.name}' if self.problem is None else f'FAILED  {self.name}: {self.problem}'


def check_executor(
    executor: Any, num_workers: int = 2, folder: str | None = None, kill: bool = False, seconds: float = 60
) -> list[ExecutorCheck]:
    """Make the calls that a tuner would make, and print one line a check.

    Args:
        executor: as in `Tuner`.
        num_workers: calls at a time; default 2.
        folder: a folder that workers and this process share; default: a temporary folder of this machine.
        kill: also kill a worker during a call, default False. Some executors are broken then; one that a callable makes
            is made anew.
        seconds: that the calls of a check may take; default 60.

    Returns:
        The checks; the executor can be used if all their problems are None.

    Raises:
        ArgumentError: an argument cannot be used.
    """
    check_number('seconds', seconds, positive=True)
    if folder is not None and not os.path.isdir(folder):
        raise ArgumentError('folder', folder, 'a folder that exists')
    if executor is None:
        raise ArgumentError('executor', None, 'an object with `submit`, as concurrent.futures has them, or its maker')
    with tempfile.TemporaryDirectory(dir=folder) as name:
        (slot,) = slots_for(executor, check_count('num_workers', num_workers), None, own_process=False)
        run = Checks(slot, Path(name), seconds)
        checks: list[tuple[str, Callable[[], str | None]]] = [
            ('many small calls, each with its own result', run.many_small_calls),
            (f'{num_workers} calls run at once', run.calls_at_once),
            ('what a worker wrote is seen here', run.shared_folder),
            ('an exception comes back as a failure', run.exception),
            ('what cannot be pickled is carried, or is an error', run.unpicklable_objective),
        ]
        if kill:
            checks += [
                ('a worker that dies is noticed', run.dead_worker),
                ('calls can be made after a worker died', run.many_small_calls),
            ]
        done = []
        for title, act in checks:
            try:
                problem = act()
            except HPO4DLError as error:
                problem = one_line(error)
            done.append(ExecutorCheck(title, problem))
            print(done[-1], flush=True)
        slot.close()
    return done


@dataclass
class Checks:
    """The checks; each returns its problem, or None if it passes.

    Raises:
        HPO4DLError: in a check, the executor takes no calls, or calls do not come back in time.
    """

    slot: ExecutorSlot
    folder: Path
    seconds: float
    number: int = 0
    """Of the next call."""

    def many_small_calls(self) -> str | None:
        got = self._calls(echo, SMALL_CALLS)
        wrong = [i for i, o in got.items() if not isinstance(o, Outcome) or o.metrics != {1: float(i)}]
        return f'{len(wrong)} of {len(got)} are wrong, such as {brief(got[wrong[0]])}' if wrong else None

    def calls_at_once(self) -> str | None:
        got = self._calls(meet, self.slot.capacity)
        missed = [outcome for outcome in got.values() if not isinstance(outcome, Outcome) or outcome.failed]
        return f'{len(missed)} calls did not meet the others: {brief(missed[0])}' if missed else None

    def shared_folder(self) -> str | None:
        (outcome,) = self._calls(write, 1).values()
        if not isinstance(outcome, Outcome) or outcome.folder is None:
            return brief(outcome)
        file = Path(outcome.folder) / 'file'
        end = time.monotonic() + self.seconds
        while not file.exists():
            if time.monotonic() > end:
                return f'{file} is not; workers and tuner need a file system that both see (folder=, storage_path=)'
            time.sleep(0.1)
        return None

    def exception(self) -> str | None:
        (outcome,) = self._calls(fail, 1).values()
        failed = isinstance(outcome, Outcome) and outcome.failed == 'ValueError: on purpose'
        return None if failed else brief(outcome)

    def unpicklable_objective(self) -> str | None:
        try:
            (outcome,) = self._calls(lambda c, epoch, p, path: {'epoch': epoch, 'metric': c['number']}, 1).values()
        except HPO4DLError as error:
            return None if 'pickle' in str(error) else one_line(error)
        return None if isinstance(outcome, Outcome) and not outcome.failed else brief(outcome)

    def dead_worker(self) -> str | None:
        (outcome,) = self._calls(die_once, 1).values()
        again = isinstance(outcome, Outcome) and not outcome.failed  # the engine made the call again by itself
        return None if again or isinstance(outcome, LostCall) else brief(outcome)

    def _calls(self, objective: Objective, n: int) -> dict[int, Outcome | LostCall]:
        """Make `n` calls, as many at a time as there are workers; return their outcomes by number."""
        numbers = iter(range(self.number, self.number + n))
        self.number += n
        got: dict[int, Outcome | LostCall] = {}
        end = time.monotonic() + self.seconds
        workers = Workers([self.slot], objective)
        while len(got) < n:
            while workers.has_room() and (number := next(numbers, None)) is not None:
                configuration: Configuration = {'number': number, 'n': n, 'folder': str(self.folder)}
                configuration['seconds'] = self.seconds / 2
                trial, place = Trial(number, configuration, 0, 1), self.folder / f'trial_{number}'
                attempt = Attempt(number, trial, str(place / 'attempt'), None, str(place / 'began'))
                if not workers.submit(attempt):
                    raise HPO4DLError(f'takes no calls: {self.slot.broken}')
            for call, outcome in workers.collect(1):
                got[call.attempt.number] = outcome
            if time.monotonic() > end:
                for call in list(workers.running.values()):
                    workers.give_up(call)  # it is nothing to the next check, but may occupy a worker
                raise HPO4DLError(f'{n - len(got)} of {n} calls did not come back in {self.seconds:g} seconds')
        return got


def echo(configuration: Configuration, epoch: int, previous_epoch: int, checkpoint_path: str) -> Any:
    return {'epoch': epoch, 'metric': configuration['number']}


def meet(configuration: Configuration, epoch: int, previous_epoch: int, checkpoint_path: str) -> Any:
    """Wait until as many calls run as there are workers."""
    folder = Path(configuration['folder']) / 'meeting'
    folder.mkdir(exist_ok=True)
    (folder / str(configuration['number'])).touch()
    end = time.monotonic() + configuration['seconds']
    while len(os.listdir(folder)) < configuration['n']:
        if time.monotonic() > end:
            here = len(os.listdir(folder))
            raise TimeoutError(f'{here} of {configuration["n"]} calls in {configuration["seconds"]:g} seconds')
        time.sleep(0.05)
    return {'epoch': epoch, 'metric': 0.0}


def write(configuration: Configuration, epoch: int, previous_epoch: int, checkpoint_path: str) -> Any:
    (Path(checkpoint_path) / 'file').write_text('written')
    return {'epoch': epoch, 'metric': 0.0}


def fail(configuration: Configuration, epoch: int, previous_epoch: int, checkpoint_path: str) -> Any:
    raise ValueError('on purpose')


def die_once(configuration: Configuration, epoch: int, previous_epoch: int, checkpoint_path: str) -> Any:
    """Kill its process in the first call; return in a repeated one."""
    died = Path(configuration['folder']) / 'died'
    if not died.exists():
        died.touch()
        os._exit(1)
    return {'epoch': epoch, 'metric': 0.0}
