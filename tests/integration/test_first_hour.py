"""What a newcomer sees, in processes of their own: the first line and the last one, and mistakes as one clear error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace
from runs import tuned

import hpo4dl
from hpo4dl import ArgumentError, HPO4DLError, Tuner
from hpo4dl.records.runs import find_run, runs_below
from hpo4dl.tools.cli import main
from hpo4dl.tools.going_on import importable
from hpo4dl.tools.guards import IMPORTING

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys, time
from pathlib import Path
from ConfigSpace import ConfigurationSpace
from hpo4dl import Tuner

def objective(configuration, epoch, previous_epoch, checkpoint_path):
    Path(checkpoint_path, 'epoch').write_text(str(epoch))
    %s
    return [{'epoch': i, 'metric': configuration['x'] + 1 / i} for i in range(previous_epoch + 1, epoch + 1)]
"""
MAIN = """
    tuner = Tuner(objective, ConfigurationSpace({'x': (0.0, 1.0)}), 9, 20, minimize=True, seed=0, optimizer='asha'%s)
    tuner.run()
    print('after the run')
"""


def script(folder: Path, body: str = '', arguments: str = '', guard: str = "if __name__ == '__main__':") -> Path:
    (folder / 'tune.py').write_text(SCRIPT % (body or 'pass') + guard + MAIN % arguments)
    return folder / 'tune.py'


def start(folder: Path, *command: str, **options) -> subprocess.Popen:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '80'}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, **options
    )


def test_a_log_file_begins_with_the_folder_and_ends_with_how_to_go_on(tmp_path: Path) -> None:
    out, err = start(tmp_path, script(tmp_path).name).communicate(timeout=300)
    (run,) = (tmp_path / 'hpo4dl_results').iterdir()
    first, second, *report, last = err.splitlines()
    assert out == 'after the run\n'
    assert first == f'hpo4dl: the run is in {run}'
    assert second.startswith('1/20 epochs | trial 0 epoch 1: ')
    assert any(line.startswith('incumbent  ') for line in report)
    assert all(len(line) <= 80 or str(run) in line for line in report), 'paths stay whole, to be copied'
    command = f'hpo4dl resume {run} tune.py:objective'
    assert last == f'hpo4dl: to go on: {command} --max-budget N'
    done = start(tmp_path, '-m', *command.split(), '--max-budget', '25')
    err = done.communicate(timeout=300)[1]
    assert err.splitlines()[0] == f'hpo4dl: going on after 20 epochs with the run in {run}'
    assert 'epochs   25 spent' in err


def test_relative_paths_and_a_function_that_changes_the_folder(tmp_path: Path) -> None:
    """As Hydra and many training scripts do: what was given stays where it was given, in resume as in Tuner."""
    (tmp_path / 'elsewhere').mkdir()
    body = "import os; os.chdir(Path(__file__).absolute().parent / 'elsewhere')"
    body += '; assert os.path.isabs(checkpoint_path) and os.path.isdir(checkpoint_path)'
    arguments = ", output_path='runs', storage_path='stored'"
    start(tmp_path, script(tmp_path, body, arguments).name).communicate(timeout=300)
    (run,) = (tmp_path / 'runs').iterdir()
    relative = str(run.relative_to(tmp_path))
    command = ['-m', 'hpo4dl', 'resume', relative, 'tune.py:objective', '--max-budget', '24']
    err = start(tmp_path, *command).communicate(timeout=300)[1]
    assert 'epochs   24 spent' in err, err
    assert err.splitlines()[-1].startswith(f'hpo4dl: to go on: hpo4dl resume {run} ')
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} - {'__pycache__'} == {
        'elsewhere',
        'runs',
        'stored',
    }
    assert [path.name for path in (tmp_path / 'elsewhere').iterdir()] == []
    assert not (run / 'lock').exists()
    assert (run / 'best_trial' / 'epoch').exists()


@pytest.mark.parametrize('times', [1, 2])
def test_ctrl_c_ends_with_how_to_go_on(tmp_path: Path, times: int) -> None:
    body = "print('training', flush=True); time.sleep(3)" if times == 2 else "print('training', flush=True)"
    process = start(tmp_path, script(tmp_path, body, ', progress=False').name)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    if times == 2:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    (run,) = (tmp_path / 'hpo4dl_results').iterdir()
    assert (process.returncode == 0) == (times == 1)
    assert ('after the run' in out) == (times == 1)
    if times == 1 or sys.version_info >= (3, 11):
        assert err.splitlines()[-1].startswith(f'hpo4dl: to go on: hpo4dl resume {run} tune.py:objective')
    assert f'resume {run} tune.py:objective' in err


def test_a_script_without_a_guard_is_told_so_before_anything_starts(tmp_path: Path) -> None:
    done = start(
        tmp_path, script(tmp_path, arguments=', num_workers=2', guard='if True:\n    pass\nfor _ in [0]:').name
    )
    err = done.communicate(timeout=300)[1]
    assert done.returncode == 1
    assert 'num_workers: got 2; accepted: 1 without trial_timeout and devices, or a script' in err.splitlines()[-1]
    assert "under `if __name__ == '__main__':`" in err
    assert not (tmp_path / 'hpo4dl_results').exists()
    done = start(tmp_path, script(tmp_path, arguments=', num_workers=2').name)
    assert done.communicate(timeout=300)[0] == 'after the run\n'


def test_a_command_that_imports_the_script_starts_no_second_race(tmp_path: Path) -> None:
    start(tmp_path, script(tmp_path, guard='for _ in [0]:').name).communicate(timeout=300)
    (run,) = (tmp_path / 'hpo4dl_results').iterdir()
    done = start(tmp_path, '-m', 'hpo4dl', 'resume', 'last', 'tune.py:objective', '--max-budget', '30')
    out, err = done.communicate(timeout=300)
    assert done.returncode == 1
    assert err.startswith('hpo4dl: the script makes a Tuner while it is imported')
    assert err.count('\n') == 1
    assert out == ''
    assert [*(tmp_path / 'hpo4dl_results').iterdir()] == [run]


SPAWNED = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
if True:
    executor = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))
"""


def test_a_worker_that_imports_the_script_makes_no_tuner(tmp_path: Path) -> None:
    file = script(tmp_path, arguments=', executor=executor', guard=SPAWNED)
    process = start(tmp_path, file.name)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert len([*(tmp_path / 'hpo4dl_results').iterdir()]) == 1
    (line,) = [line for line in err.splitlines() if 'a worker imports the script' in line]
    assert line.endswith("under `if __name__ == '__main__':`")


def test_workers_of_a_notebook_need_a_module(tmp_path: Path) -> None:
    cell = SCRIPT % 'pass' + 'if 1:' + MAIN % ', num_workers=2'
    done = start(tmp_path, '-c', cell)
    err = done.communicate(timeout=300)[1]
    assert done.returncode == 1
    for remedy in ('%%writefile objective.py', 'ThreadPoolExecutor(2)', 'loky'):
        assert remedy in err
    assert not (tmp_path / 'hpo4dl_results').exists()


def test_no_tuner_while_a_command_imports() -> None:
    token = IMPORTING.set(True)
    try:
        with pytest.raises(HPO4DLError, match='while it is imported'):
            Tuner(print, ConfigurationSpace({'x': (0.0, 1.0)}), 9, 9)
    finally:
        IMPORTING.reset(token)


def test_the_newest_run_is_found_from_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = tuned(tmp_path / 'hpo4dl_results', max_budget=9), tuned(tmp_path / 'other', max_budget=9)
    os.utime(older / 'journal.jsonl', (1, 1))
    monkeypatch.chdir(tmp_path)
    assert runs_below(tmp_path) == [newer, older]
    assert find_run('last') == newer
    assert hpo4dl.read_run('last').folder == newer
    assert Tuner.resume('last', print, max_budget=10, progress=False).run_folder == newer
    monkeypatch.chdir(older)
    assert find_run('last') == older
    newer.rename(older / 'last')
    assert find_run('last') == Path('last'), 'a folder that is called so'
    (older / 'none').mkdir()
    monkeypatch.chdir(older / 'none')
    with pytest.raises(hpo4dl.JournalError, match=f'it lies in the run {older}; give that'):
        find_run('last')


def f(configuration, epoch, previous_epoch, checkpoint_path):
    raise AssertionError('no wrong folder gets so far')


def test_a_wrong_folder_is_told_what_it_is_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that takes a run, and by every function: the same words, and what to give."""
    run = tuned(tmp_path / 'runs', max_budget=9)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('x')
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    commands = 'report plot watch compare explain replay resume finish stop enqueue'.split()
    words = [*([name] for name in commands), ['export', '--to', 'csv'], ['resume', f'{__file__}:f']]
    for given, said in (
        ('nowhere', 'not the folder of a run: there is no such folder'),
        ('file', 'not the folder of a run: it is a file'),
        ('empty', 'not the folder of a run: no run lies here, or up to two levels below'),
        (str(run / 'journal.jsonl'), f'it lies in the run {run}; give that'),
        (str(run / 'checkpoints'), f'it lies in the run {run}; give that'),
    ):
        for command, *rest in words:
            assert main([command, given, *rest]) == 1
            told = capsys.readouterr().err
            assert said in told, (command, rest)
            assert told.count('\n') == 1
        for function in (hpo4dl.read_run, hpo4dl.replay, lambda folder: Tuner.resume(folder, f)):
            with pytest.raises(hpo4dl.JournalError, match=re.escape(said)):
                function(given)


def outer():
    def inner():
        pass

    return inner


def test_names_by_which_functions_are_imported() -> None:
    assert (
        importable(tuned) == f'{os.path.relpath(sys.modules["runs"].__file__)}:tuned'
    )  # works from the folder that it is typed in
    assert importable(hpo4dl.read_run) == 'hpo4dl.analysis.run:read_run'
    assert importable(outer()) == importable(lambda: None) == importable(object()) == importable(3) == ''


def test_name_and_metric_name(tmp_path: Path) -> None:
    folder = tuned(tmp_path, max_budget=9, name='mnist.v2', metric_name='validation loss', quiet=True)
    assert folder.name.startswith('mnist.v2_20')
    run = hpo4dl.read_run(folder)
    assert run.metric_name == 'validation loss'
    assert run.environment['hpo4dl'] == hpo4dl.__version__
    assert 'ConfigSpace' in run.environment
    for name in ('', '../up', '.hidden', 'a/b', 'x' * 101, 3):
        with pytest.raises(ArgumentError, match='name: got'):
            tuned(tmp_path, name=name)
