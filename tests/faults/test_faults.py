"""A little of what `python tests/faults/faults.py` does."""

from __future__ import annotations

from pathlib import Path

import faults
import pytest

pytestmark = [
    pytest.mark.skipif(not hasattr(faults.os, 'fork'), reason='runs live in forked processes'),
    pytest.mark.filterwarnings('ignore:.*multi-threaded, use of fork.*:DeprecationWarning'),
]


@pytest.mark.parametrize('name', faults.NAMES)
@pytest.mark.parametrize('sabotage', [False, True])
def test_runs_that_are_killed_lose_nothing(tmp_path: Path, monkeypatch, name: str, sabotage: bool) -> None:
    monkeypatch.setitem(faults.BUDGETS, 'dyhpo', 10)  # its surrogate is fitted again at every resume
    line = faults.killed_runs(tmp_path, name, 1 if name == 'dyhpo' else 3, 0, sabotage)
    assert not line.lost, line.lost
    assert line.times > 0


def test_best_trial_is_whole_at_every_look(tmp_path: Path) -> None:
    line = faults.looked_at(tmp_path, 100, 0)
    assert not line.lost, line.lost


def test_a_torn_tail_is_mended(tmp_path: Path) -> None:
    line = faults.torn_tails(tmp_path, every=37)
    assert not line.lost, line.lost
    assert set(line.reported) == {'went on'}


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    line = faults.flipped_bits(tmp_path, 10, 0)
    assert not line.lost, line.lost


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    line = faults.full_disk(tmp_path / 'full', 0)
    if line is None:
        pytest.skip('no tmpfs can be mounted here')
    assert not line.lost, line.lost
    assert line.times > 0


def test_refused_operations_are_one_clear_error(tmp_path: Path) -> None:
    line = faults.refused_writes(tmp_path, 3, 0)
    assert not line.lost, line.lost


def test_one_of_two_at_once_goes_on(tmp_path: Path) -> None:
    line = faults.two_at_once(tmp_path, 1, 0)
    assert not line.lost, line.lost


def test_killed_workers_cost_their_calls_alone(tmp_path: Path) -> None:
    line = faults.killed_workers(tmp_path / 'workers', 2, 0)
    assert not line.lost, line.lost


def test_a_loss_is_seen(tmp_path: Path) -> None:
    """The harness itself: where the journal is thrown away, it says so."""
    run = faults.finished(tmp_path, max_budget=12)
    everything = faults.journal_of(run)
    lines = (run / 'journal.jsonl').read_bytes().splitlines(keepends=True)
    (run / 'journal.jsonl').write_bytes(b''.join(lines[:2]))
    line = faults.Line('')
    faults.read_again(run, line, everything)
    (run / 'best_trial' / 'weights').write_bytes(b'3 xx')
    faults.check_best(run, line)
    assert 'torn' in line.lost[-1]
