"""What the fields of a journal's events may hold. In a run that was received they may hold anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

LARGEST = 2**53
"""Of a whole number: more, no run has, and not everything that reads JSON can take."""


def is_whole(value: Any) -> bool:
    """Return whether it is a whole number that `append` would write."""
    return type(value) is int and 0 <= value < LARGEST


def is_finite(value: Any) -> bool:
    """Return whether it is a number that a float can hold."""
    return (type(value) is int and abs(value) < 2**1000) or (type(value) is float and math.isfinite(value))


def is_seconds(value: Any) -> bool:
    """Return whether it is a duration, or a time since 1970, up to the year 9999."""
    return is_finite(value) and 0 <= value < 2.5e11


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_configuration(value: Any) -> bool:
    """Return whether it has plain values only."""
    if not isinstance(value, dict):
        return False
    return all(v is None or isinstance(v, (str, bool)) or is_finite(v) for v in value.values())


def is_point(value: Any) -> bool:
    return isinstance(value, list) and all(u is None or (is_finite(u) and 0 <= u <= 1) for u in value)


def is_epochs(value: Any) -> bool:
    """Return whether each entry has an epoch, a metric, and perhaps further keys."""
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and is_whole(entry.get('epoch'))
        and is_finite(entry.get('metric'))
        and isinstance(entry.get('info', {}), dict)
        and is_finite(entry.get('cost', 0))
        for entry in value
    )


Check = Callable[[Any], bool]
NUMBERS = {
    'start': ('attempt', 'trial', 'previous_epoch', 'epoch'),
    'result': ('attempt', 'trial'),
    'lost': ('attempt', 'trial'),
    'evict': ('trial',),
    'give_up': ('trial',),
}
FIELDS: dict[str, Check] = {
    'epochs': is_epochs,
    'failed': is_text,
    'traceback': is_text,
    'seconds': is_seconds,
    'counts': lambda value: isinstance(value, bool),
    'time': is_seconds,
    'overhead': is_seconds,
    'size': is_whole,
    'acknowledged': is_whole,
    'wanted': is_whole,
    'configuration': is_configuration,
    'point': is_point,
    'reason': is_text,
    'by': is_text,
    'cost': is_finite,
    'trials': lambda value: isinstance(value, list) and all(map(is_whole, value)),
    'expected_gain': is_finite,
    'expected_metric': is_finite,
}


def fault_of(event: Any) -> str | None:
    """Return why something is not an event of hpo4dl; None where it is one."""
    if not isinstance(event, dict) or not isinstance(event.get('event'), str):
        return 'it has no name'
    kind = event['event']
    numbers = NUMBERS.get(kind, ())
    if not all(is_whole(event.get(key)) for key in numbers):
        return f'it needs the numbers {", ".join(numbers)}'
    for key, check in FIELDS.items():
        if event.get(key) is not None and not check(event[key]):
            return f'its {key!r} cannot be used'
    return None
