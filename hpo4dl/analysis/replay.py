"""Take a run's decisions again, offline, and compare."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from ConfigSpace import ConfigurationSpace

from ..checks import check_path
from ..errors import ArgumentError, JournalError
from ..optimizers.protocol import Optimizer, tell
from ..parts import build_optimizer
from ..race.budget import Budget
from ..race.finishing import next_step, unfinished
from ..race.resuming import follow_request
from ..records.journal import Journal
from ..records.run_folder import read_configuration_space
from ..records.runs import find_run
from ..records.state import FINISH, RunState
from ..settings import Settings
from ..space.unit_cube import Space
from ..trial import Trial


@dataclass(frozen=True)
class Decision:
    """A decision of a run, and the optimizer that is about to take it again."""

    optimizer: Optimizer
    """In the state that it had then."""
    wanted: Trial
    at: str
    """File and line."""
    by: str | None
    """As `RunningStep.by`."""
    state: RunState
    settings: Settings

    def again(self) -> Trial | None:
        """Take it again, and bring the optimizer past it."""
        if self.by is None:
            return self.optimizer.ask()
        state, end, chosen = self.state, self.settings.max_epochs, self.wanted.id
        keep = self.settings.keep_checkpoints
        if keep != 'all':
            forget_unneeded(state, self.optimizer, {*state.running} - {chosen} | {*state.finishing}, keep)
        if self.by == FINISH:
            found = next((i for i in unfinished(state, end) if i not in state.running or i == chosen), None)
        else:  # the budget may have been another one then: it paid for the trial that was chosen, at least
            budget = Budget(math.inf, self.settings.cost, end)
            reached = self.wanted.previous_epoch if chosen in state.checkpoints else 0
            reserve = budget.reserve(state, self.optimizer, (end - reached) * budget.pace(chosen, state), chosen)
            found = None if reserve is None else reserve.trial
        self.optimizer.replay(self.wanted)
        return None if found is None else next_step(found, end, state)


def decisions(
    run_folder: str | os.PathLike[str],
    optimizer: Optimizer | None = None,
    configuration_space: ConfigurationSpace | None = None,
) -> Iterator[Decision]:
    """Yield a run's decisions with the optimizer as it was before each; arguments and errors as in `replay`.

    The caller brings the optimizer past each decision, by `ask` or by `replay`, before it takes the next one.
    """
    folder = find_run(check_path('run_folder', run_folder))
    settings = Settings.read(folder)
    if configuration_space is None:
        configuration_space = read_configuration_space(folder)
    space = Space.restored(configuration_space, settings.candidates)
    if optimizer is None:
        if settings.optimizer is None:
            raise ArgumentError('optimizer', None, 'an object like the one that the run was started with')
        unbounded = replace(settings, max_budget=1)  # Hyperband may have been resumed for more than one round
        optimizer = build_optimizer(unbounded, space)
    journal, state = Journal(folder), RunState(settings.minimize, space.restore)
    finishing = state.finishing
    for number, change in enumerate(state.follow(journal), 1):
        if state.finishing is not finishing and settings.keep_checkpoints != 'all':
            forget_unneeded(state, optimizer, {*state.running}, settings.keep_checkpoints)
        finishing = state.finishing
        if state.salvaged:
            raise JournalError(f'{journal}, line {number}: lines were lost: decisions cannot be taken again')
        if change.asked is not None:
            asked = change.asked
            yield Decision(optimizer, asked.wanted, f'{journal}, line {number}', asked.by, state, settings)
        if change.finished is not None:
            finished = change.finished
            tell(optimizer, finished.step.trial, finished.metrics, finished.failed, finished.costs)
        follow_request(change, optimizer)


def forget_unneeded(state: RunState, optimizer: Optimizer, needed: Collection[int], keep: str) -> None:
    """Forget checkpoints that were removed because nobody would ask for them, which no journal says."""
    for trial_id in [i for i in state.checkpoints if i not in needed]:
        if keep == 'none' or not optimizer.is_alive(trial_id):
            del state.checkpoints[trial_id]


def who_decided(run_folder: str | os.PathLike[str]) -> list[str | None]:
    """Return who took each of a run's decisions, see `RunningStep.by`; errors as in `replay`."""
    folder = find_run(check_path('run_folder', run_folder))
    state = RunState(Settings.read(folder).minimize)
    return [change.asked.by for change in state.follow(Journal(folder)) if change.asked is not None]


def replay(
    run_folder: str | os.PathLike[str],
    optimizer: Optimizer | None = None,
    configuration_space: ConfigurationSpace | None = None,
) -> int:
    """Ask the optimizer for every decision of a run again, and tell it the results in the order of the journal.

    Decisions depend on the seed and on that order alone, however many workers there were. Nothing is written.

    Args:
        run_folder: the folder of the run, which may still be going on; 'last': the newest one below the current folder.
        optimizer: a fresh object like the one the run was started with, if that was an object.
        configuration_space: where the installed ConfigSpace cannot read the one in the folder.

    Returns:
        The number of decisions, all of which were taken again.

    Raises:
        ArgumentError: an argument cannot be used.
        JournalError: the journal cannot be read, or names (with its line) a decision that is not the one taken now.
    """
    taken = 0
    for decision in decisions(run_folder, optimizer, configuration_space):
        asked = decision.again()
        if asked != decision.wanted:
            raise JournalError(f'{decision.at}: the run took {decision.wanted}, now it is {asked}')
        taken += 1
    return taken
