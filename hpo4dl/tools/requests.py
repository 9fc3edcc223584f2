"""What other shells ask of a run: small files in its folder, which the tuner takes, journals and removes.

    {"kind": "enqueue", "configuration": {"lr": 0.001}}    race this configuration next
    {"kind": "give_up", "trial": 7}                        train it no further
    {"kind": "stop"}                                       end the race, as Ctrl-C does

There is still one writer of the journal, and the files need no lock: each is written whole, and read by one.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, StorageError
from ..files import read_json, write_text
from ..log import Log
from ..optimizers.protocol import Optimizer, TakesRequests
from ..text import one_line

if TYPE_CHECKING:
    from ..race.loop import Loop

FOLDER = 'requests'
GIVEN_UP = 'given up: hpo4dl stop --trial'

logger = Log(__name__)


@dataclass(frozen=True)
class Requests:
    """The requests in a run's folder."""

    run_folder: Path

    def add(self, request: dict[str, Any]) -> None:
        """Ask for something; raise StorageError where the folder cannot be written."""
        folder = self.run_folder / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            if folder.is_symlink():
                raise OSError('a symbolic link, which is not followed')
        except OSError as error:
            raise StorageError(f'{folder}: cannot be made: {error}') from error
        write_text(folder / f'{time.time_ns():020}_{secrets.token_hex(4)}.json', json.dumps(request))

    def pending(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield what is asked for, the oldest first; what cannot be read is left out."""
        folder = self.run_folder / FOLDER
        try:
            paths = [] if folder.is_symlink() else sorted(folder.glob('[0-9]*.json'))
        except OSError:
            return
        for path in paths:
            try:
                request = read_json(path)
            except (OSError, ValueError):
                continue
            if isinstance(request, dict):
                yield path, request

    def take(self, loop: Loop) -> None:
        """Do what is asked for, but for what would come between a decision and its step: that waits."""
        for path, request in self.pending():
            try:
                is_done = is_taken(request, loop)
            except (ArgumentError, KeyError, TypeError, ValueError) as error:
                logger.warning('%s asks for what cannot be: %s', path, one_line(error))
                is_done = True
            if is_done:
                path.unlink(missing_ok=True)

    def forget_stops(self) -> None:
        """Remove the requests to stop that an earlier tuner did not live to see."""
        for path, request in self.pending():
            if request.get('kind') == 'stop':
                path.unlink(missing_ok=True)


def is_taken(request: Mapping[str, Any], loop: Loop) -> bool:
    """Do what a request asks for; False: not yet. Raises where it asks for what cannot be."""
    kind = request['kind']
    if kind == 'enqueue':
        return enqueue(loop, request['configuration'])
    if kind == 'give_up':
        return give_up(loop, request['trial'])
    if kind != 'stop':
        raise ValueError(f'no such kind of request: {kind!r}')
    loop.told_to_stop = 'hpo4dl stop'
    return True


def enqueue(loop: Loop, plain: Mapping[str, Any]) -> bool:
    """Race this configuration, as a journal has it, next; False: not yet, a step that was decided on comes first.

    Raises ArgumentError: the space does not allow it, or the optimizer takes none.
    """
    if loop.planner.asked is not None:
        return False
    taker_of_requests(loop.optimizer).enqueue(loop.state.restore(plain, None))
    loop.storage.recorder.enqueue(plain)
    return True


def give_up(loop: Loop, trial_id: int) -> bool:
    """Train a trial no further, and end its call; False: not yet, it is about to be trained.

    Raises ArgumentError: the optimizer gives up none; KeyError: there is no such trial.
    """
    optimizer, asked = taker_of_requests(loop.optimizer), loop.planner.asked
    call = loop.workers.running.get(trial_id)
    if call is not None:
        loop.end_call(call, GIVEN_UP)
    elif trial_id in loop.state.running or (asked is not None and asked.id == trial_id):
        return False
    elif loop.state.trials[trial_id].failed is None:
        loop.storage.recorder.give_up(trial_id, GIVEN_UP)
        optimizer.give_up(trial_id, GIVEN_UP)
        loop.storage.prune()
    return True


def taker_of_requests(optimizer: Optimizer) -> TakesRequests:
    """Return the optimizer; ArgumentError: it takes none."""
    if not isinstance(optimizer, TakesRequests):
        raise ArgumentError('optimizer', optimizer, 'one with `enqueue` and `give_up`')
    return optimizer
