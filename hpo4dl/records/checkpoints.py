"""Where trials keep what they need to be trained on: folders that we hand out and never look into.

A call of the objective function is an *attempt* with a number and a folder of its own, which starts as a copy of what
the trial's last acknowledged attempt left. An attempt is acknowledged by its line in the journal: from then on its
folder is the trial's, and the older one is removed. A call that is killed half way, or goes on writing after it was
given up, damages nothing. Nor does one that an engine makes twice: each works in a folder of its own, and that of the
one whose outcome came becomes the attempt's, which no worker ever writes to.

    checkpoints/.hpo4dl_run                  whose folder this is; without this mark nothing in it is touched
    checkpoints/trial_3/attempt_17/          what trial 3 starts its next call from
    checkpoints/trial_3/attempt_18.5f0c/     where a worker is making attempt 18
    best_trial/                              a copy of the incumbent's, made when it became the incumbent

A tuner that stalled, and whose run was taken over, may wake up in any line of this file. So what is to be removed is
listed first, then the lock is looked at, and then what was listed is removed: what the next owner makes has other
names, see `follow_journal`.

In place, for checkpoints that are too large to copy, all attempts of a trial work in `trial_3/in_place`. A call that is
killed may leave it half written, or ahead of the journal: the objective function must bear that.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from ..errors import HPO4DLError, StorageError
from ..files import copy_tree, remove_tree, swap, sync_folder, sync_tree, tree_size
from ..log import Log
from ..trial import Attempt, Trial
from .identity import MARK

OURS = {
    'trial': r'trial_\d+',
    'removed': r'removed_\d+',
    'attempt': r'(attempt_\d+|in_place)(\.[0-9a-f]+)?|began_\d+',
}
"""Names that we make. Whatever else lies there is left alone."""

Keep = Literal['all', 'alive', 'best', 'none']
Mode = Literal['copy', 'in-place']

logger = Log(__name__)


class Checkpoints:
    """The checkpoint folders of a run. It writes and removes; what is acknowledged, the journal knows.

    Args:
        folder: where the trials' folders lie.
        best: where the incumbent's copy lies, on any file system.
        keep: 'all': the last checkpoint of every trial stays; 'alive': those of trials that cannot be asked for any
            more are removed; 'best': as 'alive', and when the race has ended nothing stays but `best`; 'none': nothing
            but `best`, so that each call trains from the start.
        mode: 'copy': an attempt works on a copy; 'in-place': on the trial's only folder.
        check: raises unless the run's lock is still ours.
    """

    def __init__(
        self, folder: Path, best: Path, keep: str, mode: str, check: Callable[[], None] = lambda: None
    ) -> None:
        self.folder = folder
        self.best = best
        self.keep = keep
        self.in_place = mode == 'in-place'
        self.check = check
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
        log = self.best.with_name('logs') / f'trial_{trial.id}_attempt_{number}.log'
        started = str(self._started_file(trial.id, number))
        return Attempt(number, trial, str(path), source, started, self.in_place, str(log))

    def accept(self, trial_id: int, number: int, worked_in: str) -> None:
        """Make the folder where the attempt's outcome was made the attempt's own; StorageError if it cannot be."""
        path = self._path(trial_id, number)
        try:
            if worked_in != str(path):
                remove_tree(path)
                os.rename(worked_in, path)
            sync_folder(path.parent)  # POSIX keeps a folder's entry only then: that of the attempt, and of the trial
            sync_folder(self.folder)
        except OSError as error:
            raise StorageError(f'{path}: cannot be made: {error}') from error

    def adopt(self, trial_id: int, number: int, older: int | None) -> None:
        """Make the attempt's folder the trial's from now on: its line is in the journal."""
        self._remove_traces(trial_id, number)
        if older is not None and not self.in_place:
            remove_tree(self._path(trial_id, older))

    def discard(self, trial_id: int, number: int, older: int | None) -> None:
        """Remove what an attempt wrote that failed or was lost."""
        self._remove_traces(trial_id, number)
        if not self.in_place or older is None:
            remove_tree(self._path(trial_id, number))
        with suppress(OSError):  # the trial has others, or somebody else's files
            self._path(trial_id, number).parent.rmdir()

    def drop(self, trial_id: int) -> None:
        """Remove what a trial left: each at once, so that a kill leaves no part of it that looks whole."""
        folder, name = self.folder / f'trial_{trial_id}', self.folder / f'removed_{trial_id}'
        listed = ours(folder, 'attempt')
        self.check()
        for path in listed:
            remove_at_once(path, name)
        with suppress(OSError):  # it is not there, or somebody else's files are in it
            folder.rmdir()

    def publish(self, trial_id: int, number: int) -> None:
        """Copy the trial's checkpoint to `best`, which is at every instant whole; StorageError: the old one stays.

        Where the file system cannot exchange two folders (NFS), it is absent between two renames.
        """
        new, old = self._beside_best(f'{secrets.token_hex(8)}.new'), self._beside_best('old')
        try:
            copy_tree(self._path(trial_id, number), new)
            self.best_size = sync_tree(new)
            self.check()
            if not self.best.exists():
                remove_tree(self.best)  # a link that leads nowhere
                os.rename(new, self.best)
            elif swap(new, self.best):
                self._check_or_give_back(new)
            else:
                remove_tree(old)
                os.rename(self.best, old)
                try:
                    os.rename(new, self.best)
                except OSError:  # such as one that the next owner of the run removed
                    os.rename(old, self.best)
                    raise
            sync_folder(self.best.parent)
        except OSError as error:
            raise StorageError(f'{self.best}: cannot be written: {error}') from error
        finally:
            remove_tree(new)
        remove_tree(old)

    def bring_back(self, trial_id: int, number: int) -> None:
        """Copy `best` to where the trial that it was copied from goes on from; raises StorageError."""
        path = self._path(trial_id, number)
        try:
            if self.best.is_symlink():
                raise OSError(errno.ELOOP, 'a symbolic link, which is not followed', str(self.best))
            remove_tree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            copy_tree(self.best, path)
            sync_tree(path)
            sync_folder(path.parent)
            sync_folder(self.folder)
        except OSError as error:
            raise StorageError(f'{path}: cannot be made: {error}') from error

    def end(self) -> None:
        """End the race: under 'best' nothing stays but the incumbent's copy, and what is not ours."""
        if self.keep != 'best':
            return
        for path in ours(self.folder, 'trial'):
            self.drop(int(path.name.removeprefix('trial_')))
        try:
            if {path.name for path in self.folder.iterdir()} == {MARK}:
                beside = self.folder.with_name(f'.{self.folder.name}.{secrets.token_hex(8)}.new')
                os.rename(self.folder, beside)  # a folder without its mark, as a kill could leave it, is not ours
                (beside / MARK).unlink()
                beside.rmdir()
        except OSError as error:
            logger.warning('%s stays: %s', self.folder, error)

    def unneeded(
        self, recorded: Collection[int], is_needed: Callable[[int], bool], told: int | None = None
    ) -> list[int]:
        """Return the trials, of those `recorded` to have a checkpoint, that are to lose it; none where all are kept.

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
        old = self._beside_best('old')
        copies = re.compile(rf'\.{re.escape(self.best.name)}\.([0-9a-f]{{16}}\.)?(new|old)')
        listed = [path for path in self.best.parent.iterdir() if copies.fullmatch(path.name)]
        listed += ours(self.folder, 'removed')
        for trial_folder in ours(self.folder, 'trial'):
            if trial_folder.is_symlink():
                listed.append(trial_folder)  # it may lead anywhere, and attempts would be written there
            else:
                attempts = ours(trial_folder, 'attempt')
                listed += [path for path in attempts if path not in wanted or path.is_symlink()]
        self.check()
        if not self.best.exists() and old.exists():
            os.rename(old, self.best)  # killed between the two renames of `publish`
        for path in listed:
            remove_tree(path)
            if path.parent.parent == self.folder:
                with suppress(OSError):  # the trial has another attempt
                    path.parent.rmdir()
        self.best_size = tree_size(self.best)

    def has(self, trial_id: int, number: int) -> bool:
        """Return whether the folder that this attempt left is there."""
        path = self._path(trial_id, number)
        return path.is_dir() and not path.is_symlink() and not path.parent.is_symlink()

    def _path(self, trial_id: int, number: int) -> Path:
        return self.folder / f'trial_{trial_id}' / ('in_place' if self.in_place else f'attempt_{number}')

    def _check_or_give_back(self, new: Path) -> None:
        """Look at the lock once more, after the exchange; the next owner's copy, if it was that, is given back."""
        try:
            self.check()
        except HPO4DLError:
            swap(new, self.best)
            raise

    def _remove_traces(self, trial_id: int, number: int) -> None:
        """Remove what else the attempt left: the mark of its start, and folders where it was made another time."""
        path = self._path(trial_id, number)
        self._started_file(trial_id, number).unlink(missing_ok=True)
        for other in ours(path.parent, 'attempt'):
            if other.name.startswith(f'{path.name}.'):
                remove_tree(other)

    def _started_file(self, trial_id: int, number: int) -> Path:
        return self.folder / f'trial_{trial_id}' / f'began_{number}'

    def _beside_best(self, state: str) -> Path:
        return self.best.with_name(f'.{self.best.name}.{state}')


def ours(folder: Path, kind: str) -> list[Path]:
    """Return what lies in a folder under names that we make."""
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
