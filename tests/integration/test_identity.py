"""What is not the run's is never deleted, overwritten or killed: copies, moved and received runs, links, forks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from objectives import WAYS, Quadratic, forks
from races import tune
from runs import events_of
from workers import is_running, wait_until

from hpo4dl import HPO4DLError, JournalError, StorageError, Tuner, replay, save_checkpoint
from hpo4dl.records.identity import MARK, read_identity


def everything(folder: Path) -> dict[str, str]:
    """The content of every file below a folder, and where links lead."""
    paths = [path for path in folder.rglob('*') if path.is_symlink() or path.is_file()]
    return {str(path): os.readlink(path) if path.is_symlink() else path.read_text() for path in paths}


def stored(tmp_path: Path, **arguments) -> tuple[Tuner, Path]:
    """A run whose checkpoints lie elsewhere, beside other people's files, and which ended."""
    storage = tmp_path / 'scratch'
    for name in ('trial_3/weights', 'removed_1/weights', 'other/trial_1/attempt_1/weights', 'notes'):
        (storage / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / name).write_text("somebody else's")
    settings = {'optimizer': 'asha', 'max_budget': 20, 'storage_path': storage, **arguments}
    tuner = tune(tmp_path / 'runs', Quadratic(), **settings)
    tuner.run()
    return tuner, storage


@pytest.mark.parametrize('keep', ['alive', 'best', 'all'])
@pytest.mark.parametrize('way', ['.', 'link', 'renamed', 'moved'])
def test_a_run_is_recognized_however_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, way: str
) -> None:
    tuner, storage = stored(tmp_path, keep_checkpoints=keep, max_epochs=3, max_budget=21, optimizer='random')
    others = {path: text for path, text in everything(storage).items() if text == "somebody else's"}
    assert len(others) == 4
    run = tuner.run_folder
    if way == '.':
        monkeypatch.chdir(run)
        run = Path('.')
    elif way == 'link':
        (tmp_path / 'latest').symlink_to(run)
        run = tmp_path / 'latest'
    elif way == 'renamed':
        run = run.rename(run.with_name('the one for the paper'))
    else:
        (tmp_path / 'archive').mkdir()
        run = Path(shutil.move(run, tmp_path / 'archive'))
    again = Tuner.resume(run, Quadratic(), max_budget=30, progress=False)
    monkeypatch.chdir(tmp_path)  # as an objective function may
    again.run()
    assert again.epochs_spent == 30
    assert again.run_folder.is_absolute()
    assert others.items() <= everything(storage).items()
    assert replay(again.run_folder) > 0


@pytest.mark.parametrize('keep', ['alive', 'best', 'all'])
def test_a_received_run_names_a_folder_that_is_not_its_own(tmp_path: Path, keep: str) -> None:
    """The sender chooses everything in it, but does not know what stands in marks of our own."""
    home = tmp_path / 'home'
    tuner, _ = stored(tmp_path / 'sender', keep_checkpoints=keep)
    for name in ('thesis/trial_1/attempt_1/text', 'thesis/removed_1/text', 'thesis/chapter', '.thesis.removed/text'):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text('ten years of work')
    before = everything(home)
    path = tuner.run_folder / 'settings.json'
    content = json.loads(path.read_text())
    content['settings']['storage_path'] = str(home)
    for name in ('thesis', '.', '', '..', '../home/thesis', str(home / 'thesis')):
        content['identity']['name'] = name
        path.write_text(json.dumps(content))
        with pytest.raises(HPO4DLError):
            Tuner.resume(tuner.run_folder, Quadratic(), max_budget=40, salvage=True, progress=False).run()
        assert everything(home) == before
    del content['identity']  # nor is it taken for one of an older hpo4dl, whose folders have no marks
    path.write_text(json.dumps(content))
    run = tuner.run_folder.rename(tuner.run_folder.with_name('thesis'))
    with pytest.raises(StorageError, match=r'no mark of a run.* say so: echo [0-9a-f]{32} > '):
        Tuner.resume(run, Quadratic(), max_budget=40, salvage=True, progress=False).run()
    assert everything(home) == before


def test_what_its_owner_marks_is_taken(tmp_path: Path) -> None:
    tuner, storage = stored(tmp_path)
    mark = storage / tuner.run_folder.name / MARK
    mark.unlink()
    with pytest.raises(StorageError, match='no mark of a run') as error:
        Tuner.resume(tuner.run_folder, Quadratic(), max_budget=30, progress=False).run()
    subprocess.run(str(error.value).partition('say so: ')[2], shell=True, check=True)
    again = Tuner.resume(tuner.run_folder, Quadratic(), max_budget=30, progress=False)
    again.run()
    assert again.epochs_spent == 30
    assert mark.read_text() == f'{read_identity(tuner.run_folder).run}\n{tuner.run_folder}\n'


def test_a_copy_leaves_the_checkpoints_of_the_original(tmp_path: Path) -> None:
    tuner, storage = stored(tmp_path)
    shutil.copytree(tuner.run_folder, tmp_path / 'backup')
    Tuner.resume(tuner.run_folder, Quadratic(), max_budget=40, progress=False).run()
    before = everything(storage)
    with pytest.raises(StorageError, match=r'a copy of .*go on with that one'):
        Tuner.resume(tmp_path / 'backup', Quadratic(), max_budget=30, progress=False).run()
    assert everything(storage) == before
    copy = Tuner.resume(tmp_path / 'backup', Quadratic(), max_budget=30, salvage=True, progress=False)
    copy.run()
    assert copy.epochs_spent == 30
    assert before.items() <= everything(storage).items()
    for folder, budget in ((tuner.run_folder, 50), (tmp_path / 'backup', 35)):  # two runs from now on
        again = Tuner.resume(folder, Quadratic(), max_budget=budget, progress=False)
        again.run()
        assert again.epochs_spent == budget


def test_a_copy_with_its_checkpoints_goes_on_by_itself(tmp_path: Path) -> None:
    tuner = tune(tmp_path / 'runs', Quadratic(), optimizer='asha', max_budget=20)
    tuner.run()
    shutil.copytree(tuner.run_folder, tmp_path / 'copy')
    before = everything(tuner.run_folder)
    copy = Tuner.resume(tmp_path / 'copy', Quadratic(), max_budget=40, progress=False)
    copy.run()
    assert copy.epochs_spent == 40
    assert everything(tuner.run_folder) == before


def test_missing_checkpoints_are_noticed_before_any_is_removed(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Quadratic(), optimizer='asha', max_budget=20)
    tuner.run()
    folder = tuner.run_folder / 'checkpoints'
    shutil.rmtree(next(folder.glob('trial_*')))
    (folder / 'trial_2' / 'attempt_999').mkdir(parents=True)
    before = everything(folder), sorted(folder.rglob('*'))
    with pytest.raises(StorageError, match='are gone'):
        Tuner.resume(tuner.run_folder, Quadratic(), max_budget=30, progress=False).run()
    assert (everything(folder), sorted(folder.rglob('*'))) == before


@pytest.mark.parametrize('keep', ['alive', 'best'])
def test_only_names_that_we_make_are_removed(tmp_path: Path, keep: str) -> None:
    tuner, storage = stored(tmp_path, keep_checkpoints='alive')
    folder = storage / tuner.run_folder.name
    kept = ['notes.txt', 'trial_1/notes.txt', 'trial_x/weights', 'removed_by_me/weights', 'trial_1/attempt_1.tar']
    for name in kept:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('kept')
    path = tuner.run_folder / 'settings.json'
    path.write_text(path.read_text().replace('"alive"', f'"{keep}"'))
    Tuner.resume(tuner.run_folder, Quadratic(), max_budget=30, progress=False).run()
    left = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    assert set(kept) - {'trial_1/notes.txt', 'trial_1/attempt_1.tar'} <= left
    assert (MARK in left) == (keep == 'alive' or len(left) > 0)


LINKS = ['.hpo4dl_results.csv.new', '.lock.new', '.journal.new', 'hpo4dl_results.csv', 'best_trial', '.best_trial.new',
         '.best_trial.old', 'settings.json.new', 'checkpoints/trial_1', 'checkpoints/trial_2/attempt_99',
         'checkpoints/trial_2/began_99', 'checkpoints/removed_3']  # fmt: skip


@pytest.fixture(scope='module')
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended; what is received is a copy of it."""
    tuner = tune(tmp_path_factory.mktemp('sender'), Quadratic(), optimizer='asha', max_budget=20)
    tuner.run()
    return tuner.run_folder


@pytest.mark.parametrize('damaged', [False, True])
@pytest.mark.parametrize('target', ['file', 'folder', 'nothing'])
@pytest.mark.parametrize('link', LINKS)
def test_no_link_in_a_received_run_is_written_through(
    tmp_path: Path, sent: Path, link: str, target: str, damaged: bool
) -> None:
    run = Path(shutil.copytree(sent, tmp_path / 'received'))
    home = tmp_path / 'home'
    (home / 'folder').mkdir(parents=True)
    (home / 'file').write_text('mine')
    (home / 'folder' / 'file').write_text('mine')
    before = everything(home)
    path = run / link
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.symlink_to(home / target)
    (run / 'lock').touch()
    journal = run / 'journal.jsonl'
    if damaged:
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b''.join([*lines[:5], b'damaged\n', *lines[6:]]))
    try:
        again = Tuner.resume(run, Quadratic(), max_budget=30, salvage=damaged, progress=False)
        again.run()
    except HPO4DLError:
        pass
    assert everything(home) == before


@pytest.mark.parametrize('content', ['no newline at the end', 'one line\n', 'many\nlines\nwithout\nthe last', ''])
@pytest.mark.parametrize('kind', ['link', 'file'])
def test_a_journal_is_neither_a_link_nor_mended_unread(tmp_path: Path, sent: Path, content: str, kind: str) -> None:
    run = Path(shutil.copytree(sent, tmp_path / 'received'))
    file = tmp_path / 'file'
    file.write_text(content)
    journal = run / 'journal.jsonl'
    journal.unlink()
    journal.symlink_to(file) if kind == 'link' else file.rename(journal)
    with pytest.raises(JournalError):
        Tuner.resume(run, Quadratic(), max_budget=30, progress=False).run()
    assert journal.read_text() == content


def test_checkpoints_and_probes_are_new_files(tmp_path: Path) -> None:
    target = tmp_path / 'file'
    target.write_text('mine')

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        for name in ('.checkpoint.pt.new', '.hpo4dl', 'checkpoint.pt'):
            path = Path(checkpoint_path) / name
            path.unlink(missing_ok=True)
            path.symlink_to(target)
        save_checkpoint(checkpoint_path, epoch=epoch)
        if configuration['x'] > 2:
            raise RuntimeError('diverged')
        return {'epoch': epoch, 'metric': configuration['x'] ** 2}

    tune(tmp_path / 'runs', objective, optimizer='random', max_epochs=1, max_budget=8).run()
    assert target.read_text() == 'mine'


SCRIPT = """
    import os, time
    from pathlib import Path
    from ConfigSpace import ConfigurationSpace
    from hpo4dl import Tuner

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        Path(f'called_{os.getpid()}').touch()
        time.sleep(600)

    if __name__ == '__main__':
        tuner = Tuner(objective, ConfigurationSpace({'x': (0.0, 1.0)}), 3, 9, 'runs', 'random', num_workers=2)
        Path('made').touch()
        tuner.run()
"""


@pytest.mark.skipif(not Path('/proc/self/environ').exists(), reason='Linux')
@pytest.mark.parametrize('end', ['kill', 'terminate', 'kill later'])
def test_a_tuner_that_dies_takes_its_workers_along_and_nobody_else(tmp_path: Path, end: str) -> None:
    """Its workers are in the group of whoever started it until they have one of their own."""

    def begun() -> list[int]:
        return [pid for pid in processes_below(tmp_path) if pid != tuner.pid]

    (tmp_path / 'tuner.py').write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'STARTED_BELOW': str(tmp_path)}
    bystander = subprocess.Popen(['sleep', '600'], preexec_fn=os.setpgrp)
    tuner = subprocess.Popen(
        [sys.executable, 'tuner.py'],
        cwd=tmp_path,
        env=environment,
        preexec_fn=lambda: os.setpgid(0, bystander.pid),
    )
    try:
        if end == 'kill later':
            wait_until(lambda: len(list(tmp_path.glob('called_*'))) == 2)
        else:
            wait_until(lambda: (tmp_path / 'made').exists() and begun())
        number = signal.SIGTERM if end == 'terminate' else signal.SIGKILL
        wait_until(lambda: tuner.poll() is not None or tuner.send_signal(number))  # the second one leaves at once
        wait_until(lambda: not processes_below(tmp_path))
        assert bystander.poll() is None
    finally:
        for process in (tuner, bystander):
            process.kill()
            process.wait()


def processes_below(folder: Path) -> list[int]:
    """Those that were started with the folder as their mark, and run."""
    mark = f'STARTED_BELOW={folder}\0'.encode()
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            if mark in path.read_bytes() + b'\0' and is_running(int(path.parent.name)):
                found.append(int(path.parent.name))
        except OSError:  # another user's, or ended
            pass
    return found


@pytest.mark.parametrize('num_workers', [1, 2])
def test_a_fork_of_the_objective_is_no_second_tuner(tmp_path: Path, num_workers: int) -> None:
    tuner = tune(tmp_path, forks, max_budget=16, num_workers=num_workers)
    tuner.run()
    assert tuner.epochs_spent == 16
    assert replay(tuner.run_folder) > 0
    results = events_of(tuner.run_folder, 'result')
    assert len(results) == len({result['attempt'] for result in results})
    assert all(result['failed'] is None for result in results)
    assert {entry['info']['way'] for result in results for entry in result['epochs']} == set(WAYS)
