"""Who is told how a race goes: people, through a narrator, and the user's callbacks, which may fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .checks import check_flag, check_list
from .errors import ArgumentError
from .log import Log
from .periphery import narrator
from .progress import Callback, Event
from .race.stopping import Deadline
from .records.state import RunState
from .text import brief
from .trial import Trial

logger = Log(__name__)


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
        progress = None if progress is None else check_flag('progress', progress)
        if check_flag('quiet', quiet) and progress:
            raise ArgumentError('progress', progress, 'None or False with quiet=True')
        for callback in check_list('callbacks', callbacks):
            if not callable(callback):
                raise ArgumentError('callbacks', callback, 'functions that take one event')
        self.people = narrator(progress, quiet)
        """Tells people of the run."""
        self._callbacks = callbacks
        self._max_budget = max_budget
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
        """Tell of a result, as `Observer`; to each an event of its own, which it may change."""
        seconds, budget = deadline.elapsed(), None if state.finishing else self._max_budget
        for callback in (lambda event: self.people.result(event, state), *self._callbacks):
            event = Event(
                trial=trial,
                metrics=dict(metrics),
                failed=failed,
                incumbent=state.incumbent_row(),
                epochs_spent=state.epochs_spent,
                max_budget=budget,
                seconds=seconds,
                running=running,
                unit=self._cost,
                budget_spent=state.budget_spent,
            )
            try:
                callback(event)
            except Exception:
                logger.exception('the callback %s failed; the race goes on', brief(callback))

    def interrupted(self, error: BaseException, how_to_go_on: str) -> None:
        """Have the traceback of what ends the run end with how to go on, or log that where it cannot."""
        if hasattr(error, 'add_note'):
            error.add_note(how_to_go_on)
        else:  # Python 3.10
            logger.warning('%s', how_to_go_on)
