"""Why and when a race stops: every reason, which comes first, and what a call is predicted to take."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from fakes import Clock

from hpo4dl import Trial
from hpo4dl.race.budget import Budget
from hpo4dl.race.stopping import MAX_FAILURES, SLURM_MARGIN, Deadline, StoppingRules, allocation_left, predicted_seconds
from hpo4dl.records.state import Checkpoint, Observation, RunState, TrialRecord


def reached(metric: float, minimize: bool = True, spent: int = 0) -> RunState:
    """A run with this incumbent."""
    best = Observation(0, 1, metric, {}, 1, 0.0, 0.0, 0.0)
    return RunState(minimize, incumbent=best, epochs_spent=spent, budget_spent=spent)


def rules(
    limit: float | None = None, budget: int | None = None, target: float | None = None, clock: Clock | None = None
) -> StoppingRules:
    return StoppingRules(Deadline(limit, math.inf, clock or Clock()), Budget(budget, 'epochs', 10**6), target)


def test_the_deadline_is_the_earlier_of_the_two() -> None:
    clock = Clock(50.0)
    for limit, allocation, seconds, name in (
        (10.0, 20.0, 10.0, 'time_limit'),
        (20.0, 10.0, 10.0, 'the end of the Slurm job'),
        (10.0, math.inf, 10.0, 'time_limit'),
        (None, 10.0, 10.0, 'the end of the Slurm job'),
    ):
        clock.now = 50.0
        deadline = Deadline(limit, allocation, clock)
        assert (deadline.elapsed(), deadline.remaining(), deadline.is_over()) == (0.0, seconds, False)
        assert str(deadline) == f'{name}: 10.0 seconds are left'
        clock.now = 59.5
        assert (deadline.elapsed(), deadline.remaining(), deadline.is_over()) == (9.5, 0.5, False)
        clock.now = 60.0
        assert (deadline.remaining(), deadline.is_over()) == (0.0, True)
        clock.now = 61.0
        assert (deadline.remaining(), deadline.is_over()) == (-1.0, True)
        assert str(deadline) == f'{name}: 0.0 seconds are left'


def test_without_any_limit_time_is_never_over() -> None:
    clock = Clock()
    deadline = Deadline(None, math.inf, clock)
    clock.now = 1e12
    assert not deadline.is_over()
    assert deadline.remaining() == math.inf


def test_nothing_is_a_reason_at_first() -> None:
    assert rules(10.0, 5, 0.5).now(RunState(True), None, None) is None
    assert rules().now(reached(1.0, spent=10**9), None, None) is None


def test_every_reason_in_its_order_and_whether_it_is_final() -> None:
    """All hold at once; then the first one is taken away, and so on."""
    clock = Clock()
    state = reached(0.5, spent=7)
    state.failures = Counter({'crash': MAX_FAILURES})
    asked = rules(10.0, 7, 0.5, clock)
    clock.now += 10.0
    signal, broken = 'SIGTERM', 'all dead'
    found = []
    for remove in ('signal', 'time', 'broken', 'budget', 'target', 'failures'):
        stop = asked.now(state, signal, broken)
        assert stop is not None
        found.append((stop.reason, stop.is_final))
        if remove == 'signal':
            signal = None
        elif remove == 'time':
            clock.now -= 5.0
        elif remove == 'broken':
            broken = None
        elif remove == 'budget':
            state.budget_spent = 6
        elif remove == 'target':
            state.incumbent = None
        else:
            state.failures['crash'] -= 1
    assert found == [
        ('SIGTERM: the calls that ran then were the last ones', False),
        ('time_limit: 0.0 seconds are left, no call is started any more', False),
        ('the executor is broken (all dead)', False),
        ('max_budget: 7 epochs are trained', True),
        ('target: 0.5 is reached', True),
        (f'the first {MAX_FAILURES} calls of the objective function failed', True),
    ]
    assert asked.now(state, signal, broken) is None


@pytest.mark.parametrize(
    ('minimize', 'metric', 'is_reached'),
    [(True, 0.6, False), (True, 0.5, True), (True, 0.4, True), (False, 0.4, False), (False, 0.5, True)],
)
def test_a_target_in_both_directions(minimize: bool, metric: float, is_reached: bool) -> None:
    stop = rules(target=0.5).now(reached(metric, minimize), None, None)
    assert (stop is not None) == is_reached


def test_a_target_of_zero_is_one() -> None:
    assert rules(target=0.0).now(reached(0.0), None, None) is not None
    assert rules(target=0.0).now(reached(1.0), None, None) is None


def test_failures_of_different_kinds_add_up() -> None:
    state = RunState(True, failures=Counter(a=MAX_FAILURES - 1))
    assert rules().now(state, None, None) is None
    state.failures['b'] += 1
    assert rules().now(state, None, None) is not None


def paced(**paces: float | None) -> RunState:
    trials = {int(name[1:]): TrialRecord(int(name[1:]), {}, seconds_per_epoch=pace) for name, pace in paces.items()}
    return RunState(True, trials=trials, checkpoints={i: Checkpoint(i, 0) for i in trials})


def test_a_trials_own_pace_comes_before_the_median_of_all() -> None:
    state = paced(t0=1.0, t1=2.0, t2=30.0, t3=None)
    assert predicted_seconds(Trial(2, {}, 3, 5), state) == 60.0
    assert predicted_seconds(Trial(3, {}, 3, 5), state) == 4.0  # its calls failed: the median of 1, 2 and 30
    assert predicted_seconds(Trial(9, {}, 0, 5), state) == 10.0  # new
    assert predicted_seconds(Trial(9, {}, 0, 5), paced(t0=1.0, t1=2.0)) == 7.5


def test_nothing_is_predicted_before_the_first_result() -> None:
    assert predicted_seconds(Trial(0, {}, 0, 100), RunState(True)) == 0.0
    assert predicted_seconds(Trial(0, {}, 0, 100), paced(t0=None)) == 0.0


def test_an_evicted_trial_is_predicted_from_its_start() -> None:
    state = paced(t0=2.0)
    del state.checkpoints[0]
    assert predicted_seconds(Trial(0, {}, 3, 5), state) == 10.0


def test_a_step_is_not_started_where_it_is_predicted_to_end_too_late() -> None:
    clock, state = Clock(), paced(t0=2.0)
    asked = rules(10.0, clock=clock)
    assert asked.before(Trial(0, {}, 3, 8), state) is None  # 10 seconds are left, and it takes 10
    clock.now += 0.5
    stop = asked.before(Trial(0, {}, 3, 8), state)
    assert stop is not None
    assert stop.reason == 'time_limit: 9.5 seconds are left, the next call takes 10.0, it is predicted'
    assert not stop.is_final
    assert asked.before(Trial(0, {}, 3, 7), state) is None
    assert rules().before(Trial(0, {}, 3, 10**9), state) is None  # no deadline


@pytest.mark.parametrize('end', [None, '', 'soon', '-5', '1e9', '999', '1000', '0'])
def test_an_end_of_the_job_that_is_past_or_no_number_means_nothing(
    monkeypatch: pytest.MonkeyPatch, end: str | None
) -> None:
    monkeypatch.setattr('hpo4dl.race.stopping.time.time', lambda: 1000.0)
    if end is None:
        monkeypatch.delenv('SLURM_JOB_END_TIME', raising=False)
    else:
        monkeypatch.setenv('SLURM_JOB_END_TIME', end)
    assert allocation_left() == math.inf


def test_an_end_of_the_job_that_is_to_come_leaves_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('hpo4dl.race.stopping.time.time', lambda: 1000.0)
    monkeypatch.setenv('SLURM_JOB_END_TIME', '1600')
    assert allocation_left() == 600.0 - SLURM_MARGIN
    monkeypatch.setenv('SLURM_JOB_END_TIME', '1010')
    assert Deadline(None, allocation_left(), Clock()).is_over()  # too little is left to start anything
