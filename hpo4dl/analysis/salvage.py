"""What can be saved of a damaged journal: its whole lines, brought into an order that fits together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..errors import JournalError, StorageError
from ..files import read_regular, replacing
from ..log import Log
from ..records.events import Event
from ..records.journal import SCHEMA, Journal, check_event, decode_line, encode_line

Numbered = tuple[int, Event]
"""An event and its line."""

logger = Log(__name__)


def salvage_journal(journal: Journal) -> None:
    """Write a damaged journal anew from its whole lines; the damaged file stays beside it.

    Where a "result" is gone, its epochs are joined to the trial's next step; where a "start" is gone, it is made up
    from its result, and from where else its configuration stands. A trial whose configuration is gone is left out, and
    its epochs are trained by nobody again.

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
    read = [(number, event) for number, event in events if event is not None]
    begins = read and read[0][1].get('event') == 'run'
    first = {'event': 'run', 'schema': SCHEMA, 'run': journal.path.parent.name}
    whole = read if begins else [(0, first), *read]
    for number, (_, event) in enumerate(whole, 1):
        check_event(event, number, journal.path)
    kept, dropped = made_consistent(whole)
    if not damaged and kept == read:
        return
    names = (journal.path.with_name(f'journal.damaged-{n}.jsonl') for n in range(1, 1000))
    beside = next(path for path in names if not path.exists())
    salvaged = {'event': 'salvage', 'file': beside.name, 'lines': damaged, 'dropped': len(dropped)}
    kept.insert(1, (0, salvaged))
    try:
        with replacing(journal.path) as file:
            file.writelines(encode_line(event) for _, event in kept)
            os.link(journal.path, beside, follow_symlinks=False)
    except OSError as error:
        raise StorageError(f'{journal.path}: cannot be written: {error}') from error
    logger.warning('%s: lines %s are damaged; the file is kept as %s', journal.path, damaged, beside.name)


def made_consistent(events: Sequence[Numbered], keep_unknown: bool = False) -> tuple[list[Numbered], list[int]]:
    """Return the events, by line, each of which fits those before it; and the lines of those that could not be used.

    `keep_unknown`: a trial whose configuration is gone has an empty one, and is not left out.
    """
    firsts = [event for _, event in reversed(events) if event['event'] == 'start' and event.get('configuration')]
    configured: dict[int, Event] = {event['trial']: what_is_raced(event) for event in firsts}
    anything: Event = {'configuration': {}} if keep_unknown else {}
    kept: list[Numbered] = []
    merged: set[int] = set()  # indices in `kept` of what begins a step whose result is gone: a later one has its epochs
    dropped: list[int] = []
    reached: dict[int, int] = {}
    running: dict[int, list[int]] = {}  # by trial, the indices of its step's starts and losses
    for line, event in events:
        trial: Any = event.get('trial')
        try:
            known = trial in reached
            new = {} if known else configured.get(trial, anything)
            fits = {'start': known or new, 'result': known or new, 'lost': trial in running, 'give_up': known}
            if not fits.get(event['event'], True):
                raise ValueError('what it goes on with is gone')
            if event['event'] == 'start':
                event = {**event, **new}
                first: int = event.get('acknowledged') or event['previous_epoch']
                if trial in running and first > reached[trial]:  # the result between them is gone
                    event = {**what_is_raced(kept[running[trial][0]][1]), **event}
                    merged.update(running.pop(trial))
                if first > reached.get(trial, 0):
                    event = {**event, 'previous_epoch': min(event['previous_epoch'], reached.get(trial, 0))}
                    event.pop('acknowledged', None)
                reached.setdefault(trial, 0)
                running.setdefault(trial, []).append(len(kept))
            elif event['event'] == 'lost':
                running[trial].append(len(kept))
            elif event['event'] == 'result':
                at = reached.get(trial, 0)
                last = max((entry['epoch'] for entry in event['epochs']), default=at + 1)
                if trial not in running:  # its start is gone
                    start = {'event': 'start', 'attempt': event['attempt'], 'trial': trial, **new}
                    kept.append((line, {**start, 'previous_epoch': at, 'epoch': last}))
                running.pop(trial, None)
                reached[trial] = max(last, at)
            kept.append((line, event))
        except (KeyError, TypeError, ValueError, AttributeError):
            dropped.append(line)
    return [entry for index, entry in enumerate(kept) if index not in merged], dropped


def what_is_raced(start: Event) -> Event:
    """Return what a trial's first "start" says of its configuration; nothing of a later one."""
    return {key: start[key] for key in ('configuration', 'point') if key in start}
