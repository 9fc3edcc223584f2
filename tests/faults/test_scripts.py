"""What users, containers and terminals are to runs. README.md has every attack, and the test that has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from objectives import Quadratic, curve, take_checkpoint
from races import tune
from runs import events_of
from test_attacks import in_another_process

from hpo4dl import JournalError, StorageError, Tuner, replay
from hpo4dl.files import remove_tree

NOBODY = 65534
TESTS = Path(__file__).parents[1]


def test_the_list_of_attacks_names_tests_that_are_there() -> None:
    named = re.findall(r'`([\w/]*\.py)?(?:::(test_\w+))?`', (TESTS / 'faults' / 'README.md').read_text())
    path, n = '', 0
    for file, test in named:
        path = file or path
        if test:
            assert f'def {test}(' in (TESTS / path).read_text(), f'{path}::{test}'
            n += 1
    assert n > 70


def test_a_journal_that_does_not_fit_together_is_one_error(tmp_path: Path) -> None:
    """r21."""
    run = tune(tmp_path, Quadratic(), optimizer='random', max_epochs=1, max_budget=10).run_folder
    Tuner.resume(run, Quadratic(), progress=False).run()
    lines = (run / 'journal.jsonl').read_bytes().splitlines(keepends=True)
    (run / 'journal.jsonl').write_bytes(b''.join(lines[:3] + lines[4:]))
    with pytest.raises(JournalError, match='line 4: does not fit'):
        replay(run)


def nested(path: Path) -> None:
    """More deeply than Python's calls may be."""
    here = os.open('/', os.O_RDONLY)
    os.chdir(path)
    for _ in range(1000):
        os.mkdir('d')
        os.chdir('d')
    os.fchdir(here)
    os.close(here)


def too_long(path: Path) -> None:
    """Longer than a path may be."""
    here = os.open('/', os.O_RDONLY)
    os.chdir(path)
    for _ in range(60):
        os.mkdir('d' * 100)
        os.chdir('d' * 100)
    os.fchdir(here)
    os.close(here)


def written_for_seconds(path: Path) -> None:
    """r08."""
    threading.Thread(target=write, args=(path,), daemon=True).start()


def write(path: Path) -> None:
    for n in range(20_000):
        try:
            (path / f'{n % 20}.tmp').write_bytes(bytes(1000))
            os.replace(path / f'{n % 20}.tmp', path / f'shard{n % 20}')
            (path / 'a' / 'b').mkdir(parents=True, exist_ok=True)
            shutil.rmtree(path / 'a')
        except OSError:
            if not path.exists():
                return


def link_to(target: str):
    def leave(path: Path) -> None:
        shutil.rmtree(path)
        path.symlink_to(target)

    return leave


def pipe(path: Path) -> None:
    shutil.rmtree(path)
    os.mkfifo(path)


LEFT = {
    'nested': (nested, None),
    'too long': (too_long, 'name too long'),
    'written for seconds': (written_for_seconds, None),
    'pipe': (pipe, None),
    'link to all': (link_to('/'), 'cannot be copied'),
    'link up': (link_to('..'), 'cannot be copied'),
    'link to /proc': (link_to('/proc/self'), 'cannot be copied'),
    'link to nothing': (link_to('/nowhere'), None),
    'link to a file': (link_to('/etc/hostname'), None),
    'rights': (lambda path: path.chmod(0), None),
}


@pytest.mark.parametrize('name', LEFT)
def test_what_is_left_in_a_checkpoint_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It makes at worst that trial failed; nothing of it stays in the way of the next tuner."""
    monkeypatch.chdir('/')
    leave, reason = LEFT[name]
    calls = []

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        calls.append(epoch)
        if len(calls) == 3:
            leave(Path(checkpoint_path))
        return curve(configuration['x'], epoch, previous_epoch)

    tuner = tune(tmp_path, objective, max_budget=15)
    tuner.run()
    failed = [event['failed'] for event in events_of(tuner.run_folder, 'result') if event['failed']]
    assert len(failed) == (reason is not None)
    assert all(str(reason) in text.replace('File ', '') for text in failed)
    again = Tuner.resume(tuner.run_folder, objective, max_budget=18, progress=False)
    again.run()
    assert again.epochs_spent == 18
    remove_tree(tmp_path / again.run_folder.name)  # pytest cannot


@pytest.mark.skipif(not hasattr(os, 'getuid') or os.getuid() != 0, reason='only root can become an ordinary user')
@pytest.mark.parametrize('what', ['folder', 'file', 'umask', 'run'])
def test_an_ordinary_user_and_what_it_may_not_read_or_write(tmp_path: Path, what: str) -> None:
    """r09: it leaves a read-only folder, or a file that it may not read; w20: the run's folder becomes read-only."""

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        path, calls[:] = Path(checkpoint_path), [*calls, epoch]
        if what == 'folder' and previous_epoch == 0:
            (path / 'cache').mkdir()
            (path / 'cache' / 'data').touch()
            (path / 'cache').chmod(0o555)
        if what == 'file' and len(calls) in (2, 5):
            (path / 'key').touch(0)
        if what == 'umask':
            os.umask(0o777)
        if what == 'run' and len(calls) == 3:
            path.parents[2].chmod(0o555)
        return curve(configuration['x'], epoch, previous_epoch)

    def races() -> int:
        """Races to the end, maybe in two parts; how many trials failed."""
        tuner = tune(home, objective, max_budget=30)
        try:
            tuner.run()
        except StorageError:
            assert what == 'run'
            tuner.run_folder.chmod(0o755)
            tuner = Tuner.resume(tuner.run_folder, objective, progress=False)
            tuner.run()
        assert tuner.epochs_spent == 30
        assert not (tuner.run_folder / 'lock').exists()
        return sum(event['failed'] is not None for event in events_of(tuner.run_folder, 'result'))

    calls: list[int] = []
    home = tmp_path / 'home'
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    for folder in tmp_path.parents:
        if 'pytest' in str(folder):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = races()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (2 if what == 'file' else 0)


def test_a_terminal_that_is_closed_during_the_race(tmp_path: Path) -> None:
    """r12: the other end of the pseudo-terminal goes while SIGHUP is ignored."""
    code = """
        import os, pty, signal, sys
        from ConfigSpace import ConfigurationSpace
        from hpo4dl import Tuner
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        terminal, stderr = pty.openpty()
        os.dup2(stderr, 2)
        calls = []
        def f(configuration, epoch, previous_epoch, path):
            calls.append(epoch)
            if len(calls) == 3:
                os.close(terminal)
            return [{'epoch': i, 'metric': configuration['x']} for i in range(previous_epoch + 1, epoch + 1)]
        assert sys.stderr.isatty()
        tuner = Tuner(f, ConfigurationSpace({'x': (0.0, 1.0)}), 9, 15, optimizer='asha', output_path=sys.argv[1])
        tuner.run()
        print(tuner.epochs_spent, (tuner.run_folder / 'hpo4dl_results.csv').exists())
    """
    assert in_another_process(code, tmp_path) == '15 True\n'


def test_a_journal_whose_descriptor_the_objective_closed(tmp_path: Path) -> None:
    """As daemons do: what opens a file then, in the process of the tuner, gets the journal's number."""
    code = """
        import os, sys
        from pathlib import Path
        from ConfigSpace import ConfigurationSpace
        from hpo4dl import Tuner, replay
        def f(configuration, epoch, previous_epoch, path):
            os.closerange(3, 200)
            kept.extend(open(f'{sys.argv[1]}/mine', 'a') for _ in range(40))
            return [{'epoch': i, 'metric': configuration['x']} for i in range(previous_epoch + 1, epoch + 1)]
        kept = []
        Path(sys.argv[1]).mkdir()
        tuner = Tuner(f, ConfigurationSpace({'x': (0.0, 1.0)}), 9, 15, optimizer='asha', output_path=sys.argv[1])
        tuner.run()
        print(tuner.epochs_spent, os.path.getsize(f'{sys.argv[1]}/mine'), replay(tuner.run_folder) > 0)
        os._exit(sys.stdout.flush() or 0)
    """
    assert in_another_process(code, tmp_path / 'runs') == '15 0 True\n'


CONTAINER = """
import sys, time
from pathlib import Path
from hpo4dl.records.lock import Lock
from hpo4dl import RunLockedError
try:
    with Lock(Path(sys.argv[1])):
        print('has it', flush=True)
        sys.stdin.readline()
except RunLockedError as error:
    print('is told', 'take_over=True' in str(error))
"""


def test_of_two_containers_of_one_host_name_one_has_the_lock(tmp_path: Path) -> None:
    """r11: in each, the process is number 1."""
    command = ['unshare', '-pf', '--mount-proc']
    if shutil.which('unshare') is None or subprocess.run([*command, 'true'], capture_output=True).returncode:
        pytest.skip('no namespaces here')
    command += [sys.executable, '-c', CONTAINER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == 'has it\n'
        second = subprocess.run(command, capture_output=True, text=True, input='\n', timeout=60)
        assert second.stdout == 'is told True\n', second.stderr
        first.communicate('\n', timeout=60)
    third = subprocess.run(command, capture_output=True, text=True, input='\n', timeout=60)
    assert third.stdout == 'has it\n', 'the lock was given back'


@pytest.mark.parametrize('length', [300, 5000])
def test_a_name_that_no_file_system_takes_is_one_error(tmp_path: Path, length: int) -> None:
    tuner = tune(tmp_path, Quadratic(), max_budget=10)
    tuner.run()
    path = tuner.run_folder / 'settings.json'
    path.write_text(path.read_text().replace('"storage_path": null', f'"storage_path": "/{"x" * length}"'))
    with pytest.raises(StorageError, match='cannot be looked at'):
        Tuner.resume(tuner.run_folder, Quadratic(), max_budget=20, progress=False)


REQUESTS = [
    '{"kind": "give_up", "trial": true}',
    '{"kind": "give_up", "trial": 1.0}',
    '{"kind": "enqueue", "configuration": {"x": NaN}}',
    '{"kind": "enqueue", "configuration": [1]}',
    '[' * 100_000,
]


@pytest.mark.parametrize('request_', [*REQUESTS, 'pipe'], ids=lambda text: text[:40])
def test_a_request_that_cannot_be_breaks_no_journal(tmp_path: Path, request_: str) -> None:
    tuner = tune(tmp_path, Quadratic(), max_budget=10)
    tuner.run()
    folder = tuner.run_folder / 'requests'
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / '1.json') if request_ == 'pipe' else (folder / '1.json').write_text(request_)
    for budget in (20, 30):
        again = Tuner.resume(tuner.run_folder, Quadratic(), max_budget=budget, progress=False)
        again.run()
        assert again.epochs_spent == budget
    assert replay(tuner.run_folder) > 0


def renamed(run: Path) -> None:
    run.rename(f'{run}-moved')


def renamed_and_made_anew(run: Path) -> None:
    renamed(run)
    run.mkdir()


def renamed_and_copied_back(run: Path) -> None:
    """The copy has the lock of the race that goes on."""
    renamed(run)
    shutil.copytree(f'{run}-moved', run)


def renamed_and_linked(run: Path) -> None:
    renamed(run)
    run.symlink_to(f'{run}-moved')


@pytest.mark.parametrize('storage_path', [None, 'storage'])
@pytest.mark.parametrize('act', [renamed, renamed_and_made_anew, renamed_and_copied_back, renamed_and_linked])
def test_a_run_that_is_moved_while_it_goes_on(tmp_path: Path, act, storage_path: str | None) -> None:
    """It ends with one error, or goes on where it was moved to; nothing is written into what has its old name."""

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        take_checkpoint(checkpoint_path, epoch, previous_epoch)
        calls.append(epoch)
        if len(calls) == 3:
            act(tuner.run_folder)
        return curve(configuration['x'], epoch, previous_epoch)

    calls: list[int] = []
    where = None if storage_path is None else tmp_path / storage_path
    tuner = tune(tmp_path / 'runs', objective, max_budget=15, storage_path=where)
    if act is renamed_and_linked:
        tuner.run()
        assert tuner.epochs_spent == 15
    else:
        with pytest.raises(StorageError):
            tuner.run()
    if act is renamed_and_made_anew:
        assert not list(tuner.run_folder.iterdir())
    is_there = act in (renamed_and_copied_back, renamed_and_linked)
    run = tuner.run_folder if is_there else Path(f'{tuner.run_folder}-moved')
    again = Tuner.resume(run, Quadratic(), max_budget=18, progress=False, take_over=True)
    again.run()  # which checks each checkpoint
    assert again.epochs_spent == 18
    assert not [event['failed'] for event in events_of(run, 'result') if event['failed']]
