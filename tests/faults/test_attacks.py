"""What broke hpo4dl or tools like it once, a kind a test: values, objects and processes as users have them."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import logging
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from textwrap import dedent

import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    Float,
    ForbiddenGreaterThanRelation,
    ForbiddenLessThanRelation,
    Integer,
    OrdinalHyperparameter,
)
from objectives import curve
from races import tune
from runs import events_of

from hpo4dl import EveryTrialFailedError, Tuner, replay
from hpo4dl.analysis.page import server
from hpo4dl.tools.going_on import importable


def in_another_process(code: str, *arguments: object, env: dict[str, str] | None = None) -> str:
    """What a fresh Python prints; raises if it ends with an error."""
    command = [sys.executable, '-W', 'ignore', '-c', dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    'hyperparameter',
    [
        Categorical('clip', [1.0, 5.0, math.inf]),
        Categorical('clip', [1.0, math.nan, -math.inf, 'inf', 'nan']),
        OrdinalHyperparameter('clip', [1.0, 2.0, math.inf]),
        Constant('clip', math.inf),
        Categorical('clip', [1, 10**400]),
    ],
    ids=lambda hyperparameter: str(hyperparameter)[:40],
)
def test_choices_that_no_json_holds_are_raced_and_resumed(tmp_path: Path, hyperparameter) -> None:
    """R04, W07."""
    space, seen = ConfigurationSpace(), []
    space.add(hyperparameter, Float('lr', (0.1, 1.0)))

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        seen.append(configuration['clip'])
        return curve(configuration['lr'], epoch, previous_epoch)

    first = [{'clip': float('nan') if value != value else value, 'lr': 0.5} for value in choices_of(hyperparameter)]
    arguments = {'configuration_space': space, 'max_epochs': 3, 'initial_configurations': first}
    run = tune(tmp_path, objective, optimizer='random', max_budget=18, **arguments).run_folder
    Tuner.resume(run, objective, progress=False).run()
    Tuner.resume(run, objective, progress=False, max_budget=24).run()
    assert {repr(value) for value in seen} == {repr(value) for value in choices_of(hyperparameter)}
    replay(run)
    content = (run / 'journal.jsonl').read_text() + (run / 'settings.json').read_text()
    for line in content.splitlines():
        assert not {'NaN', 'Infinity', '-Infinity'} & set(line.replace(',', ' ').replace('}', ' ').split())


def choices_of(hyperparameter) -> list:
    for name in ('choices', 'sequence'):
        if hasattr(hyperparameter, name):
            return list(getattr(hyperparameter, name))
    return [hyperparameter.value]


def test_functions_as_choices_are_resumed_in_another_process(tmp_path: Path) -> None:
    """W05: candidates and first configurations name them, too."""
    code = """
        import functools, sys
        from pathlib import Path
        from ConfigSpace import Categorical, ConfigurationSpace, Float
        from hpo4dl import Tuner

        class Layer: pass

        partials = [functools.partial(max, 1), functools.partial(max, 2)]
        acts = [lambda x: x, lambda x: -x, *partials, Layer(), {'a', 'b', 'c'}]
        space = ConfigurationSpace()
        space.add(Categorical('act', acts), Float('lr', (0, 1)))
        def f(configuration, epoch, previous_epoch, path):
            seen.append(acts.index(configuration['act']))
            return {'epoch': epoch, 'metric': configuration['lr']}
        seen = []
        run, = Path(sys.argv[1]).glob('*') if Path(sys.argv[1]).exists() else [None]
        if run is None:
            first = [{'act': act, 'lr': i / 8} for i, act in enumerate(acts)]
            more = {'candidates': first + [{'act': acts[1], 'lr': 0.9}]} if sys.argv[2] == 'candidates' else {}
            tuner = Tuner(f, space, 1, 3, optimizer='random', seed=0, output_path=sys.argv[1], progress=False,
                          initial_configurations=first[::-1], **more)
        else:
            tuner = Tuner.resume(run, f, configuration_space=space, max_budget=6, progress=False)
        tuner.run()
        print(*seen)
    """
    for kind in ('candidates', 'drawn'):
        assert in_another_process(code, tmp_path / kind, kind).split() == ['5', '4', '3']
        assert in_another_process(code, tmp_path / kind, kind).split() == ['2', '1', '0']
        (run,) = (tmp_path / kind).iterdir()
        assert ' at 0x' not in json.dumps(events_of(run))


def watch_for_ever() -> None:
    while True:
        time.sleep(1)


def leaves_something(configuration, epoch, previous_epoch, checkpoint_path):
    """A thread, or a process, that nobody ends, and that Python waits for."""
    kind = threading.Thread if configuration['x'] < 2 else multiprocessing.get_context('spawn').Process
    kind(target=watch_for_ever).start()
    return curve(configuration['x'], epoch, previous_epoch)


def test_what_the_objective_leaves_in_a_worker_does_not_keep_run_from_returning(tmp_path: Path) -> None:
    """R05."""
    first = [{'x': 1.0}, {'x': 3.0}]
    arguments = {'optimizer': 'random', 'max_epochs': 1, 'max_budget': 2, 'num_workers': 2}
    tuner = tune(tmp_path, leaves_something, initial_configurations=first, **arguments)
    tuner.run()
    assert tuner.epochs_spent == 2
    assert not (tuner.run_folder / 'lock').exists()
    assert (tuner.run_folder / 'hpo4dl_results.csv').exists()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_pool_that_forks_after_the_surrogate_had_threads_does_not_hang(tmp_path: Path) -> None:
    """R02. The race of the first tuner, and the fits of the second, leave OpenMP's threads in this process."""
    code = """
        import sys, torch
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        from ConfigSpace import ConfigurationSpace
        from hpo4dl import Tuner

        def f(configuration, epoch, previous_epoch, path):
            a = torch.randn(400, 400)
            (a @ a + a.exp()).sum()
            loss = sum(value * value for value in configuration.values())
            return [{'epoch': i, 'metric': loss + 1 / i} for i in range(previous_epoch + 1, epoch + 1)]

        torch.set_num_threads(2)
        space = ConfigurationSpace({f'x{i}': (-5.0, 10.0) for i in range(10)})
        arguments = dict(max_epochs=20, minimize=True, seed=1, num_configurations=50, progress=False)
        tuner = Tuner(f, space, max_budget=20, output_path=sys.argv[1], **arguments)
        tuner.run()
        pool = ProcessPoolExecutor(2, get_context('fork'))
        tuner = Tuner.resume(tuner.run_folder, f, max_budget=30, executor=pool, num_workers=2, progress=False)
        tuner.run()
        print(tuner.epochs_spent)
    """
    assert in_another_process(code, tmp_path, env={'OMP_NUM_THREADS': '2'}) == '30\n'


def test_a_run_whose_calls_all_failed_goes_on_with_the_repaired_objective(tmp_path: Path) -> None:
    """W16."""
    calls = []

    def broken(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append('broken')
        raise FileNotFoundError('data/train.csv')

    def repaired(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append('repaired')
        return curve(configuration['x'], epoch, previous_epoch)

    tuner = tune(tmp_path, broken, max_budget=50)
    for n in (10, 20):  # resumed unrepaired, it is tried as often again, and ends again
        with pytest.raises(EveryTrialFailedError, match=r'train\.csv'):
            tuner.run()
        assert calls == ['broken'] * n
        tuner = Tuner.resume(tuner.run_folder, broken, progress=False)
    incumbent = Tuner.resume(tuner.run_folder, repaired, progress=False).run()
    assert incumbent['metric'] > 0
    assert 'repaired' in calls
    replay(tuner.run_folder)


@pytest.mark.parametrize('optimizer', ['asha', 'hyperband', 'random', 'dyhpo'])
def test_where_clauses_forbid_nearly_all_the_reason_for_the_end_is_not_that_all_was_trained(
    tmp_path: Path, optimizer: str
) -> None:
    """W12: 1,000,001 legal configurations, of which random draws find one."""
    space, (a, b) = ConfigurationSpace(seed=1), (Integer('a', (0, 10**6)), Integer('b', (0, 10**6)))
    space.add(a, b, ForbiddenLessThanRelation(a, b), ForbiddenGreaterThanRelation(a, b))
    tuner = tune(tmp_path, lambda c, e, p, path: curve(c['a'], e, p), configuration_space=space, optimizer=optimizer)
    tuner.run()
    assert 'no configuration was found that is new and not forbidden' in str(tuner.stopped)


@pytest.mark.parametrize('room', [2, 10])
def test_too_few_open_files_are_an_error_of_ours(tmp_path: Path, room: int) -> None:
    """`ulimit -n`: the race, or making its workers, ends with an error that names the limit."""
    code = """
        import resource, sys
        from ConfigSpace import ConfigurationSpace
        import hpo4dl
        from hpo4dl import HPO4DLError, Tuner
        from objectives import trained
        if __name__ == '__main__':
            tuner = Tuner(trained, ConfigurationSpace({'x': (-5.0, 10.0)}), 3, 9, optimizer='random', num_workers=16,
                          output_path=sys.argv[1], progress=False)
            import os
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) + int(sys.argv[2]), 4096))
            try:
                tuner.run()
                print('ran')
            except HPO4DLError as error:
                print(type(error).__name__, error)
    """
    told = in_another_process(code, tmp_path, room, env={'PYTHONPATH': os.pathsep.join(sys.path)})
    assert 'open files' in told, told


class Raising(logging.Handler):
    """As one of a user, whose server is gone."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ConnectionError(record.getMessage())


@pytest.mark.parametrize('raises', ['handler', 'filter'])
def test_a_handler_of_logging_that_raises_ends_no_run(tmp_path: Path, capsys, raises: str) -> None:
    """What is told on stderr meanwhile is `logging`'s way."""
    logger, handler = logging.getLogger('hpo4dl'), Raising() if raises == 'handler' else logging.StreamHandler()
    if raises == 'filter':
        handler.addFilter(lambda record: 1 / 0)
    calls = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch)
        return curve(configuration['x'], epoch, previous_epoch) if len(calls) != 3 else None

    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        tuner = tune(tmp_path, objective, max_budget=15, retry=1)
        tuner.run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert tuner.epochs_spent == 15
    assert ('ConnectionError' if raises == 'handler' else 'ZeroDivisionError') in capsys.readouterr().err


def freeze() -> None:
    for name in ('time', 'monotonic', 'perf_counter'):
        setattr(time, name, lambda: -1e9)


def leave_no_folder() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def replace_functions() -> None:
    json.dumps = os.getpid = lambda *_, **__: 1


def set_limits() -> None:
    os.environ.clear()
    gc.disable()
    sys.set_int_max_str_digits(640)
    with contextlib.suppress(RecursionError):  # pytest itself is at a greater depth, perhaps
        sys.setrecursionlimit(100)
    sys.setrecursionlimit(len(inspect.stack(0)) + 20)
    sys.settrace(refuse)


def refuse(*_: object) -> None:
    raise RuntimeError('none of ours')


@pytest.mark.parametrize('change', [freeze, leave_no_folder, replace_functions, set_limits])
def test_what_an_objective_changes_in_the_process_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change
) -> None:
    """Libraries freeze the time, mocks stay, a temporary folder is left by nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leave_no_folder, '__module__', '__main__')
    monkeypatch.setattr(sys.modules['__main__'], 'leave_no_folder', leave_no_folder, raising=False)
    monkeypatch.setattr(sys.modules['__main__'], '__file__', str(tmp_path / 'tune.py'), raising=False)
    for name in ('time', 'monotonic', 'perf_counter'):
        monkeypatch.setattr(time, name, getattr(time, name))
    monkeypatch.setattr(json, 'dumps', json.dumps)
    monkeypatch.setattr(os, 'getpid', os.getpid)
    environment, digits, depth, trace = (
        dict(os.environ),
        sys.get_int_max_str_digits(),
        sys.getrecursionlimit(),
        sys.gettrace(),
    )

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch)
        if len(calls) == 3:
            change()
        return curve(configuration['x'], epoch, previous_epoch)

    calls: list[int] = []
    tuner = tune(tmp_path / 'runs', objective, max_budget=15)
    try:
        tuner.run()
    finally:
        os.environ.update(environment)
        gc.enable()
        sys.set_int_max_str_digits(digits)
        sys.setrecursionlimit(depth)
        sys.settrace(trace)
    assert tuner.epochs_spent == 15
    failed = [event['trial'] for event in events_of(tuner.run_folder, 'result') if event['failed']]
    assert len(failed) == (change is set_limits), 'its own call alone is traced'
    assert importable(leave_no_folder)
    replay(tuner.run_folder)


def test_who_connects_and_asks_for_nothing_is_let_go(tmp_path: Path) -> None:
    """Of 900 half-open connections, `hpo4dl watch` had 901 threads, for as long as they liked."""
    run = tune(tmp_path, lambda c, e, p, path: curve(c['x'], e, p), max_budget=5)
    run.run()
    with server(run.run_folder, 0, 1) as watch:
        assert watch.RequestHandlerClass.timeout is not None
        watch.RequestHandlerClass.timeout = 0.1
        thread = threading.Thread(target=watch.serve_forever)
        thread.start()
        try:
            with socket.create_connection(watch.server_address) as connection:
                connection.sendall(b'GET / HTTP/1.1\r\n')
                assert connection.recv(1) == b''
        finally:
            watch.shutdown()
            thread.join()
