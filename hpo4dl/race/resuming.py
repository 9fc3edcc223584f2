"""Taking up a run where its journal ends: the state, the optimizer, and the checkpoints on the disk."""

from __future__ import annotations

import secrets
from pathlib import Path

from ..errors import StorageError
from ..optimizers.protocol import Optimizer, TakesRequests, tell
from ..records.identity import Identity, claim, mark, read_identity, write_identity
from ..records.journal import Journal
from ..records.lock import Lock
from ..records.state import Change, RunState

NUMBERS_OF_AN_OWNER = 1000
"""Attempts that a tuner which lost its lock may have begun that the next owner does not know of, at most."""


def follow_journal(journal: Journal, state: RunState, optimizer: Optimizer, lock: Lock) -> None:
    """Bring the state and the optimizer from the beginning of a run to where its journal ends, after mending its end.

    Raises JournalError where it cannot be followed, StorageError where it cannot be written.
    """
    journal.take(lock.check, anew=lock.taken_over)
    for change in state.follow(journal):
        if change.asked is not None:
            optimizer.replay(change.asked.wanted)
        if change.finished is not None:
            finished = change.finished
            tell(optimizer, finished.step.trial, finished.metrics, finished.failed, finished.costs)
        follow_request(change, optimizer)
    if lock.taken_over:
        state.attempts += NUMBERS_OF_AN_OWNER  # no folder of ours is one that the last owner may still write to


def follow_request(change: Change, optimizer: Optimizer) -> None:
    """Hand on to the optimizer what somebody asked for, if it takes that."""
    if isinstance(optimizer, TakesRequests):
        if change.enqueued is not None:
            optimizer.enqueue(change.enqueued)
        if change.given_up is not None:
            optimizer.give_up(change.given_up.id, str(change.given_up.failed))


def claim_checkpoints(run_folder: Path, identity: Identity, storage_path: str | None, salvage: bool) -> Identity:
    """See that the folder of checkpoints is this run's: a copy of a run does not take the original's.

    Returns the run's identity, a new one for a copy that is salvaged; raises StorageError: the folder is another run's.
    """
    folder = identity.checkpoint_folder(run_folder, storage_path)
    if read_identity(run_folder) is None:  # a run of an hpo4dl that gave it none
        write_identity(run_folder, identity)
        if folder.parent == run_folder and folder.is_dir():
            mark(folder, identity, run_folder)
    original = claim(folder, identity, run_folder)
    if original is None:
        return identity
    if not salvage:
        what = f'a copy of {original}, whose checkpoints lie in {folder}: go on with that one'
        remedy = 'goes on with the copy, in a folder of its own, and trains again from the start what is wanted'
        raise StorageError(f'{run_folder}: {what}; resume(..., salvage=True) {remedy}')
    identity = Identity.new(f'{identity.name}-{secrets.token_hex(4)}')
    write_identity(run_folder, identity)
    return identity
