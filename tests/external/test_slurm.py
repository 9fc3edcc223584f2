"""Calls as jobs of submitit: on its processes of this machine wherever it is installed, on Slurm where there is one.

`../shared/slurm-local.sh start` makes a Slurm of one node; then `export SLURM_CONF=$(../shared/slurm-local.sh conf)`.
"""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from objectives import trained
from races import tune
from workers import check_consistent, events, wait_until

from hpo4dl import ArgumentError, ExecutorError, Tuner, check_executor
from hpo4dl.integrations import slurm
from hpo4dl.integrations.slurm import SlurmExecutor

TESTS = Path(__file__).parents[1]
HAS_SUBMITIT = importlib.util.find_spec('submitit') is not None
HAS_SLURM = shutil.which('sinfo') is not None and subprocess.run(['sinfo'], capture_output=True).returncode == 0
needs_submitit = pytest.mark.skipif(not HAS_SUBMITIT, reason='submitit is not installed: pip install ".[slurm]"')
needs_slurm = pytest.mark.skipif(
    not (HAS_SUBMITIT and HAS_SLURM), reason='no Slurm answers here: see the beginning of this file'
)
SECONDS = 300
"""That a job may take: to start Python and import torch on a busy machine, too."""
CLUSTERS = [pytest.param('local', marks=needs_submitit), pytest.param('slurm', marks=needs_slurm)]


@pytest.fixture(autouse=True)
def workers_import_what_we_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(map(str, [TESTS / 'external', TESTS / 'helpers', TESTS.parent])))
    monkeypatch.setattr(slurm, 'ASK', 1)
    monkeypatch.setattr(slurm, 'LOOK', 0.2)


def executor(folder: Path, cluster: str, **parameters) -> SlurmExecutor:
    return SlurmExecutor(folder / 'jobs', 5, cluster=cluster, patience=1, **parameters)


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise ValueError('on purpose')


def hang(folder: Path) -> None:
    (folder / f'pid_{os.getpid()}').touch()
    time.sleep(300)


def pid_in(folder: Path) -> int:
    """The process of `hang`, when it runs."""
    wait_until(lambda: list(folder.glob('pid_*')), SECONDS)
    return int(next(folder.glob('pid_*')).name[4:])


def environment() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_results_and_exceptions(tmp_path: Path, cluster: str) -> None:
    jobs = executor(tmp_path, cluster)
    good, bad = jobs.submit(add, 3, 4), jobs.submit(fail)
    with pytest.raises(concurrent.futures.TimeoutError):
        good.result(0.01)
    assert good.result(SECONDS) == 7
    assert good.done()
    assert good.exception() is None
    assert not good.cancel()
    with pytest.raises(ExecutorError, match=r'failed: ValueError: on purpose; its log: ') as raised:
        bad.result(SECONDS)
    log = Path(str(raised.value).rpartition('its log: ')[2])
    assert 'ValueError: on purpose' in log.read_text()
    assert list((tmp_path / 'jobs').iterdir()) == [log.parent], 'what has a result is removed, what failed is kept'


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_a_cancelled_job_is_ended(tmp_path: Path, cluster: str) -> None:
    future = executor(tmp_path, cluster).submit(hang, tmp_path)
    pid = pid_in(tmp_path)
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(SECONDS)
    wait_until(lambda: not Path(f'/proc/{pid}').exists(), SECONDS)


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_a_killed_job_is_lost_and_its_log_named(tmp_path: Path, cluster: str) -> None:
    future = executor(tmp_path, cluster).submit(hang, tmp_path)
    os.kill(pid_in(tmp_path), signal.SIGKILL)
    with pytest.raises(ExecutorError, match=r'ended without a result: .*; its log: ') as raised:
        future.result(SECONDS)
    assert Path(str(raised.value).rpartition('its log: ')[2]).exists()


def killed_once(configuration, epoch, previous_epoch, checkpoint_path):
    once = Path(checkpoint_path).parents[2] / 'died'
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return trained(configuration, epoch, previous_epoch, checkpoint_path)


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_a_race_that_loses_a_job_and_goes_on_with_threads(tmp_path: Path, cluster: str) -> None:
    settings = {'max_epochs': 3, 'optimizer': 'hyperband', 'retry': 1}
    tuner = tune(tmp_path, killed_once, max_budget=6, executor=executor(tmp_path, cluster), num_workers=2, **settings)
    tuner.run()
    (lost,) = events(tuner, 'lost')
    assert 'ended without a result' in lost['reason']
    assert lost['counts']
    assert all(result['failed'] is None for result in events(tuner, 'result'))
    told = {entry['info']['pid'] for result in events(tuner, 'result') for entry in result['epochs']}
    assert os.getpid() not in told
    assert len(told) == len(events(tuner, 'result')), 'a process a call'
    check_consistent(tuner, 6)
    with ThreadPoolExecutor(2) as threads:
        again = Tuner.resume(tuner.run_folder, trained, max_budget=20, executor=threads, num_workers=2, progress=False)
        again.run()
    assert again.epochs_spent == 20
    check_consistent(again, 20)


def hangs(configuration, epoch, previous_epoch, checkpoint_path):
    (Path(checkpoint_path).parents[2] / f'pid_{os.getpid()}').touch()
    time.sleep(300)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # submitit waits for no process
@pytest.mark.parametrize('cluster', CLUSTERS)
def test_jobs_end_with_the_race_that_is_left(tmp_path: Path, cluster: str) -> None:
    """With a Ctrl-C, and another one that waits for nothing."""
    tuner = tune(tmp_path, hangs, executor=executor(tmp_path, cluster), num_workers=1)
    pids = []

    def interrupt() -> None:
        pids.append(pid_in(tuner.run_folder))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    thread.join()
    wait_until(lambda: not Path(f'/proc/{pids[0]}').exists(), SECONDS)


@needs_slurm
def test_a_job_that_is_ended_from_outside(tmp_path: Path) -> None:
    """By scancel, and by Slurm's smallest time limit: it takes a minute and more."""
    over_time = SlurmExecutor(tmp_path / 'jobs', 1, patience=1).submit(hang, tmp_path)
    (tmp_path / 'cancelled').mkdir()
    cancelled = executor(tmp_path, 'slurm').submit(hang, tmp_path / 'cancelled')
    pid_in(tmp_path / 'cancelled')
    subprocess.run(['scancel', cancelled._job.job_id], check=True)
    with pytest.raises(ExecutorError, match='ended without a result: CANCELLED'):
        cancelled.result(SECONDS)
    with pytest.raises(ExecutorError, match='ended without a result: TIMEOUT'):
        over_time.result(SECONDS)


@needs_slurm
def test_a_job_that_a_job_submits_has_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SLURM_JOB_ID', '1')
    monkeypatch.setenv('SLURM_NTASKS', '2')
    monkeypatch.setenv('SLURM_CPUS_PER_TASK', '2')
    told = executor(tmp_path, 'slurm', job_name='mine', cpus_per_task=1).submit(environment).result(SECONDS)
    assert told['SLURM_JOB_ID'] != '1'
    assert told['SLURM_CPUS_PER_TASK'] == '1'
    assert told['SLURM_NTASKS'] == '1'
    assert told['SLURM_JOB_NAME'] == 'mine'
    assert os.environ['SLURM_NTASKS'] == '2'


@needs_slurm
def test_what_sbatch_refuses_stops_the_race(tmp_path: Path) -> None:
    jobs = executor(tmp_path, 'slurm', partition='none')
    with pytest.raises(ExecutorError, match=r'[Ii]nvalid partition'):
        tune(tmp_path, trained, executor=jobs, num_workers=2).run()
    assert list((tmp_path / 'jobs').iterdir()) == []


@pytest.mark.parametrize('cluster', CLUSTERS)
def test_the_check_of_executors_passes(tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer of the small calls, each of which is a job."""
    monkeypatch.setattr('hpo4dl.tools.executor_check.SMALL_CALLS', 2)
    checks = check_executor(executor(tmp_path, cluster), 2, str(tmp_path), kill=True, seconds=SECONDS)
    assert [check.problem for check in checks] == [None] * 7


@needs_submitit
@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ({'folder': 3}, 'folder'),
        ({'patience': 'long'}, 'patience'),
        ({'cluster': 'cloud'}, 'cluster'),
        ({'nodes': 2}, 'parameters'),
        pytest.param({'cluster': 'slurm', 'partitoin': 'gpu'}, 'partitoin', marks=needs_slurm),
    ],
)
def test_a_bad_argument_is_named(tmp_path: Path, arguments: dict, named: str) -> None:
    with pytest.raises(ArgumentError, match=named):
        SlurmExecutor(**{'folder': tmp_path, 'time': 5, 'cluster': 'local', **arguments})


@needs_submitit
def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(ExecutorError, match='srun'):
        SlurmExecutor(tmp_path, 5)
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(ExecutorError, match=r'pip install submitit'):
        SlurmExecutor(tmp_path, 5)
