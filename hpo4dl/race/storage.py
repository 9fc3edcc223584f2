"""The checkpoints of a race: which of them stay, and how they are taken up after a break."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import StorageError
from ..log import Log
from ..optimizers.protocol import Optimizer
from ..records.checkpoints import Checkpoints
from ..records.disk_quota import DiskQuota
from ..records.recorder import Recorder
from ..records.state import RunState

logger = Log(__name__)


@dataclass
class Storage:
    """Keeps the folders of checkpoints, the journal, and what the optimizer may still ask for in agreement."""

    checkpoints: Checkpoints
    quota: DiskQuota
    recorder: Recorder
    optimizer: Optimizer

    @property
    def state(self) -> RunState:
        return self.recorder.state

    def last_attempt(self, trial_id: int) -> int | None:
        """Return the attempt whose folder the trial goes on from; None if it starts anew."""
        checkpoint = self.state.checkpoints.get(trial_id)
        return None if checkpoint is None else checkpoint.attempt

    def needs(self, trial_id: int) -> bool:
        """Return whether the trial may be asked for again, or is running."""
        is_asked_for = self.checkpoints.keep != 'none' and self.optimizer.is_alive(trial_id)
        return trial_id in self.state.running or is_asked_for

    def prune(self, told: int | None = None) -> None:
        """Remove checkpoints that are not needed: of the trial just told, and now and then of all."""

        def is_needed(trial_id: int) -> bool:
            return trial_id in self.state.finishing or self.needs(trial_id)

        for trial_id in self.checkpoints.unneeded(self.state.checkpoints, is_needed, told):
            del self.state.checkpoints[trial_id]
            self.checkpoints.drop(trial_id)

    def evict(self, trial_id: int, reason: str) -> None:
        """Remove the checkpoint of a trial that may be asked for again: it will be trained from its start then."""
        self.recorder.evict(trial_id, reason)
        self.checkpoints.drop(trial_id)
        logger.info('the checkpoint of trial %d is removed: %s', trial_id, reason)

    def keep_quota(self, calls: int) -> None:
        """Keep to `max_disk`, with so many calls that run or are about to start."""
        best, was_exceeded = self.state.incumbent, self.quota.is_exceeded
        busy = {*self.state.running, *(() if best is None else (best.trial,))}
        best_size = self.checkpoints.best_size
        for trial_id in self.quota.evictions(self.state.checkpoints, busy, calls, best_size, self._priority):
            self.evict(trial_id, f'max_disk: {self.quota.limit} bytes')
        if self.quota.is_exceeded and not was_exceeded:
            logger.warning('max_disk: the checkpoints of what runs and of the incumbent alone may exceed it')

    def bring_back(self, trial_ids: Iterable[int]) -> None:
        """See that the journal's checkpoints of trials that are to be trained on after the race are there.

        The incumbent's copy is the incumbent's; a trial whose checkpoint is gone is trained again from its start.
        """
        for trial_id in trial_ids:
            attempt, best = self.last_attempt(trial_id), self.state.incumbent
            if attempt is None or self.checkpoints.has(trial_id, attempt):
                continue
            if best is not None and best.trial == trial_id and self.state.incumbent_attempt == attempt:
                self.checkpoints.bring_back(trial_id, attempt)
            else:
                self.evict(trial_id, 'its checkpoint is gone')

    def take_up(self, goes_on: bool, salvage: bool) -> None:
        """Keep the checkpoints that the journal acknowledges, remove the others, and complete the incumbent's copy.

        Where the race `goes_on`, all checkpoints are needed: raises StorageError if some are missing, before any is
        removed. With `salvage`, their trials are trained again from the start instead.
        """
        state, checkpoints = self.state, self.checkpoints
        attempts = {trial_id: checkpoint.attempt for trial_id, checkpoint in state.checkpoints.items()}
        needed = [trial_id for trial_id in attempts if checkpoints.keep == 'all' or self.needs(trial_id)]
        missing = [trial_id for trial_id in needed if not checkpoints.has(trial_id, attempts[trial_id])]
        if missing and not salvage and goes_on:
            raise StorageError(
                f'{checkpoints.folder}: the checkpoints of trials {missing[:10]} are gone, so the race cannot go on '
                "(keep_checkpoints='best' removes them when a run has ended); resume(..., salvage=True) trains them "
                'again from the start when they are wanted'
            )
        if salvage:
            for trial_id in missing:
                self.evict(trial_id, 'its checkpoint is gone')
                del attempts[trial_id]
        checkpoints.restore(attempts)
        best, attempt = state.incumbent, state.incumbent_attempt
        if best is not None and attempts.get(best.trial) == attempt and checkpoints.has(best.trial, attempt):
            checkpoints.publish(best.trial, attempt)
        self.prune()

    def _priority(self, trial_id: int) -> tuple[bool, float]:
        """Return the rank of a checkpoint: trials that may be asked for again, and the best, keep theirs longest."""
        best = self.state.trials[trial_id].best
        value = -math.inf if best is None else best.metric
        return self.optimizer.is_alive(trial_id), -value if self.state.minimize else value
