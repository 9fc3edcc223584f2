"""A little of what `python tests/faults/fuzz.py` does, and what it found."""

from __future__ import annotations

import fuzz
import pytest


@pytest.mark.parametrize('part', range(2))
def test_no_damage_gives_a_traceback_a_hang_or_an_escape_sequence(part: int) -> None:
    n, wrong = fuzz.cases(range(part * 20, part * 20 + 20))
    assert n == 60
    assert not wrong


@pytest.mark.parametrize(('seed', 'number'), [(0, 76), (0, 126), (0, 238), (0, 516), (0, 600), (1, 278)])
def test_what_was_found(seed: int, number: int) -> None:
    _, wrong = fuzz.cases(range(number, number + 1), seed, commands=len(fuzz.COMMANDS))
    assert not wrong


def test_a_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: a traceback, and an escape sequence."""
    monkeypatch.setattr(fuzz, 'command_line', lambda words: 1 / 0)
    _, wrong = fuzz.cases(range(1))
    assert 'ZeroDivisionError' in str(wrong)
    monkeypatch.setattr(fuzz, 'command_line', lambda words: print('\x1b[31m'))
    _, wrong = fuzz.cases(range(1))
    assert 'escape' in str(wrong)
