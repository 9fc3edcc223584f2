"""A little of what `python tests/faults/crashes.py` does."""

from __future__ import annotations

from pathlib import Path

import crashes
import pytest

from hpo4dl.records import checkpoints, lock

pytestmark = pytest.mark.skipif(not Path('/proc/self/fd').exists(), reason='looks into /proc')


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, 'SETTLING', 0.0)


@pytest.mark.parametrize('name', crashes.RACES)
def test_a_power_cut_loses_nothing_that_was_told(tmp_path: Path, name: str) -> None:
    outcomes, lost = crashes.all_states(tmp_path, every=13, **crashes.RACES[name])
    assert not lost
    assert sum(n for what, n in outcomes.items() if 'as the whole race' in what) >= 3


def test_a_folder_that_is_not_forced_to_the_disk_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself (D7)."""
    monkeypatch.setattr(checkpoints, 'sync_folder', lambda folder: None)
    _, lost = crashes.all_states(tmp_path, every=9, first=40, max_budget=8)
    assert any(text.split(', ')[1].startswith('strict') for text in lost)
