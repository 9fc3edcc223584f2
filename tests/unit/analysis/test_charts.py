"""What charts show, without a renderer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo4dl.analysis.charts import trials_by_epoch
from hpo4dl.analysis.run import Run


def run_of(reached: list[int]) -> Run:
    trials = {i: SimpleNamespace(epoch=epoch) for i, epoch in enumerate(reached)}
    return SimpleNamespace(trials=trials)  # type: ignore[return-value]


@given(st.lists(st.integers(0, 12) | st.integers(190, 210)))
def test_bars_count_the_trials_that_came_to_each_epoch(reached: list[int]) -> None:
    bars = trials_by_epoch(run_of(reached))
    shown = {epoch: n for first, last, n in bars for epoch in range(first, last + 1)}
    last = max([1, *reached])
    assert shown == {epoch: sum(at >= epoch for at in reached) for epoch in range(1, last + 1)}
    if last <= 200:
        assert [first for first, _, _ in bars] == [end for _, end, _ in bars] == list(range(1, last + 1))


@pytest.mark.parametrize('reached', [[3, 2**53 - 1], [2**53 - 1] * 3])
def test_no_bar_is_drawn_for_each_of_many_epochs(reached: list[int]) -> None:
    bars = trials_by_epoch(run_of(reached))
    assert len(bars) == len(set(reached))
    assert bars[-1][1] == 2**53 - 1
