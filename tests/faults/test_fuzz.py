"""A little of what `python tests/faults/fuzz.py` does, and what it found."""

from __future__ import annotations

import re
from pathlib import Path

import fuzz
import pytest

import hpo4dl


@pytest.mark.parametrize('part', range(2))
def test_no_damage_gives_a_traceback_a_hang_or_an_escape_sequence(part: int) -> None:
    n, wrong = fuzz.cases(range(part * 20, part * 20 + 20))
    assert n == 60
    assert not wrong


FOUND = {0: [76, 126, 238, 516, 600, 637, 1532, 1927, 1994], 1: [278]}
"""By seed, the cases that once went wrong."""


@pytest.mark.parametrize('seed', FOUND)
def test_what_was_found(seed: int) -> None:
    _, wrong = fuzz.cases(FOUND[seed], seed, commands=len(fuzz.COMMANDS))
    assert not wrong


def test_files_of_a_run_are_read_within_bounds() -> None:
    """A file of a run that was received may be a pipe, a device, or sparse: `read_regular` alone reads one."""
    ours = {'page.py': 'TEMPLATE', 'guards.py': 'ast.parse', 'lock.py': "'/proc", 'program_output.py': "'/proc"}
    for path in sorted(Path(hpo4dl.__file__).parent.rglob('*.py')):
        for line in path.read_text().splitlines():
            if re.search(r'\.read_(text|bytes)\(|json\.load\(', line) and path.name != 'vendor.py':
                assert ours.get(path.name, 'nothing') in line.replace("f'/proc", "'/proc"), f'{path.name}: {line}'


def test_a_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: a traceback, an escape sequence, and memory without a bound."""
    monkeypatch.setattr(fuzz, 'command_line', lambda words: 1 / 0)
    _, wrong = fuzz.cases(range(1))
    assert 'ZeroDivisionError' in str(wrong)
    monkeypatch.setattr(fuzz, 'command_line', lambda words: print('\x1b[31m'))
    _, wrong = fuzz.cases(range(1))
    assert 'escape' in str(wrong)
    monkeypatch.setattr(fuzz, 'command_line', lambda words: len(b'x' * 10**10))
    _, wrong = fuzz.cases(range(1))
    assert 'MemoryError' in str(wrong)
    monkeypatch.setattr(fuzz, 'most_memory', iter(range(0, 10**9, 2 * fuzz.KILOBYTES)).__next__)
    monkeypatch.setattr(fuzz, 'command_line', lambda words: None)
    _, wrong = fuzz.cases(range(1))
    assert 'much memory' in str(wrong)
