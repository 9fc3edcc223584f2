"""Checkpoints: copies, in place, a bounded disk, links, and the incumbent's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from objectives import Quadratic, curve, take_checkpoint
from races import NAMES, tune
from runs import events_of

from hpo4dl import StorageError, Tuner, replay
from hpo4dl.records import checkpoints as module


class Sized(Quadratic):
    """Leaves 1000 bytes a trial and looks at how much is there."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.most = 0

    def __call__(self, configuration, epoch, previous_epoch, checkpoint_path):
        take_checkpoint(checkpoint_path, epoch, previous_epoch, length=1000)
        self.calls.append((configuration['x'], previous_epoch, epoch))
        self.most = max(self.most, sum(path.stat().st_size for path in self.folder.rglob('epochs')))
        return curve(configuration['x'], epoch, previous_epoch)


@pytest.mark.parametrize('name', NAMES)
def test_max_disk_bounds_all_checkpoints_and_says_what_it_costs(tmp_path: Path, name: str) -> None:
    objective = Sized(tmp_path)
    budget, max_disk = (18, 5000) if name == 'dyhpo' else (90, 6000)
    tuner = tune(tmp_path, objective, optimizer=name, max_budget=budget, max_disk=max_disk)
    tuner.run()
    assert objective.most <= max_disk
    assert sum(epoch - previous for _, previous, epoch in objective.calls) <= budget
    assert sum(epoch - previous for _, previous, epoch in objective.calls) == tuner.epochs_spent
    evicted: dict[int, int] = {}
    reached: dict[int, int] = {}
    best = (float('inf'), -1)
    retrained = 0
    for event in events_of(tuner.run_folder):
        if event['event'] == 'evict':
            assert event['trial'] != best[1], 'never the incumbent'
            evicted[event['trial']] = reached[event['trial']]
        elif event['event'] == 'start':
            was = evicted.pop(event['trial'], None)
            assert event.get('acknowledged') == was
            assert event['previous_epoch'] == (reached.get(event['trial'], 0) if was is None else 0)
            retrained += was is not None
        elif event['event'] == 'result':
            for entry in event['epochs']:
                assert entry['epoch'] == reached.get(event['trial'], 0) + 1, 'each epoch is recorded once'
                reached[event['trial']] = entry['epoch']
                best = min(best, (entry['metric'], event['trial']))
    if name in ('asha', 'dyhpo'):
        assert 'evict' in {event['event'] for event in events_of(tuner.run_folder)}
    assert replay(tuner.run_folder) > 0
    again = Tuner.resume(tuner.run_folder, objective, max_budget=budget + 5, progress=False)
    again.run()
    assert objective.most <= max_disk


def test_the_least_promising_go_first(tmp_path: Path) -> None:
    tuner = tune(tmp_path, Sized(tmp_path), optimizer='asha', max_epochs=27, max_budget=40, max_disk='8kB')
    tuner.run()
    best: dict[int, float] = {}
    left: set[int] = set()
    for event in events_of(tuner.run_folder):
        if event['event'] == 'result':
            left.add(event['trial'])
            for entry in event['epochs']:
                best[event['trial']] = min(entry['metric'], best.get(event['trial'], float('inf')))
        elif event['event'] == 'start':
            running = event['trial']
        elif event['event'] == 'evict':
            others = left - {event['trial'], running}
            assert all(best[event['trial']] >= best[other] for other in others)
            left.discard(event['trial'])


def test_an_eviction_is_in_the_journal_before_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(self, trial_id: int) -> None:
        raise KeyboardInterrupt

    tuner = tune(tmp_path, Sized(tmp_path), optimizer='asha', max_budget=40, max_disk='6kB', keep_checkpoints='all')
    with monkeypatch.context() as patch:
        patch.setattr(module.Checkpoints, 'drop', drop)
        with pytest.raises(KeyboardInterrupt):
            tuner.run()
    assert events_of(tuner.run_folder)[-1]['event'] == 'evict'
    again = Tuner.resume(tuner.run_folder, Sized(tmp_path), progress=False)
    again.run()
    assert again.epochs_spent <= 40


def test_in_place_leaves_one_folder_a_trial_and_makes_no_copy(tmp_path: Path) -> None:
    folders = set()
    quadratic = Quadratic()

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        folders.add((configuration['x'], checkpoint_path))
        return quadratic(configuration, epoch, previous_epoch, checkpoint_path)

    tuner = tune(tmp_path, objective, optimizer='asha', checkpoints='in-place')
    tuner.run()
    assert len({path for _, path in folders}) == len(folders) == len({x for x, _ in folders})
    whole = Quadratic()
    tune(tmp_path, whole, optimizer='asha').run()
    assert quadratic.calls == whole.calls
    resumed = Tuner.resume(tuner.run_folder, objective, max_budget=60, progress=False)
    assert resumed.run()['metric'] <= tuner.incumbent['metric']


def test_a_lost_first_call_in_place_starts_anew(tmp_path: Path) -> None:
    def interrupted(configuration, epoch, previous_epoch, checkpoint_path):
        (Path(checkpoint_path) / 'epochs').write_text('1')
        raise KeyboardInterrupt

    tuner = tune(tmp_path, interrupted, checkpoints='in-place')
    with pytest.raises(KeyboardInterrupt):
        tuner.run()
    Tuner.resume(tuner.run_folder, Quadratic(), progress=False).run()


def test_links_are_copied_as_links_and_pipes_are_left_out(tmp_path: Path) -> None:
    secret = tmp_path / 'secret'
    secret.mkdir()
    (secret / 'key').write_text('s')

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        path = Path(checkpoint_path)
        if previous_epoch == 0:
            (path / 'file').write_bytes(os.urandom(100_000))
            (path / 'link').symlink_to(secret)
            (path / 'dangling').symlink_to('/nowhere')
            (path / 'below').mkdir()
            (path / 'below' / 'empty').touch()
            os.mkfifo(path / 'pipe')
        assert (path / 'link').is_symlink()
        assert (path / 'below' / 'empty').exists()
        return {'epoch': epoch, 'metric': configuration['x']}

    tuner = tune(tmp_path / 'runs', objective, max_budget=12)
    tuner.run()
    best = tuner.run_folder / 'best_trial'
    assert (best / 'link').is_symlink()
    assert len((best / 'file').read_bytes()) == 100_000
    shutil.rmtree(tuner.run_folder)
    assert (secret / 'key').read_text() == 's'


def test_links_in_a_run_that_was_received_lead_nowhere(tmp_path: Path) -> None:
    tuner = tune(tmp_path / 'runs', Quadratic(), max_budget=12)
    tuner.run()
    mine = tmp_path / 'mine'
    (mine / 'attempt_1').mkdir(parents=True)
    (mine / 'attempt_1' / 'epochs').write_text('mine')
    run = tuner.run_folder
    (run / 'checkpoints' / 'trial_77').symlink_to(mine)
    shutil.rmtree(run / 'best_trial')
    (run / 'best_trial').symlink_to(mine)
    Tuner.resume(run, Quadratic(), max_budget=20, progress=False).run()
    assert (mine / 'attempt_1' / 'epochs').read_text() == 'mine'
    assert not (run / 'best_trial').is_symlink()
    shutil.rmtree(run / 'checkpoints')
    (run / 'checkpoints').symlink_to(mine)
    with pytest.raises(StorageError, match='symbolic link'):
        Tuner.resume(run, Quadratic())


def test_checkpoints_that_are_gone_are_an_error_and_salvage_trains_them_again(tmp_path: Path) -> None:
    first = Quadratic()
    tuner = tune(tmp_path, first, optimizer='asha', max_budget=20)
    tuner.run()
    shutil.rmtree(tuner.run_folder / 'checkpoints')
    with pytest.raises(StorageError, match='are gone'):
        Tuner.resume(tuner.run_folder, Quadratic(), max_budget=40, progress=False).run()
    second = Quadratic()
    again = Tuner.resume(tuner.run_folder, second, max_budget=40, salvage=True, progress=False)
    again.run()
    assert again.epochs_spent == 20 + sum(epoch - previous for _, previous, epoch in second.calls) <= 40


def test_without_an_exchange_of_folders_best_trial_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'swap', lambda one, other: False)
    tuner = tune(tmp_path, Quadratic(), optimizer='asha')
    incumbent = tuner.run()
    assert int((tuner.run_folder / 'best_trial' / 'epochs').read_text()) >= incumbent['epoch']
    assert [path.name for path in tuner.run_folder.glob('.best_trial*')] == []


def test_a_removal_that_was_cut_short_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The incumbent was trained to the end, so its folder is removed; a kill comes when half of it is gone."""

    def cut_short(folder: Path) -> None:
        for file in folder.rglob('epochs') if 'trial_' in str(folder) or 'removed_' in str(folder) else ():
            file.unlink()
            raise KeyboardInterrupt

    tuner = tune(tmp_path, Quadratic(), optimizer='random', max_budget=27)
    with monkeypatch.context() as patch:
        patch.setattr(module, 'remove_tree', cut_short)
        with pytest.raises(KeyboardInterrupt):
            tuner.run()
    assert (tuner.run_folder / 'best_trial' / 'epochs').read_text() == '9'
    Tuner.resume(tuner.run_folder, Quadratic(), max_budget=9, progress=False).run()
    assert (tuner.run_folder / 'best_trial' / 'epochs').read_text() == '9'
    assert not list((tuner.run_folder / 'checkpoints').glob('removed_*'))
