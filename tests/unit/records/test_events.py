"""What the fields of a journal's events may hold: what `append` writes, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpo4dl.records.events import fault_of
from hpo4dl.space.serialization import plain_value

HUGE = [10**400, 2**1000, -(10**400)]
"""Whole numbers that no float holds; JSON does."""
NUMBERS = [
    {'event': 'stop', 'reason': 'x', 'expected_gain': None},
    {'event': 'stop', 'reason': 'x', 'expected_metric': None},
    {'event': 'enqueue', 'configuration': {'x': None}},
    {'event': 'result', 'attempt': 0, 'trial': 0, 'cost': None},
    {'event': 'result', 'attempt': 0, 'trial': 0, 'epochs': [{'epoch': 1, 'metric': None}]},
    {'event': 'result', 'attempt': 0, 'trial': 0, 'epochs': [{'epoch': 1, 'metric': 1, 'cost': None}]},
    {'event': 'start', 'attempt': 0, 'trial': 0, 'previous_epoch': 0, 'epoch': 1, 'time': None},
]


def with_number(value: Any, number: Any) -> Any:
    """The same, the number where it has None."""
    if isinstance(value, dict):
        return {key: with_number(entry, number) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_number(entry, number) for entry in value]
    return number if value is None else value


@pytest.mark.parametrize('event', NUMBERS, ids=lambda event: '-'.join(event)[-30:])
def test_a_number_that_no_float_holds_is_damage(event: dict[str, Any]) -> None:
    assert fault_of(with_number(event, 1.5)) is None
    for number in (*HUGE, math.inf, math.nan):
        assert fault_of(with_number(event, number)) is not None


@pytest.mark.parametrize('value', [None, True, False, '', 'x', 0, -1.5, 2**999, 1e308, math.inf, *HUGE, [1], {'a'}])
def test_a_configuration_may_hold_all_that_is_written_of_one(value: Any) -> None:
    """An independent answer: what the space makes of a value before it is written."""
    assert fault_of({'event': 'enqueue', 'configuration': {'x': plain_value(value)}}) is None
