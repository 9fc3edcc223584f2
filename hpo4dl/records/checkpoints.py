"""Where trials keep what they need to be trained on: folders that we hand out and never look into.

A call of the objective function is an *attempt* with a number and a folder of its own, which starts as a copy of what
the trial's last acknowledged attempt left. An attempt is acknowledged by its line in the journal: from then on its
folder is the trial's, and the older one is removed. A call that is killed half way, or goes on writing after it was
given up, damages nothing.

    checkpoints/.hpo4dl_run             whose folder this is; without this mark nothing in it is touched
    checkpoints/trial_3/attempt_17/     what trial 3 starts its next call from
    best_trial/                         a copy of the incumbent's, made when it became the incumbent

In place, for checkpoints that are too large to copy, all attempts of a trial work in `trial_3/in_place`. A call that is
killed may leave it half written, or ahead of the journal: the objective function must bear that.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import StorageError
from ..files import copy_tree, remove_tree, swap, sync_folder, sync_tree, tree_size
from ..trial import Attempt, Trial
from .identity import MARK

OURS = {'trial': r'trial_\d+', 'removed': r'removed_\d+', 'attempt': r'attempt_\d+|began_\d+|in_place'}
"""Names that we make. Whatever else lies there is left alone."""

KEEP = ('all', 'alive', 'best')
MODES = ('copy', 'in-place')

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoint folders of a run. It writes and removes; what is acknowledged, the journal knows.

    Args:
        folder: where the trials' folders lie.
        best: where the incumbent's copy lies, on any file system.
        keep: 'all': the last checkpoint of every trial stays; 'alive': those of trials that cannot be asked for any
            more are removed; 'best': as 'alive', and when the race has ended nothing stays but `best`.
        mode: 'copy': an attempt works on a copy; 'in-place': on the trial's only folder.
    """

    def __init__(self, folder: Path, best: Path, keep: str, mode: str) -> None:
        self.folder = folder
        self.best = best
        self.keep = keep
        self.in_place = mode == 'in-place'
        self.best_size = 0
        """Bytes of `best`."""
        self._tells_to_sweep = 0

    def begin(self, number: int, trial: Trial, older: int | None) -> Attempt:
        """Name the folder of a new attempt, which goes on from the trial's `older`, acknowledged one, if there is one.

        Only the worker makes it: NFS remembers that the tuner did not find it.
        """
        path = self._path(trial.id, number)
        if older is None:
            remove_tree(path)
        source = None if older is None else str(self._path(trial.id, older))
        return Attempt(number, trial, str(path), source, str(self._started_file(trial.id, number)))

    def adopt(self, trial_id: int, number: int, older: int | None) -> None:
        """The attempt's line is in the journal: its folder is the trial's from now on."""
        self._started_file(trial_id, number).unlink(missing_ok=True)
        if older is not None and not self.in_place:
            remove_tree(self._path(trial_id, older))

    def discard(self, trial_id: int, number: int, older: int | None) -> None:
        """The attempt failed or was lost: what it wrote is of no use."""
        self._started_file(trial_id, number).unlink(missing_ok=True)
        if not self.in_place or older is None:
            remove_tree(self._path(trial_id, number))

    def drop(self, trial_id: int) -> None:
        """Remove what a trial left: at once, so that a kill leaves no part of it that looks whole."""
        remove_at_once(self.folder / f'trial_{trial_id}', self.folder / f'removed_{trial_id}')

    def publish(self, trial_id: int, number: int) -> None:
        """Copy the trial's checkpoint to `best`, which is at every instant whole; StorageError: the old one stays.

        Where the file system cannot exchange two folders (NFS), it is absent between two renames.
        """
        new, old = self._beside_best('new'), self._beside_best('old')
        remove_tree(new)
        try:
            copy_tree(self._path(trial_id, number), new)
            self.best_size = sync_tree(new)
            if not self.best.exists():
                remove_tree(self.best)  # a link that leads nowhere
                os.rename(new, self.best)
            else:
                remove_tree(old)
                if swap(new, self.best):
                    os.rename(new, old)
                else:
                    os.rename(self.best, old)
                    os.rename(new, self.best)
            sync_folder(self.best.parent)
        except OSError as error:
            raise StorageError(f'{self.best}: cannot be written: {error}') from error
        remove_tree(old)

    def bring_back(self, trial_id: int, number: int) -> None:
        """Copy `best` to where the trial that it was copied from goes on from; raises StorageError."""
        path = self._path(trial_id, number)
        try:
            remove_tree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            copy_tree(self.best, path)
            sync_tree(path)
        except OSError as error:
            raise StorageError(f'{path}: cannot be made: {error}') from error

    def end(self) -> None:
        """The race has ended: under 'best' nothing stays but the incumbent's copy, and what is not ours."""
        if self.keep != 'best':
            return
        for path in ours(self.folder, 'trial'):
            self.drop(int(path.name.removeprefix('trial_')))
        try:
            if {path.name for path in self.folder.iterdir()} == {MARK}:
                (self.folder / MARK).unlink()
                self.folder.rmdir()
        except OSError as error:
            logger.warning('%s stays: %s', self.folder, error)

    def unneeded(
        self, recorded: Collection[int], is_needed: Callable[[int], bool], told: int | None = None
    ) -> list[int]:
        """The trials whose checkpoint is to be removed, of those `recorded` to have one; none where all are kept.

        Looks at `told` alone, but for now and then, in proportion to the number of trials; None: at all.
        """
        if self.keep == 'all':
            return []
        self._tells_to_sweep -= 1
        if told is not None and self._tells_to_sweep > 0:
            return [told] if told in recorded and not is_needed(told) else []
        self._tells_to_sweep = len(recorded) // 50
        return [trial_id for trial_id in recorded if not is_needed(trial_id)]

    def restore(self, acknowledged: Mapping[int, int]) -> None:
        """Take up a run that was interrupted: keep each trial's last attempt that the journal has, remove the rest."""
        wanted = {self._path(trial_id, number) for trial_id, number in acknowledged.items()}
        for removed in ours(self.folder, 'removed'):
            remove_tree(removed)
        for trial_folder in ours(self.folder, 'trial'):
            if trial_folder.is_symlink():
                trial_folder.unlink()  # it may lead anywhere, and attempts would be written there
                continue
            for path in ours(trial_folder, 'attempt'):
                if path not in wanted or path.is_symlink():
                    remove_tree(path)
        new, old = self._beside_best('new'), self._beside_best('old')
        if not self.best.exists() and old.exists():
            os.rename(old, self.best)  # killed between the two renames of `publish`
        remove_tree(new)
        remove_tree(old)
        self.best_size = tree_size(self.best)

    def has(self, trial_id: int, number: int) -> bool:
        """Whether the folder that this attempt left is there."""
        path = self._path(trial_id, number)
        return path.is_dir() and not path.is_symlink() and not path.parent.is_symlink()

    def _path(self, trial_id: int, number: int) -> Path:
        return self.folder / f'trial_{trial_id}' / ('in_place' if self.in_place else f'attempt_{number}')

    def _started_file(self, trial_id: int, number: int) -> Path:
        return self.folder / f'trial_{trial_id}' / f'began_{number}'

    def _beside_best(self, state: str) -> Path:
        return self.best.with_name(f'.{self.best.name}.{state}')


def ours(folder: Path, kind: str) -> list[Path]:
    """What lies in a folder under names that we make."""
    try:
        return [path for path in folder.iterdir() if re.fullmatch(OURS[kind], path.name)]
    except OSError:
        return []


def remove_at_once(folder: Path, name: Path) -> None:
    """Remove a folder under another name."""
    remove_tree(name)
    with suppress(OSError):  # it is not there, or cannot be removed now
        os.rename(folder, name)
    remove_tree(name)
