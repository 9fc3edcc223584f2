"""Who is told how a race goes: the progress display or the log, and the user's callbacks, which may fail."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .checks import check_flag, check_list
from .errors import ArgumentError, MissingPartError
from .progress import Callback, Event, is_watched, log_line, progress_display
from .race.stopping import Deadline
from .records.state import RunState
from .text import brief
from .trial import Trial

logger = logging.getLogger(__name__)


class Observers:
    """Tells of every result: as `Tuner` says of `callbacks` and `progress`. Raises ArgumentError."""

    def __init__(
        self, callbacks: Sequence[Callback], progress: bool | None, max_budget: float | None, cost: str = 'epochs'
    ) -> None:
        shows = is_watched(sys.stderr) if progress is None else check_flag('progress', progress)
        for callback in check_list('callbacks', callbacks):
            if not callable(callback):
                raise ArgumentError('callbacks', callback, 'functions that take one event')
        self._display = progress_display() if shows else None
        self._callbacks = [self._display or log_line, *callbacks]
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
        spent, seconds = state.epochs_spent, deadline.elapsed()
        budget = None if state.finishing else self._max_budget
        for callback in self._callbacks:
            incumbent = state.incumbent_row()
            counted = (spent, budget, seconds, running, self._cost, state.budget_spent)
            event = Event(trial, dict(metrics), failed, incumbent, *counted)
            try:
                callback(event)
            except Exception:
                logger.exception('the callback %s failed; the race goes on', brief(callback))

    def close(self) -> None:
        """Leave the last state on the terminal."""
        if self._display is not None:
            with suppress(OSError, ValueError):  # of a terminal, or a stream, that has gone away
                self._display.close()

    def summarize(self, run_folder: Path) -> None:
        """Tell what came of the run, in a short table: below the progress on a terminal, else in the log."""
        try:
            from .analysis.report import report_text
            from .analysis.run import read_run

            text = report_text(read_run(run_folder))
        except MissingPartError:  # a core copy has no report
            return
        except Exception:
            logger.exception('%s cannot be summed up', run_folder)
            return
        if self._display is not None:
            with suppress(OSError, ValueError):
                sys.stderr.write(f'{text}\n')
        else:
            logger.info('%s', text)


def first_configurations(initial: Any, warm_start: Any, configuration_space: Any, candidates: Any) -> list[Any]:
    """The configurations to be raced first: the user's, then those of an earlier run."""
    found = [*check_list('initial_configurations', initial)]
    if warm_start is not None:
        from .tools.warm_start import warm_start as read_warm_start

        start = read_warm_start(warm_start, configuration_space, candidates=candidates)
        logger.info('%s: %s', warm_start, start)
        found += start.configurations
    return found
