"""What ring 3 adds to a race. This module alone reaches it, inside functions: a core copy has none of it.

What nobody asked for is left out there. What an argument asks for raises MissingPartError.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks import check_list
from .errors import MissingPartError
from .log import Log
from .progress import Event
from .race.loop import Loop
from .records.journal import Journal
from .records.state import RunState

if TYPE_CHECKING:
    from .analysis.run import Run as Run
    from .narration.narrator import Narrator

logger = Log(__name__)


class LogLines:
    """The narrator of a core copy, which tells what is worth a line in a log; methods as `Narrator`'s."""

    def begin(self, run_folder: Path, state: RunState, metric_name: str) -> None:
        logger.info('the run is in %s', run_folder)

    def result(self, event: Event, state: RunState) -> None:
        if event.failed is not None:
            logger.warning('trial %d failed: %s', event.trial.id, event.failed)

    def close(self) -> None:
        pass

    def end(self, run_folder: Path, how_to_go_on: str) -> None:
        logger.info('%s', how_to_go_on)


def narrator(progress: bool | None, quiet: bool) -> Narrator | LogLines:
    """Who tells people of a race: `progress` and `quiet` as in `Tuner`."""
    with suppress(MissingPartError):
        from .narration.narrator import Narrator

        return Narrator(progress, quiet)
    return LogLines()


def check_place(objective_function: object, processes: int) -> None:
    """As `guards.check_place`; a core copy does not look."""
    with suppress(MissingPartError):
        from .tools.guards import check_place

        check_place(objective_function, processes)


def taker_of_requests(run_folder: Path) -> Callable[[Loop], None]:
    """What does in a loop what other shells ask for, see `Requests`; in a core copy, nothing."""
    with suppress(MissingPartError):
        from .tools.requests import Requests

        requests = Requests(run_folder)
        requests.forget_stops()
        return requests.take
    return lambda loop: None


def salvage(journal: Journal) -> None:
    """Write a damaged journal anew from its whole lines, see `salvage_journal`."""
    from .analysis.salvage import salvage_journal

    salvage_journal(journal)


def command_to_go_on(run_folder: Path, function: object, finish: int | None) -> str | None:
    """The command that goes on with a run, of this function, see `going_on.py`; None: there is none."""
    with suppress(MissingPartError):
        from .tools.going_on import command_to_go_on

        return command_to_go_on(run_folder, function, finish)
    return None


def results(run_folder: Path) -> Run:
    """What the run's folder holds."""
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
