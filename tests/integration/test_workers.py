"""The race on real executors: processes of our own, pools, threads, and futures that are none of Python's."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from objectives import (
    ABOVE,
    busy,
    exits,
    hangs,
    interrupts_itself,
    killed_once,
    last_epoch,
    raises_and_returns_what_cannot_be_pickled,
    segfaults,
    trained,
)
from races import NAMES, tune
from workers import check_consistent, events, is_running, wait_until

from hpo4dl import ArgumentError, ExecutorError, Tuner, replay


@pytest.mark.parametrize('name', NAMES)
def test_many_workers_spend_the_budget_exactly_and_every_decision_can_be_taken_again(tmp_path: Path, name: str) -> None:
    with ThreadPoolExecutor(8) as executor:
        tuner = tune(tmp_path, busy, optimizer=name, executor=executor, num_workers=8)
        incumbent = tuner.run()
        assert executor.submit(int).result() == 0, "the executor is the user's, and not shut down"
    assert tuner.epochs_spent == 40
    metrics = [entry['metric'] for result in events(tuner, 'result') for entry in result['epochs']]
    assert incumbent['metric'] == min(metrics)
    check_consistent(tuner, 40)


@pytest.mark.parametrize('workers', [1, 2])
def test_each_call_has_a_process_of_its_own_where_that_is_asked(tmp_path: Path, workers: int) -> None:
    tuner = tune(tmp_path, trained, optimizer='asha', max_budget=8, fresh_process=True, num_workers=workers)
    tuner.run()
    results = events(tuner, 'result')
    pids = {entry['info']['pid'] for result in results for entry in result['epochs']}
    assert len(pids) == len(results) > 3
    assert os.getpid() not in pids
    wait_until(lambda: not any(is_running(pid) for pid in pids))
    with ThreadPoolExecutor(1) as executor, pytest.raises(ArgumentError, match='fresh_process: got True'):
        tune(tmp_path, trained, fresh_process=True, executor=executor)


@pytest.mark.parametrize('name', NAMES)
def test_one_worker_decides_as_in_process(tmp_path: Path, name: str) -> None:
    here = tune(tmp_path, trained, optimizer=name, max_budget=25)
    here.run()
    with ThreadPoolExecutor(1) as executor:
        there = tune(tmp_path, trained, optimizer=name, max_budget=25, executor=executor)
        there.run()
    decided = [
        [(s['trial'], s['previous_epoch'], s['epoch'], s.get('configuration')) for s in events(tuner, 'start')]
        for tuner in (here, there)
    ]
    assert decided[0] == decided[1]


def test_no_worker_waits_for_another(tmp_path: Path) -> None:
    """Of two workers one is stuck in its first call; the other trains everything else."""
    stuck = threading.Event()

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        if threading.current_thread().name.endswith('_0') and not stuck.is_set():
            assert stuck.wait(20)
        results.append(epoch)
        if len(results) == 20:
            stuck.set()
        return {'epoch': epoch, 'metric': configuration['x']}

    results: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        tuner = tune(tmp_path, objective, max_epochs=1, max_budget=30, executor=executor, num_workers=2)
        tuner.run()
    assert len(results) == 30
    check_consistent(tuner, 30)


def test_processes_of_this_machine_have_a_device_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,6,7')
    tuner = tune(tmp_path, busy, max_budget=30, num_workers=2, devices=['cuda:0', 'cuda:2'])
    tuner.run()
    entries = [entry['info'] for result in events(tuner, 'result') for entry in result['epochs']]
    assert {entry['cuda'] for entry in entries} == {'4', '7'}
    assert len({(entry['pid'], entry['cuda']) for entry in entries}) == 2
    assert os.getpid() not in {entry['pid'] for entry in entries}
    check_consistent(tuner, 30)


@pytest.mark.parametrize('method', ['spawn', 'fork'])
@pytest.mark.filterwarnings('ignore:.*multi-threaded, use of fork.*:DeprecationWarning')
def test_process_pools(tmp_path: Path, method: str) -> None:
    with ProcessPoolExecutor(2, get_context(method)) as executor:
        tuner = tune(tmp_path, trained, max_budget=20, executor=executor, num_workers=2)
        tuner.run()
    assert os.getpid() not in {e['info']['pid'] for result in events(tuner, 'result') for e in result['epochs']}
    check_consistent(tuner, 20)


def forks():
    return ProcessPoolExecutor(2, get_context('fork'))


@pytest.mark.filterwarnings('ignore:.*multi-threaded, use of fork.*:DeprecationWarning')
class TestDeadWorkers:
    def test_a_call_whose_worker_is_killed_is_made_again(self, tmp_path: Path) -> None:
        tuner = tune(tmp_path, killed_once, max_budget=20, executor=forks, num_workers=1, retry=1)
        tuner.run()
        (lost,) = events(tuner, 'lost')
        assert 'its worker died' in lost['reason']
        assert lost['counts']
        assert all(result['failed'] is None for result in events(tuner, 'result'))
        check_consistent(tuner, 20)

    def test_without_retry_its_trial_is_failed(self, tmp_path: Path) -> None:
        tuner = tune(tmp_path, killed_once, max_budget=20, executor=forks, num_workers=1)
        tuner.run()
        failed = [result['failed'] for result in events(tuner, 'result') if result['failed']]
        assert len(failed) == 1
        assert 'its worker died' in failed[0]

    @pytest.mark.parametrize('objective', [segfaults, exits])
    def test_those_that_ran_beside_a_crash_are_not_failed(self, tmp_path: Path, objective) -> None:
        tuner = tune(tmp_path, objective, max_epochs=3, max_budget=25, executor=forks, num_workers=2)
        tuner.run()
        configurations = {s['trial']: s['configuration']['x'] for s in events(tuner, 'start') if 'configuration' in s}
        failed = {result['trial'] for result in events(tuner, 'result') if result['failed']}
        assert failed == {trial for trial, x in configurations.items() if x > ABOVE}
        assert failed
        check_consistent(tuner, 25)

    def test_a_pool_that_cannot_be_made_anew_stops_the_run_which_another_executor_resumes(self, tmp_path: Path) -> None:
        with forks() as executor:
            tuner = tune(tmp_path, segfaults, max_epochs=3, max_budget=25, executor=executor, num_workers=2)
            tuner.run()
        assert 'the executor is broken' in tuner.stopped
        acknowledged = {(r['trial'], e['epoch']) for r in events(tuner, 'result') for e in r['epochs']}
        with ThreadPoolExecutor(3) as threads:
            again = Tuner.resume(tuner.run_folder, trained, executor=threads, num_workers=3, progress=False)
            again.run()
        assert again.epochs_spent == 25
        now = [(r['trial'], e['epoch']) for r in events(again, 'result') for e in r['epochs']]
        assert acknowledged <= set(now)
        assert len(now) == len(set(now))
        replay(tuner.run_folder)

    def test_an_executor_that_takes_nothing_is_an_error(self, tmp_path: Path) -> None:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        with pytest.raises(ExecutorError, match='cannot schedule new futures'):
            tune(tmp_path, trained, executor=executor).run()


class DesertedExecutor:
    """One whose workers go away for good: from then on its calls end in an error of its own and never begin."""

    def __init__(self, calls: int) -> None:
        self.left = calls
        self.lost = 0

    def submit(self, function, *arguments):
        future = Future()
        self.left -= 1
        if self.left >= 0:
            future.set_result(function(*arguments))
        else:
            self.lost += 1
            future.set_exception(RuntimeError('no workers'))
        return future


@pytest.mark.parametrize('num_workers', [1, 4])
def test_an_engine_without_workers_stops_the_run_and_fails_no_trial(tmp_path: Path, num_workers: int) -> None:
    executor = DesertedExecutor(12)
    tuner = tune(tmp_path, trained, executor=executor, num_workers=num_workers)
    tuner.run()
    assert 'lost before they began: RuntimeError: no workers' in tuner.stopped
    assert executor.lost == num_workers + 2
    assert [result['failed'] for result in events(tuner, 'result')] == [None] * 12
    again = Tuner.resume(tuner.run_folder, trained, executor=DesertedExecutor(100), progress=False)
    again.run()
    check_consistent(again, 40)


def test_a_call_lost_now_and_then_before_it_begins_is_made_again(tmp_path: Path) -> None:
    executor = DesertedExecutor(100)
    submit = executor.submit
    turns = itertools.count(1)

    def flaky(function, *arguments):
        executor.left = -1 if (turn := next(turns)) % 4 == 0 else 100 - turn
        return submit(function, *arguments)

    executor.submit = flaky
    tuner = tune(tmp_path, trained, executor=executor)
    tuner.run()
    assert executor.lost >= 5
    assert not any(result['failed'] for result in events(tuner, 'result'))
    check_consistent(tuner, 40)


def test_a_hanging_call_is_ended_and_its_process_killed(tmp_path: Path) -> None:
    candidates = [{'x': 1.0}, {'x': ABOVE + 1.0}, {'x': 2.0}]
    tuner = tune(tmp_path, hangs, optimizer='random', max_epochs=1, candidates=candidates, trial_timeout=0.5)
    tuner.run()
    (failed,) = [result['failed'] for result in events(tuner, 'result') if result['failed']]
    assert 'trial_timeout' in failed
    assert tuner.epochs_spent == 3
    (hung,) = tuner.run_folder.glob('hangs_*')
    wait_until(lambda: not is_running(int(hung.name.removeprefix('hangs_'))))


def test_a_hanging_thread_occupies_its_worker(tmp_path: Path) -> None:
    leave = threading.Event()
    left: list[float] = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        if configuration['x'] > ABOVE:
            leave.wait(120)
            left.append(configuration['x'])
        return last_epoch(configuration, epoch, previous_epoch, checkpoint_path)

    with ThreadPoolExecutor(2) as executor:
        tuner = tune(
            tmp_path, objective, max_epochs=1, max_budget=100, executor=executor, num_workers=2, trial_timeout=0.5
        )
        tuner.run()
        assert left == [], 'nobody waited for the two calls'
        leave.set()
    assert 'every worker is occupied' in tuner.stopped
    configurations = {start['trial']: start['configuration']['x'] for start in events(tuner, 'start')}
    failed = [result for result in events(tuner, 'result') if result['failed']]
    assert len(failed) == 2
    assert all('trial_timeout' in result['failed'] for result in failed)
    assert all(configurations[result['trial']] > ABOVE for result in failed)


def test_time_limit_waits_for_no_call_and_what_it_cut_is_made_again(tmp_path: Path) -> None:
    leave = threading.Event()
    numbers = itertools.count()
    left: list[int] = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        if (number := next(numbers)) > 0:
            leave.wait(120)
            left.append(number)
        return last_epoch(configuration, epoch, previous_epoch, checkpoint_path)

    with ThreadPoolExecutor(2) as executor:
        tuner = tune(tmp_path, objective, max_epochs=1, max_budget=20, executor=executor, num_workers=2, time_limit=1)
        tuner.run()
        assert left == []
        leave.set()
    assert tuner.stopped.startswith('time_limit')
    assert '2 calls were cut short, and will be made again' in tuner.stopped
    assert len(events(tuner, 'result')) == 1
    again = Tuner.resume(tuner.run_folder, objective, time_limit=1000, progress=False)
    again.run()
    assert again.epochs_spent == 20
    assert replay(tuner.run_folder) == 20


def test_what_cannot_be_pickled_comes_back_as_plain_data(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        tuner = tune(
            tmp_path, raises_and_returns_what_cannot_be_pickled, max_epochs=1, max_budget=12, executor=executor
        )
        tuner.run()
    failed = {result['failed'] for result in events(tuner, 'result')}
    assert failed == {None, 'Unpicklable: cannot be sent'}
    assert any('lock' in e['info']['lock'] for r in events(tuner, 'result') for e in r['epochs'])


def test_keyboard_interrupt_inside_a_worker_is_a_failure(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        tuner = tune(tmp_path, interrupts_itself, max_budget=60, executor=executor, num_workers=2)
        tuner.run()
    assert {r['failed'] for r in events(tuner, 'result')} == {None, 'KeyboardInterrupt: from inside'}
    assert tuner.stopped.startswith('max_budget')


class ForeignFuture:
    """Neither a subclass of Python's futures nor one to wait for; cancelling it raises, as Parsl's does."""

    def __init__(self, function, arguments) -> None:
        self._result = None
        self._thread = threading.Thread(target=self._run, args=(function, arguments))
        self._thread.start()

    def _run(self, function, arguments) -> None:
        self._result = function(*arguments)

    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self):
        self._thread.join()
        return self._result

    def cancel(self) -> None:
        raise NotImplementedError


class ForeignExecutor:
    def __init__(self) -> None:
        self.running: list[ForeignFuture] = []
        self.most = 0

    def submit(self, function, *arguments):
        self.running = [future for future in self.running if not future.done()]
        self.running.append(ForeignFuture(function, arguments))
        self.most = max(self.most, len(self.running))
        return self.running[-1]


def test_foreign_futures_and_never_more_calls_than_workers(tmp_path: Path) -> None:
    executor = ForeignExecutor()
    tuner = tune(tmp_path, busy, executor=executor, num_workers=3)
    tuner.run()
    assert executor.most == 3
    check_consistent(tuner, 40)


class TwiceExecutor:
    """Makes every call twice at once, as engines may, and gives the second one's result."""

    def submit(self, function, *arguments):
        first = threading.Thread(target=function, args=arguments)
        first.start()
        first.join()
        return ForeignFuture(function, arguments)


def test_a_call_that_the_engine_makes_twice_starts_from_the_same_checkpoint(tmp_path: Path) -> None:
    tuner = tune(tmp_path, trained, executor=TwiceExecutor())
    tuner.run()
    assert all(result['failed'] is None for result in events(tuner, 'result'))
    check_consistent(tuner, 40)


def test_a_ghost_that_still_writes_damages_nothing(tmp_path: Path) -> None:
    """A call that was given up goes on writing into its folder, while the trial is trained on."""
    ghosts: list[float] = []
    end = threading.Event()

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        def haunt() -> None:
            while not end.is_set():
                Path(checkpoint_path).mkdir(parents=True, exist_ok=True)
                (Path(checkpoint_path) / 'epochs').write_text('666')
                time.sleep(0.01)

        if previous_epoch == 1 and not ghosts:
            ghosts.append(configuration['x'])
            haunt()
        return trained(configuration, epoch, previous_epoch, checkpoint_path)

    with ThreadPoolExecutor(2) as executor:
        tuner = tune(
            tmp_path, objective, executor=executor, num_workers=2, trial_timeout=1, retry=1, keep_checkpoints='all'
        )
        tuner.run()
        end.set()
    configurations = {s['trial']: s['configuration']['x'] for s in events(tuner, 'start') if 'configuration' in s}
    assert ghosts == [configurations[lost['trial']] for lost in events(tuner, 'lost')]
    assert all(result['failed'] is None for result in events(tuner, 'result'))
    check_consistent(tuner, 40)


def with_data(*arguments, data=None):
    return last_epoch(*arguments[-4:])


class Holder:
    def __init__(self) -> None:
        self.model = {'layers': [threading.Lock()]}

    def train(self, configuration, epoch, previous_epoch, checkpoint_path):
        return {'epoch': epoch, 'metric': 1.0}


@pytest.mark.parametrize(
    ('objective', 'named'),
    [
        (lambda c, e, p, f: {'epoch': e, 'metric': 1}, r'objective_function is <function <lambda>'),
        (functools.partial(with_data, threading.Lock()), r'objective_function.args\[0\] is <unlocked'),
        (functools.partial(with_data, data=threading.Lock()), r"objective_function.keywords\['data'\] is <unlocked"),
        (Holder().train, r"__self__.model\['layers'\]\[0\] is <unlocked"),
    ],
)
def test_what_cannot_be_pickled_is_named_before_anything_is_run(tmp_path: Path, objective, named) -> None:
    for arguments in ({'num_workers': 2}, {'executor': ProcessPoolExecutor(1)}, {'trial_timeout': 3}):
        with pytest.raises(ArgumentError, match=named):
            tune(tmp_path, objective, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_maker_of_pools_finds_it_at_the_first_call(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match='objective_function'):
        tune(tmp_path, lambda c, e, p, f: {'epoch': e, 'metric': 1}, executor=ProcessPoolExecutor).run()


@pytest.mark.parametrize('devices', [['cuda:0'], ['cuda:0', 'cuda:0'], ['cpu', 'cuda:0'], 'cuda', {'cuda:0': 1}])
def test_devices_are_one_a_worker(tmp_path: Path, devices) -> None:
    with pytest.raises(ArgumentError, match='devices'):
        tune(tmp_path, trained, num_workers=2, devices=devices)


def test_an_executor_whose_submit_returns_no_future_is_an_error(tmp_path: Path) -> None:
    class Broken:
        def submit(self, function, *arguments):
            return function(*arguments)

    with pytest.raises(ArgumentError, match='executor'):
        tune(tmp_path, trained, executor=Broken()).run()


def test_a_script_without_its_guard_is_told(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        'from ConfigSpace import ConfigurationSpace\n'
        'from hpo4dl import Tuner\n'
        'def f(configuration, epoch, previous_epoch, checkpoint_path):\n'
        '    return {"epoch": epoch, "metric": 1.0}\n'
        'Tuner(f, ConfigurationSpace({"x": (0.0, 1.0)}), 1, 2, trial_timeout=600, optimizer="random").run()\n'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert 'num_workers: got 1; accepted: 1 without trial_timeout and devices' in done.stderr
    assert "under `if __name__ == '__main__':`" in done.stderr
    assert not (tmp_path / 'hpo4dl_results').exists(), 'nothing has started'
