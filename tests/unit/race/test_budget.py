"""The budget: what a call is charged, what is left, what the rest is kept for; and what is finished after the race."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fakes import ScriptedOptimizer
from hypothesis import given
from hypothesis import strategies as st

from hpo4dl import Trial
from hpo4dl.race.budget import Budget, Reserve
from hpo4dl.race.finishing import most_promising, next_step, to_finish
from hpo4dl.records.state import FINISH, RESERVE, Checkpoint, Observation, RunningStep, RunState, TrialRecord
from hpo4dl.trial import Array, Outcome

END = 10
OPTIMIZER = ScriptedOptimizer([])


class Predicting(ScriptedOptimizer):
    """Predicts what it is told; larger is better."""

    def __init__(self, ends: dict[int, float]) -> None:
        super().__init__([])
        self.ends = ends

    def predicted_ends(self, trial_ids: Sequence[int]) -> Array:
        return np.array([self.ends[trial_id] for trial_id in trial_ids])


def raced(*trials: tuple[int, float], minimize: bool = True, cost: float = 1.0) -> RunState:
    """Trials 0, 1, ... that were trained to an epoch and have a best metric; each epoch took `cost`."""
    state = RunState(minimize)
    for trial_id, (epoch, metric) in enumerate(trials):
        best = Observation(trial_id, epoch, metric, {}, 1, 0.0, 0.0, 0.0)
        metrics = dict.fromkeys(range(1, epoch + 1), metric)
        state.trials[trial_id] = TrialRecord(trial_id, {}, None, metrics, best=best, spent=epoch, cost=epoch * cost)
        state.checkpoints[trial_id] = Checkpoint(trial_id, 1)
        if state.incumbent is None or state.is_better(metric, state.incumbent.metric):
            state.incumbent = best
    state.budget_spent = sum(epoch for epoch, _ in trials) * cost
    return state


def run(state: RunState, trial_id: int, epoch: int, by: str | None = None, starts_at: int | None = None) -> RunningStep:
    trial = state.trials.setdefault(trial_id, TrialRecord(trial_id, {}))
    step = Trial(trial_id, {}, trial.epoch, epoch)
    begins = trial.epoch if starts_at is None else starts_at
    state.running[trial_id] = RunningStep(step, step, begins, 9, by)
    return state.running[trial_id]


def kept(state: RunState, left: float, limit: float = 100, unit: str = 'epochs', **more: Any) -> Reserve | None:
    return Budget(limit, unit, END).reserve(state, more.pop('optimizer', OPTIMIZER), left, **more)


# What is charged


def test_epochs_are_charged_as_they_are() -> None:
    outcome = Outcome({1: 0.5}, {1: {'cost': 'mine'}}, seconds=3.0)
    assert Budget(9, 'epochs', END).charged(outcome, run(RunState(True), 0, 1), RunState(True)) is outcome


def test_seconds_are_spread_over_the_epochs_that_were_trained() -> None:
    state = raced((2, 0.5))
    step = run(state, 0, 6)
    charged = Budget(9, 'seconds', END).charged(Outcome({3: 1.0, 6: 1.0}, seconds=8.0), step, state)
    assert (charged.cost, charged.costs) == (8.0, {3: 2.0, 6: 6.0})


def test_seconds_of_epochs_that_are_trained_again_count_and_are_nobodys() -> None:
    state = raced((2, 0.5))
    step = run(state, 0, 4, starts_at=0)
    charged = Budget(9, 'seconds', END).charged(Outcome(dict.fromkeys((1, 2, 3, 4), 1.0), seconds=8.0), step, state)
    assert (charged.cost, charged.costs) == (8.0, {3: 2.0, 4: 2.0})


@pytest.mark.parametrize('unit', ['seconds', 'reported'])
def test_a_call_that_died_without_a_word_is_charged_what_its_epochs_are_predicted_to_cost(unit: str) -> None:
    state = raced((2, 0.5), (2, 0.5), cost=3.0)
    state.trials[1].cost = 50.0
    for trial_id, pace in ((0, 3.0), (1, 25.0), (2, 14.0)):  # a new one: as the median
        step = run(state, trial_id, 6)
        charged = Budget(9, unit, END).charged(Outcome(failed='gone'), step, state)
        assert charged.cost == pytest.approx(pace * step.epochs)
        assert charged.costs == {}


def test_what_is_reported_is_charged_and_is_no_info() -> None:
    outcome = Outcome({1: 0.5, 2: 0.25}, {1: {'cost': 2, 'note': 'x'}, 2: {'cost': 0.5}}, seconds=9.0)
    charged = Budget(9, 'reported', END).charged(outcome, run(RunState(True), 0, 2), RunState(True))
    assert (charged.cost, charged.costs, charged.failed) == (2.5, {1: 2.0, 2: 0.5}, None)
    assert charged.info == {1: {'note': 'x'}, 2: {}}
    assert outcome.info[1] == {'cost': 2, 'note': 'x'}


@pytest.mark.parametrize('cost', [None, -1.0, 'nan', 'inf', True, '3', [1], 1e101])
def test_an_epoch_whose_cost_is_not_usable_is_where_a_trial_fails(cost: object) -> None:
    state = raced((4, 0.5), cost=2.0)
    outcome = Outcome({5: 1.0, 6: 1.0, 7: 1.0}, {5: {'cost': 3.0}, 6: {'cost': cost}, 7: {'cost': 3.0}})
    charged = Budget(9, 'reported', END).charged(outcome, run(state, 0, 7), state)
    assert charged.metrics == {5: 1.0}
    assert charged.costs == {5: 3.0}
    assert charged.failed is not None
    assert charged.failed.startswith('the cost of epoch 6 is ')
    assert charged.cost == 3.0 + 2 * 2.0  # and two epochs as they used to cost


def test_a_reason_that_was_there_before_stays() -> None:
    outcome = Outcome({1: 1.0}, {1: {'cost': 3.0}}, failed='late')
    charged = Budget(9, 'reported', END).charged(outcome, run(RunState(True), 0, 3), RunState(True))
    assert (charged.failed, charged.cost) == ('late', 3.0)


# What is left


def test_what_is_left_is_neither_spent_nor_running() -> None:
    state = raced((3, 0.5), (4, 0.5))
    run(state, 0, 5)
    run(state, 1, 10, by=RESERVE)
    assert Budget(100, 'epochs', END).left(state, []) == 93
    assert Budget(100, 'epochs', END).left(state, [0, 1]) == 93 - 2 - 6
    state.running[1].by = FINISH
    assert Budget(100, 'epochs', END).left(state, [0, 1]) == 93 - 2
    assert Budget(None, 'epochs', END).left(state, [0, 1]) == math.inf


def test_in_other_units_what_runs_counts_with_what_it_is_predicted_to_cost() -> None:
    state = raced((3, 0.5), (4, 0.5), cost=0.5)
    run(state, 0, 5)
    run(state, 7, 2)
    assert Budget(100, 'seconds', END).left(state, [0, 7]) == 100 - 3.5 - 2 * 0.5 - 2 * 0.5


@given(st.floats(1e-6, 1e6), st.integers(1, 1000))
def test_what_it_pays_for_is_not_lost_to_rounding(pace: float, epochs: int) -> None:
    state = raced((1, 0.5), cost=pace)
    budget = Budget(sum([pace] * epochs), 'reported', END)
    assert int(budget.epochs_for(sum([pace] * epochs), 0, state)) == epochs
    state.budget_spent = math.fsum([pace] * epochs)
    assert budget.is_spent(state)


def test_epochs_are_paid_as_they_are_counted() -> None:
    assert Budget(9, 'epochs', END).epochs_for(3, 0, raced((1, 0.5), cost=7.0)) == pytest.approx(3)
    assert Budget(9, 'seconds', END).epochs_for(3, 0, RunState(True)) == math.inf  # nothing is known yet


# What is kept


def test_the_most_promising_trial_is_what_the_rest_is_kept_for() -> None:
    state = raced((3, 0.5), (4, 0.2), (8, 0.4))
    assert kept(state, left=19) == Reserve(1, 6)
    assert kept(state, left=6) == Reserve(1, 6)
    assert kept(state, left=5) == Reserve(2, 2)  # the best one cannot be finished any more
    assert kept(state, left=1) is None


def test_larger_may_be_better() -> None:
    assert kept(raced((3, 0.5), (4, 0.2), minimize=False), left=15) == Reserve(0, 7)


def test_what_an_optimizer_predicts_is_believed_more_than_what_was_seen() -> None:
    optimizer = Predicting({0: 0.1, 1: -3.0})
    assert most_promising(optimizer, raced((3, 0.5), (4, 0.2))) == [0, 1]
    assert kept(raced((3, 0.5), (4, 0.2)), left=15, optimizer=optimizer) == Reserve(0, 7)


def test_nothing_is_kept_where_there_is_plenty_or_was_too_little() -> None:
    state = raced((3, 0.5))
    assert kept(state, left=21) is None
    assert kept(state, left=15, limit=19) is None
    assert kept(state, left=15, limit=20) == Reserve(0, 7)
    assert Budget(None, 'epochs', END).reserve(state, OPTIMIZER, math.inf) is None
    assert kept(RunState(True), left=15) is None


def test_nothing_is_kept_where_a_trial_is_complete_or_about_to_be() -> None:
    assert kept(raced((3, 0.5), (10, 0.9)), left=15) is None
    state = raced((3, 0.5), (5, 0.9))
    run(state, 1, 9)
    assert kept(state, left=15) == Reserve(0, 7)
    run(state, 1, 10)
    assert kept(state, left=15) is None
    assert kept(state, left=15, starting=1) == Reserve(0, 7)  # it has not begun


def test_what_runs_is_finished_from_where_it_will_be() -> None:
    state = raced((3, 0.2), (5, 0.9))
    run(state, 0, 8)
    assert kept(state, left=15) == Reserve(0, 2)


def test_a_trial_that_runs_for_the_first_time_comes_last() -> None:
    state = RunState(True)
    run(state, 0, 3)
    assert kept(state, left=15) == Reserve(0, 7)
    state = raced((3, 0.5))
    run(state, 1, 4)
    assert kept(state, left=15) == Reserve(0, 7)
    assert kept(state, left=6) == Reserve(1, 6)


def test_failed_trials_are_not_finished_and_evicted_ones_from_their_start() -> None:
    state = raced((3, 0.2), (5, 0.9), (5, 0.95))
    state.trials[0].failed = 'crash'
    del state.checkpoints[1]
    assert kept(state, left=15) == Reserve(1, 10)
    assert kept(state, left=9) == Reserve(2, 5)


def test_in_other_units_each_trial_has_its_pace() -> None:
    state = raced((2, 0.2), (2, 0.9), cost=1.0)
    state.trials[0].cost = 200.0
    assert kept(state, left=900, limit=2000, unit='seconds') == Reserve(0, 800)
    assert kept(state, left=700, limit=2000, unit='seconds') == Reserve(1, 8)
    typical = (100 + 1) / 2
    assert kept(state, left=700, limit=2 * END * typical, unit='seconds') == Reserve(1, 8)
    assert kept(state, left=700, limit=2 * END * typical - 1, unit='seconds') is None


# What is finished after the race


def test_the_incumbent_is_among_those_that_are_finished() -> None:
    state = raced((3, 0.5), (4, 0.2), (10, 0.3), (2, 0.9))
    assert to_finish(OPTIMIZER, state, 1) == [1]
    assert to_finish(OPTIMIZER, state, 2) == [1, 2]
    assert to_finish(OPTIMIZER, state, 9) == [1, 2, 0, 3]
    optimizer = Predicting({0: 3.0, 1: 0.0, 2: 2.0, 3: 1.0})
    assert to_finish(optimizer, state, 1) == [1]
    assert to_finish(optimizer, state, 2) == [0, 1]
    assert to_finish(optimizer, state, 4) == [0, 2, 3, 1]
    state.trials[1].failed = 'crash'
    assert to_finish(optimizer, state, 2) == [0, 2]
    assert to_finish(optimizer, RunState(True), 2) == []


def test_a_step_towards_the_end_is_no_longer_than_what_has_worked() -> None:
    state = raced((3, 0.5), (9, 0.5))
    spans = []
    for state.longest_call in (1, 4, 50):
        steps = [next_step(trial_id, END, state) for trial_id in (0, 1)]
        spans.append([(step.previous_epoch, step.epoch) for step in steps])
    assert spans == [[(3, 4), (9, 10)], [(3, 7), (9, 10)], [(3, 10), (9, 10)]]


def test_a_trial_without_checkpoint_is_brought_beyond_where_it_was() -> None:
    state = raced((6, 0.5))
    state.checkpoints.clear()
    for state.longest_call, epoch in ((1, 7), (8, 8), (50, 10)):
        step = next_step(0, END, state)
        assert (step.previous_epoch, step.epoch) == (6, epoch)
