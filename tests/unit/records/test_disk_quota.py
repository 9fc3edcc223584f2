"""Which checkpoints go when the disk is too small."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo4dl.records.disk_quota import DiskQuota
from hpo4dl.records.state import Checkpoint


def stored(*sizes: int) -> dict[int, Checkpoint]:
    return {i: Checkpoint(attempt=i, size=size) for i, size in enumerate(sizes)}


def test_no_limit_evicts_nothing() -> None:
    quota = DiskQuota(None)
    assert quota.evictions(stored(10**15), set(), 5, 10**15, lambda i: i) == []
    assert not quota.is_exceeded


def test_nothing_is_stored() -> None:
    quota = DiskQuota(1)
    assert quota.evictions({}, set(), 3, 0, lambda i: i) == []
    assert not quota.is_exceeded


@pytest.mark.parametrize(
    ('limit', 'evicted'),
    [(60, []), (59, [0]), (50, [0]), (49, [0, 1]), (40, [0, 1]), (39, [0, 1, 2]), (30, [0, 1, 2])],
)
def test_as_few_go_as_suffice_with_room_for_what_runs_and_for_a_new_incumbent(limit: int, evicted: list[int]) -> None:
    """Three of 10 bytes, the incumbent's copy of 10, one call that starts, and the copy of the next incumbent."""
    quota = DiskQuota(limit)
    assert quota.evictions(stored(10, 10, 10), set(), 1, 10, lambda i: i) == evicted
    assert not quota.is_exceeded


def test_what_sorts_first_goes_first_and_of_equal_ones_the_oldest() -> None:
    priorities = {0: 3.0, 1: 1.0, 2: 2.0}
    assert DiskQuota(1).evictions(stored(5, 5, 5), set(), 0, 0, priorities.__getitem__) == [1, 2, 0]
    assert DiskQuota(19).evictions(stored(5, 5, 5), set(), 0, 0, priorities.__getitem__) == [1]
    assert DiskQuota(15).evictions(stored(5, 5, 5), set(), 0, 0, lambda i: 0) == [0]
    assert DiskQuota(10).evictions(stored(5, 5, 5), set(), 0, 0, lambda i: (True, 0.0)) == [0, 1]


def test_the_busy_stay_and_it_is_said_that_they_are_too_large() -> None:
    quota = DiskQuota(8)
    assert quota.evictions(stored(5, 5, 5), {0, 2}, 0, 0, lambda i: i) == [1]
    assert quota.is_exceeded
    assert quota.evictions(stored(), set(), 0, 0, lambda i: i) == []
    assert quota.is_exceeded  # said once, and for good


def test_empty_checkpoints_are_not_evicted_for_nothing() -> None:
    assert DiskQuota(10).evictions(stored(0, 8, 0), set(), 0, 0, lambda i: i) == [1]


def test_what_the_largest_was_is_remembered() -> None:
    quota = DiskQuota(100)
    assert quota.evictions(stored(50), set(), 0, 0, lambda i: i) == []
    assert quota.evictions(stored(30, 21), set(), 0, 0, lambda i: i) == [0]  # 30 + 21, and 50 for the next
    assert DiskQuota(100).evictions(stored(30, 21), set(), 0, 0, lambda i: i) == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 20), max_size=8),
    st.sets(st.integers(0, 7)),
    st.integers(0, 3),
    st.integers(0, 20),
    st.integers(1, 150),
    st.randoms(use_true_random=False),
)
def test_what_is_evicted_suffices_if_anything_could(sizes, busy, calls, best_size, limit, random) -> None:
    checkpoints, quota = stored(*sizes), DiskQuota(limit)
    priorities = [random.randint(0, 3) for _ in sizes]
    evicted = quota.evictions(checkpoints, busy, calls, best_size, priorities.__getitem__)
    room = (calls + 1) * max(sizes, default=0) + best_size

    def fits(gone: set[int]) -> bool:
        return sum(size for i, size in enumerate(sizes) if i not in gone) + room <= limit

    assert len(set(evicted)) == len(evicted)
    assert not busy & set(evicted)
    could = fits({i for i in checkpoints if i not in busy})
    assert fits(set(evicted)) == could
    assert quota.is_exceeded == (not could)
    assert not evicted or not fits(set(evicted[:-1]))  # not one too many
    assert all(sizes[i] > 0 for i in evicted)
    kept = [i for i in checkpoints if i not in busy and i not in evicted and sizes[i] > 0]
    assert max((priorities[i] for i in evicted), default=0) <= min((priorities[i] for i in kept), default=3)
    assert evicted == sorted(evicted, key=lambda i: (priorities[i], i))
