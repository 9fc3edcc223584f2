"""What can be saved of a damaged journal: its whole lines, brought into an order that fits together."""

from __future__ import annotations

import os
from typing import Any

from ..errors import JournalError, StorageError
from ..files import read_regular, replacing
from ..log import Log
from .events import Event
from .journal import SCHEMA, Journal, check_event, decode_line, encode_line

logger = Log(__name__)


def salvage_journal(journal: Journal) -> None:
    """Write a damaged journal anew from its whole lines; the damaged file stays beside it.

    Where a "result" is gone, its epochs are joined to the trial's next step; where a "start" is gone, it is made up
    from its result. A trial whose configuration is gone is left out, and its epochs are trained by nobody again.

    Raises JournalError: there is no journal, or one of another schema; StorageError: it cannot be written.
    """
    try:
        lines = read_regular(journal.path).split(b'\n')
    except OSError as error:
        raise JournalError(f'{journal.path}: cannot be read: {error}') from error
    events = [(number, decode_line(line)) for number, line in enumerate(lines, 1) if line]
    damaged = [number for number, event in events[:-1] if event is None]
    if events and events[-1][1] is None and not lines[-1]:
        damaged.append(events[-1][0])  # it has its newline: no write that a kill cut short
    read = [event for _, event in events if event is not None]
    begins = read and read[0].get('event') == 'run'
    whole = read if begins else [{'event': 'run', 'schema': SCHEMA, 'run': journal.path.parent.name}, *read]
    for number, event in enumerate(whole, 1):
        check_event(event, number, journal.path)
    kept, dropped = made_consistent(whole)
    if not damaged and kept == read:
        return
    names = (journal.path.with_name(f'journal.damaged-{n}.jsonl') for n in range(1, 1000))
    beside = next(path for path in names if not path.exists())
    kept.insert(1, {'event': 'salvage', 'file': beside.name, 'lines': damaged, 'dropped': dropped})
    try:
        with replacing(journal.path) as file:
            file.writelines(encode_line(event) for event in kept)
            os.link(journal.path, beside, follow_symlinks=False)
    except OSError as error:
        raise StorageError(f'{journal.path}: cannot be written: {error}') from error
    logger.warning('%s: lines %s are damaged; the file is kept as %s', journal.path, damaged, beside.name)


def made_consistent(events: list[Event]) -> tuple[list[Event], int]:
    """The events, each of which fits those before it; and the number of those that could not be used."""
    kept: list[Event] = []
    reached: dict[int, int] = {}
    running: dict[int, int] = {}  # by trial, the index in `kept` of its last start
    dropped = 0
    for event in events:
        trial: Any = event.get('trial')
        try:
            known = trial in reached
            fits = {'start': known or 'configuration' in event, 'result': known, 'lost': trial in running}
            if not fits.get(event['event'], True):
                raise ValueError('what it goes on with is gone')
            if event['event'] == 'start':
                first: int = event.get('acknowledged') or event['previous_epoch']
                if trial in running and first > reached[trial]:  # the result between them is gone
                    event = {**{k: v for k, v in kept[running[trial]].items() if k == 'configuration'}, **event}
                    kept[running.pop(trial)] = {'event': 'gone'}
                if first > reached.get(trial, 0):
                    event = {**event, 'previous_epoch': min(event['previous_epoch'], reached.get(trial, 0))}
                    event.pop('acknowledged', None)
                reached.setdefault(trial, 0)
                running[trial] = len(kept)
            elif event['event'] == 'result':
                last = max((entry['epoch'] for entry in event['epochs']), default=reached[trial] + 1)
                if trial not in running:  # its start is gone
                    start = {'event': 'start', 'attempt': event['attempt'], 'trial': trial}
                    kept.append({**start, 'previous_epoch': reached[trial], 'epoch': last})
                running.pop(trial, None)
                reached[trial] = max(last, reached[trial])
            kept.append(event)
        except (KeyError, TypeError, ValueError, AttributeError):
            dropped += 1
    return [event for event in kept if event['event'] != 'gone'], dropped
