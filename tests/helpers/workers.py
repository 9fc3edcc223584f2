"""Races with workers: what a journal must say of any of them, and waiting for processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from runs import events_of

from hpo4dl import Tuner, replay


def events(tuner: Tuner, kind: str) -> list[dict]:
    return events_of(tuner.run_folder, kind)


def check_consistent(tuner: Tuner, budget: int) -> None:
    """No trial runs twice at once, epochs are contiguous, the budget holds, and every decision can be taken again."""
    running, reached, spent = {}, {}, 0
    for event in events_of(tuner.run_folder):
        if event['event'] == 'start':
            assert event['trial'] not in running
            assert event['previous_epoch'] == reached.setdefault(event['trial'], 0)
            running[event['trial']] = event
            in_flight = sum(start['epoch'] - start['previous_epoch'] for start in running.values())
            assert spent + in_flight <= budget
        elif event['event'] == 'lost':
            del running[event['trial']]
        elif event['event'] == 'result':
            start = running.pop(event['trial'])
            spent += start['epoch'] - start['previous_epoch']
            for entry in event['epochs']:
                assert entry['epoch'] == reached[event['trial']] + 1
                reached[event['trial']] += 1
    assert not running
    assert spent == tuner.epochs_spent
    assert replay(tuner.run_folder) == len({(s['trial'], s['previous_epoch']) for s in events(tuner, 'start')})


def is_running(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Its end is for a test that hangs, and no bound."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
