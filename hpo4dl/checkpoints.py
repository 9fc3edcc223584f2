"""Where trials keep what they need to be trained on: folders that we hand out and never look into.

A call of the objective function is an *attempt* with a number and a folder of its own, which starts as a copy of what
the trial's last acknowledged attempt left. An attempt is acknowledged by its line in the journal: from then on its
folder is the trial's, and the older one is removed. A call that is killed half way, or goes on writing after it was
given up, damages nothing.

    checkpoints/trial_3/attempt_17/     what trial 3 starts its next call from
    best_trial/                         a copy of the incumbent's, made when it became the incumbent
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .errors import StorageError
from .files import copy_tree, remove_tree, sync_folder, sync_tree

KEEP = ('all', 'alive', 'best')


class Checkpoints:
    """The checkpoint folders of a run.

    Args:
        folder: where the trials' folders lie.
        best: where the incumbent's copy lies, on any file system.
        keep: 'all': the last checkpoint of every trial stays; 'alive': those of trials that cannot be asked for any
            more are removed; 'best': as 'alive', and when the race has ended nothing stays but `best`.
    """

    def __init__(self, folder: Path, best: Path, keep: str) -> None:
        self.folder = folder
        self.best = best
        self.keep = keep
        self._acknowledged: dict[int, int] = {}

    def begin(self, trial_id: int, attempt: int) -> Path:
        """A folder for this attempt: a copy of the trial's acknowledged one, or empty for a trial's first.

        Raises:
            StorageError: the copy cannot be made, or the acknowledged folder is gone.
        """
        path = self._path(trial_id, attempt)
        try:
            if trial_id in self._acknowledged:
                copy_tree(self._path(trial_id, self._acknowledged[trial_id]), path)
            else:
                path.mkdir(parents=True)
        except (OSError, ValueError) as error:
            remove_tree(path)
            raise StorageError(f'{path}: cannot be made: {error}') from error
        return path

    def sync(self, trial_id: int, attempt: int) -> None:
        """Force an attempt's files to the disk, before its line in the journal says that they are there."""
        path = self._path(trial_id, attempt)
        try:
            path.mkdir(parents=True, exist_ok=True)  # an objective function may have removed it
            sync_tree(path)
        except OSError as error:
            raise StorageError(f'{path}: cannot be written: {error}') from error

    def adopt(self, trial_id: int, attempt: int) -> None:
        """The attempt's line is in the journal: its folder is the trial's from now on."""
        older = self._acknowledged.get(trial_id)
        self._acknowledged[trial_id] = attempt
        if older is not None:
            remove_tree(self._path(trial_id, older))

    def discard(self, trial_id: int, attempt: int) -> None:
        """The attempt failed: what it wrote is of no use."""
        remove_tree(self._path(trial_id, attempt))

    def publish(self, trial_id: int) -> None:
        """Copy the trial's checkpoint to `best`, which is at no instant half a copy.

        Raises:
            StorageError: the copy cannot be made; the old one stays.
        """
        new, old = self._beside_best('new'), self._beside_best('old')
        remove_tree(new)
        try:
            copy_tree(self._path(trial_id, self._acknowledged[trial_id]), new)
            sync_tree(new)
            if self.best.exists():
                remove_tree(old)
                os.rename(self.best, old)
            os.rename(new, self.best)
            sync_folder(self.best.parent)
        except OSError as error:
            raise StorageError(f'{self.best}: cannot be written: {error}') from error
        remove_tree(old)

    def prune(self, is_alive: Callable[[int], bool]) -> None:
        """Remove the folders of trials that are not alive, unless all are kept."""
        if self.keep != 'all':
            for trial_id in [i for i in self._acknowledged if not is_alive(i)]:
                self._drop(trial_id)

    def end(self) -> None:
        """The race has ended: under 'best' nothing stays but the incumbent's copy."""
        if self.keep == 'best':
            remove_tree(self.folder)
            self._acknowledged.clear()

    def restore(self, acknowledged: dict[int, int]) -> None:
        """Take up a run that was interrupted: keep what the journal acknowledges, remove the rest.

        Args:
            acknowledged: for each trial, its last acknowledged attempt.
        """
        self._acknowledged = dict(acknowledged)
        wanted = {self._path(trial_id, attempt) for trial_id, attempt in acknowledged.items()}
        for path in self.folder.glob('trial_*/attempt_*'):
            if path not in wanted:
                remove_tree(path)
        new, old = self._beside_best('new'), self._beside_best('old')
        if not self.best.exists() and old.exists():
            os.rename(old, self.best)  # killed between the two renames of `publish`
        remove_tree(new)
        remove_tree(old)

    def has(self, trial_id: int, attempt: int) -> bool:
        """Whether the folder that this attempt left is there."""
        return self._acknowledged.get(trial_id) == attempt and self._path(trial_id, attempt).is_dir()

    def missing(self) -> list[int]:
        """Trials whose acknowledged folder is not there."""
        return [i for i, attempt in self._acknowledged.items() if not self._path(i, attempt).is_dir()]

    def _drop(self, trial_id: int) -> None:
        del self._acknowledged[trial_id]
        remove_tree(self.folder / f'trial_{trial_id}')

    def _path(self, trial_id: int, attempt: int) -> Path:
        return self.folder / f'trial_{trial_id}' / f'attempt_{attempt}'

    def _beside_best(self, state: str) -> Path:
        return self.best.with_name(f'.{self.best.name}.{state}')
