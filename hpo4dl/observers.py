"""Who is told how a race goes: people, through a narrator, and the user's callbacks, which may fail.

This module alone reaches ring 3, inside functions: a core copy has no narrator, and no warm start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .checks import check_flag, check_list
from .errors import ArgumentError, MissingPartError
from .log import Log
from .progress import Callback, Event
from .race.stopping import Deadline
from .records.state import RunState
from .text import brief
from .trial import Trial

if TYPE_CHECKING:
    from .analysis.run import Run as Run

logger = Log(__name__)


class Narrates(Protocol):
    """Tells people of a race, from its first line to its last."""

    def begin(self, run_folder: Path, state: RunState) -> None: ...
    def result(self, event: Event, state: RunState) -> None: ...
    def close(self) -> None: ...
    def end(self, run_folder: Path, how_to_go_on: str) -> None: ...


class LogLines:
    """What a core copy tells: that which is worth a line in a log."""

    def begin(self, run_folder: Path, state: RunState) -> None:
        logger.info('the run is in %s', run_folder)

    def result(self, event: Event, state: RunState) -> None:
        if event.failed is not None:
            logger.warning('trial %d failed: %s', event.trial.id, event.failed)

    def close(self) -> None:
        pass

    def end(self, run_folder: Path, how_to_go_on: str) -> None:
        logger.info('%s', how_to_go_on)


class Observers:
    """Tells of a race, as `Tuner` says of `callbacks`, `progress` and `quiet`. Raises ArgumentError."""

    def __init__(
        self,
        callbacks: Sequence[Callback],
        progress: bool | None,
        max_budget: float | None,
        cost: str = 'epochs',
        quiet: bool = False,
    ) -> None:
        if check_flag('quiet', quiet) and (progress is not None and check_flag('progress', progress)):
            raise ArgumentError('progress', progress, 'None or False with quiet=True')
        for callback in check_list('callbacks', callbacks):
            if not callable(callback):
                raise ArgumentError('callbacks', callback, 'functions that take one event')
        self._people = narrator(None if progress is None else check_flag('progress', progress), quiet)
        self._callbacks = callbacks
        self._max_budget = max_budget
        self.begin, self.close, self.end = self._people.begin, self._people.close, self._people.end
        self._cost = cost

    def tell(
        self,
        trial: Trial,
        metrics: Mapping[int, float],
        failed: str | None,
        state: RunState,
        running: int,
        deadline: Deadline,
    ) -> None:
        spent, seconds = state.epochs_spent, deadline.elapsed()
        budget = None if state.finishing else self._max_budget
        for callback in (lambda event: self._people.result(event, state), *self._callbacks):
            incumbent = state.incumbent_row()
            counted = (spent, budget, seconds, running, self._cost, state.budget_spent)
            event = Event(trial, dict(metrics), failed, incumbent, *counted)
            try:
                callback(event)
            except Exception:
                logger.exception('the callback %s failed; the race goes on', brief(callback))

    def interrupted(self, error: BaseException, how_to_go_on: str) -> None:
        """An exception ends the run: have its traceback end with how to go on, or log that where it cannot."""
        if hasattr(error, 'add_note'):
            error.add_note(how_to_go_on)
        else:  # Python 3.10
            logger.warning('%s', how_to_go_on)


def narrator(progress: bool | None, quiet: bool) -> Narrates:
    """Who tells people."""
    try:
        from .analysis.narrator import Narrator
    except MissingPartError:
        return LogLines()
    return Narrator(progress, quiet)


def check_place(objective_function: object, processes: int) -> None:
    """As `guards.check_place`; a core copy does not look."""
    try:
        from .tools.guards import check_place
    except MissingPartError:
        return
    check_place(objective_function, processes)


def results(run_folder: Path) -> Run:
    """What the run's folder holds; raises MissingPartError in a core copy."""
    from .analysis.run import read_run

    return read_run(run_folder)


def first_configurations(initial: Any, warm_start: Any, configuration_space: Any, candidates: Any) -> list[Any]:
    """The configurations to be raced first: the user's, then those of an earlier run."""
    found = [*check_list('initial_configurations', initial)]
    if warm_start is not None:
        from .tools.warm_start import warm_start as read_warm_start

        start = read_warm_start(warm_start, configuration_space, candidates=candidates)
        logger.info('%s: %s', warm_start, start)
        found += start.configurations
    return found
