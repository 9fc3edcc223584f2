"""Events of a journal, one by one, and random journals of them."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

Events = list[dict[str, Any]]


def start(trial: int, attempt: int, before: int, epoch: int, time: float = 0.0, **more: Any) -> dict[str, Any]:
    known = {'configuration': {'x': trial}} if before == 0 else {}
    numbers = {'trial': trial, 'attempt': attempt, 'previous_epoch': before, 'epoch': epoch, 'time': time}
    return {'event': 'start', **numbers, **known, **more}


def result(trial: int, attempt: int, metrics: dict[int, float], time: float = 0.0, **more: Any) -> dict[str, Any]:
    epochs = [{'epoch': epoch, 'metric': metric, 'info': {'at': epoch}} for epoch, metric in metrics.items()]
    rest = {'failed': None, 'traceback': None, 'seconds': 1.0, 'overhead': 0.0, 'size': 7, 'time': time}
    return {'event': 'result', 'trial': trial, 'attempt': attempt, 'epochs': epochs, **rest, **more}


def lost(trial: int, attempt: int, blamed: bool = True, time: float = 0.0) -> dict[str, Any]:
    numbers = {'trial': trial, 'attempt': attempt, 'time': time}
    return {'event': 'lost', **numbers, 'reason': f'lost {attempt}', 'counts': blamed}


@st.composite
def journals(draw: st.DrawFn) -> tuple[Events, float]:
    """A valid journal of four trials, lost, killed, made again, cut, evicted, failed; and the seconds of its pauses."""
    events: Events = [{'event': 'run', 'schema': 2, 'time': 0.0}]
    reached: dict[int, int] = {}
    stored: set[int] = set()
    running: dict[int, dict[str, Any]] = {}
    failed: set[int] = set()
    attempt, time, best, paused_for, is_stopped = 0, 0.0, math.inf, 0.0, False
    for _ in range(draw(st.integers(0, 20))):
        passed = draw(st.sampled_from([0.0, 0.5, 4.0]))
        time += passed
        paused_for += passed if is_stopped else 0.0
        free = [i for i in range(4) if i not in running and i not in failed]
        paused = [i for i in stored if i not in running]
        ways = ['start'] * bool(free) + ['result', 'result', 'lost'] * bool(running) + ['evict'] * bool(paused)
        way = draw(st.sampled_from([*ways, 'stop']))
        if way == 'start':
            trial = draw(st.sampled_from(free))
            at = reached.get(trial, 0)
            begins = at if trial in stored else 0
            event = start(trial, attempt, begins, at + draw(st.integers(1, 3)), time)
            event |= {'acknowledged': at} if begins < at else {}
            event |= {'wanted': event['epoch'] + 1} if draw(st.booleans()) else {}
            running[trial], is_stopped = event, False
            attempt += 1
        elif way == 'result':
            trial = draw(st.sampled_from(sorted(running)))
            begun = running.pop(trial)
            fails = draw(st.sampled_from([False, False, True]))
            epochs = range(reached.get(trial, 0) + 1, begun['epoch'] + (0 if fails else 1))
            values = [draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for _ in epochs]
            event = result(trial, begun['attempt'], dict(zip(epochs, values)), time, seconds=draw(st.floats(0, 9)))
            event |= {'failed': 'crash', 'traceback': '...'} if fails else {}
            improved = min(values, default=math.inf) < best
            best = min([best, *values])
            failed |= {trial} if fails else set()
            stored |= set() if fails and not improved else {trial}
            reached[trial] = epochs[-1] if epochs else reached.get(trial, 0)
        elif way == 'lost':
            trial = draw(st.sampled_from(sorted(running)))
            if draw(st.booleans()):
                events.append(lost(trial, running[trial]['attempt'], draw(st.booleans()), time))
            else:  # the tuner was killed, at once after the last event
                paused_for += 0.0 if is_stopped else passed
            passed = draw(st.sampled_from([0.0, 60.0]))
            time, paused_for, is_stopped = time + passed, paused_for + passed, False
            event = running[trial] = {**running[trial], 'attempt': attempt, 'time': time}
            attempt += 1
        elif way == 'evict':
            trial = draw(st.sampled_from(sorted(paused)))
            stored.discard(trial)
            event = {'event': 'evict', 'trial': trial, 'time': time}
        else:
            event, is_stopped = {'event': 'stop', 'reason': 'SIGINT', 'time': time}, True
        events.append(event)
    return events, paused_for
