"""The fold of a journal's events: each event alone, and random journals beside a brute-force reading."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers.journals import Events, journals, lost, result, start
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo4dl import JournalError
from hpo4dl.records.state import Change, Checkpoint, RunState


def folded(*events: dict[str, Any], minimize: bool = True) -> RunState:
    state = RunState(minimize)
    for event in events:
        state.apply(event)
    return state


def test_nothing_yet() -> None:
    state = RunState(minimize=True)
    assert state.incumbent_row() is None
    assert (state.epochs_spent, state.elapsed, state.attempts) == (0, 0.0, 0)
    assert state.trials == state.running == state.checkpoints == {}


def test_a_start_is_a_decision_that_runs() -> None:
    state = RunState(minimize=True, restore=lambda plain, point: {**plain, 'restored': point.tolist()})
    change = state.apply(start(3, 5, 0, 2, point=[0.25, 0.5]))
    assert change == Change(asked=state.running[3])
    step = state.running[3]
    assert (step.trial.id, step.trial.previous_epoch, step.trial.epoch) == (3, 0, 2)
    assert step.trial.configuration == {'x': 3, 'restored': [0.25, 0.5]}
    assert (step.wanted, step.starts_at, step.attempt, step.epochs) == (step.trial, 0, 5, 2)
    assert state.attempts == 6
    assert state.epochs_spent == 0


def test_a_result_ends_the_step_and_fills_the_curve() -> None:
    begin = start(3, 0, 0, 3, time=10.0)
    state = folded(begin)
    change = state.apply(result(3, 0, {1: 0.5, 2: 0.25, 3: 0.75}, time=16.0, seconds=6.0, overhead=1.5, size=99))
    finished = change.finished
    assert change.asked is None
    assert finished is not None
    assert (finished.metrics, finished.failed, finished.improved) == ({1: 0.5, 2: 0.25, 3: 0.75}, None, True)
    assert [seen.spent for seen in finished.observations] == [1, 2, 3]
    assert [seen.elapsed for seen in finished.observations] == [2.0, 4.0, 6.0]
    assert [seen.info for seen in finished.observations] == [{'at': 1}, {'at': 2}, {'at': 3}]
    assert {(seen.seconds, seen.overhead) for seen in finished.observations} == {(2.0, 0.5)}
    trial = state.trials[3]
    assert (trial.metrics, trial.epoch, trial.spent, trial.seconds) == ({1: 0.5, 2: 0.25, 3: 0.75}, 3, 3, 6.0)
    assert (trial.began, trial.ended, trial.seconds_per_epoch) == (10.0, 16.0, 2.0)
    assert state.checkpoints == {3: Checkpoint(attempt=0, size=99)}
    assert not state.running


def test_the_row_of_the_incumbent_has_the_columns_of_the_first_hpo4dl_and_is_the_receivers_own() -> None:
    state = folded(
        {**start(3, 0, 0, 1), 'configuration': {'x': [1]}}, result(3, 0, {1: 0.5}, seconds=2.0, overhead=1.0)
    )
    row = state.incumbent_row()
    assert row == {
        'epoch': 1,
        'metric': 0.5,
        'at': 1,
        'configuration_id': 3,
        'configuration': {'x': [1]},
        'time': 2.0,
        'overhead_time': 1.0,
        'total_time': 3.0,
    }
    row['configuration']['x'].append(2)
    again = state.incumbent_row()
    assert again is not None
    assert again['configuration'] == {'x': [1]}


@pytest.mark.parametrize(('minimize', 'best'), [(True, (1, 2, -1.0)), (False, (0, 2, 3.0))])
def test_the_incumbent_in_both_directions(minimize: bool, best: tuple[int, int, float]) -> None:
    curves = {0: {1: 1.0, 2: 3.0}, 1: {1: 2.0, 2: -1.0}, 2: {1: 0.0, 2: 0.5}}
    events = [e for i, curve in curves.items() for e in (start(i, i, 0, 2), result(i, i, curve))]
    state = folded(*events, minimize=minimize)
    seen = state.incumbent
    assert seen is not None
    assert (seen.trial, seen.epoch, seen.metric) == best
    assert state.incumbent_attempt == best[0]
    bests = [state.trials[i].best for i in curves]
    assert [best.metric for best in bests if best] == [(min if minimize else max)(c.values()) for c in curves.values()]


@pytest.mark.parametrize('minimize', [True, False])
def test_the_first_of_equal_metrics_stays_the_incumbent(minimize: bool) -> None:
    events = start(0, 0, 0, 2), result(0, 0, {1: 0.5, 2: 0.5}), start(1, 1, 0, 1)
    state = folded(*events, minimize=minimize)
    change = state.apply(result(1, 1, {1: 0.5}))
    assert change.finished is not None
    assert not change.finished.improved
    assert state.incumbent is not None
    assert (state.incumbent.trial, state.incumbent.epoch, state.incumbent_attempt) == (0, 1, 0)


def test_a_call_made_again_is_the_same_decision_with_another_attempt() -> None:
    state = folded(start(0, 0, 0, 2), lost(0, 0))
    step = state.running[0]
    assert state.apply(start(0, 1, 0, 2)) == Change()
    assert state.running[0] is step
    assert (step.attempt, step.blamed_losses, step.shared_losses) == (1, 1, 0)
    assert (state.attempts, state.lost) == (2, ['lost 0'])
    state.apply(result(0, 1, {2: 1.0}))
    assert state.epochs_spent == 2  # what was lost is not spent
    assert state.checkpoints[0].attempt == 1


def test_losses_are_counted_by_whose_fault_they_are_and_with_the_step() -> None:
    state = folded(start(0, 0, 0, 1), start(1, 1, 0, 1), lost(0, 0, False), lost(1, 1, False), lost(0, 0, True))
    assert (state.running[0].blamed_losses, state.running[0].shared_losses) == (1, 1)
    assert (state.running[1].blamed_losses, state.running[1].shared_losses) == (0, 1)
    for event in (result(0, 0, {1: 1.0}), start(0, 2, 1, 2)):
        state.apply(event)
    assert (state.running[0].blamed_losses, state.running[0].shared_losses) == (0, 0)


def test_a_step_that_the_budget_cut_knows_what_was_wanted() -> None:
    state = folded(start(0, 0, 0, 2, wanted=9))
    step = state.running[0]
    assert (step.trial.epoch, step.wanted.epoch, step.wanted.previous_epoch, step.epochs) == (2, 9, 0, 2)
    state.apply(start(0, 1, 0, 4, wanted=9))  # made again with a larger budget
    assert (step.trial.epoch, step.wanted.epoch, step.epochs) == (4, 9, 4)


def test_an_evicted_trial_is_trained_again_from_its_start_and_stays_where_it_was() -> None:
    evict = {'event': 'evict', 'trial': 0, 'reason': 'max_disk'}
    state = folded(start(0, 0, 0, 3), result(0, 0, {1: 0.9, 2: 0.8, 3: 0.7}), evict)
    assert state.checkpoints == {}
    state.apply(start(0, 1, 0, 4, acknowledged=3))
    step = state.running[0]
    assert (step.starts_at, step.trial.previous_epoch, step.trial.epoch, step.epochs) == (0, 3, 4, 4)
    finished = state.apply(result(0, 1, {4: 0.6})).finished
    assert finished is not None
    assert [seen.spent for seen in finished.observations] == [3 + 4]
    assert (state.epochs_spent, state.trials[0].spent) == (7, 7)
    assert state.trials[0].metrics == {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6}
    assert state.checkpoints[0].attempt == 1


def test_to_evict_what_has_no_checkpoint_changes_nothing() -> None:
    assert folded(start(0, 0, 0, 1), {'event': 'evict', 'trial': 0}).checkpoints == {}


def test_a_failed_step_costs_what_was_asked_for_and_leaves_no_checkpoint() -> None:
    state = folded(start(0, 0, 0, 2), result(0, 0, {1: 5.0, 2: 4.0}), start(1, 1, 0, 5))
    state.apply(result(1, 1, {}, failed='out of memory', traceback='trace', seconds=3.0))
    trial = state.trials[1]
    assert (trial.failed, trial.traceback, trial.spent, trial.metrics) == ('out of memory', 'trace', 5, {})
    assert (trial.seconds, trial.seconds_per_epoch, trial.best) == (3.0, None, None)
    assert state.epochs_spent == 7
    assert set(state.checkpoints) == {0}


def test_a_failed_step_that_found_the_best_metric_leaves_its_checkpoint() -> None:
    state = folded(start(0, 0, 0, 2), result(0, 0, {1: 5.0}, failed='late', size=3))
    assert state.checkpoints == {0: Checkpoint(0, 3)}
    assert (state.incumbent_attempt, state.trials[0].failed, state.epochs_spent) == (0, 'late', 2)


def test_failures_are_counted_until_there_is_an_incumbent() -> None:
    state = RunState(minimize=True)
    for i, why in enumerate(['a', 'b', 'a']):
        state.apply(start(i, i, 0, 1))
        state.apply(result(i, i, {}, failed=why, traceback=f'trace {i}'))
    assert state.failures == {'a': 2, 'b': 1}
    assert state.last_traceback == 'trace 2'
    for event in (start(3, 3, 0, 1), result(3, 3, {1: 1.0})):
        state.apply(event)
    assert not state.failures
    for event in (start(4, 4, 0, 1), result(4, 4, {}, failed='c', traceback='trace 4')):
        state.apply(event)
    assert not state.failures
    assert state.last_traceback == 'trace 2'


def test_points_where_null_is_inactive() -> None:
    state = folded(start(0, 0, 0, 1, point=[0.5, None]), start(1, 1, 0, 1))
    point = state.trials[0].point
    assert point is not None
    assert point.dtype == np.float64
    assert point[0] == 0.5
    assert math.isnan(point[1])
    assert state.running[0].trial.point is point
    assert state.trials[1].point is None  # schema 1 has none


def test_elapsed_time_leaves_out_pauses_and_what_lies_between_a_kill_and_the_call_made_again() -> None:
    run = {'event': 'run', 'schema': 2, 'time': 100.0}
    state = folded(run, start(0, 0, 0, 1, time=101.0), result(0, 0, {1: 1.0}, time=105.0))
    assert state.elapsed == 5.0
    state.apply({'event': 'stop', 'reason': 'SIGINT', 'time': 106.0})
    assert state.elapsed == 6.0
    state.apply(start(0, 1, 1, 2, time=1000.0))  # resumed
    assert state.elapsed == 6.0
    state.apply(start(1, 2, 0, 1, time=1001.0))
    state.apply(start(0, 3, 1, 2, time=9000.0))  # killed, and resumed: both are made again
    state.apply(start(1, 4, 0, 1, time=9001.0))
    assert state.elapsed == 7.0
    state.apply(result(0, 3, {2: 1.0}, time=9003.0))
    assert state.elapsed == 9.0
    assert state.last_time == 9003.0


@pytest.mark.parametrize('event', [{'event': 'resume'}, {'event': 'salvage', 'lines': [], 'file': '', 'dropped': []}])
def test_elapsed_time_leaves_out_the_pause_of_a_kill_between_two_calls(event: dict[str, Any]) -> None:
    state = folded(start(0, 0, 0, 1, time=101.0), result(0, 0, {1: 1.0}, time=105.0), {**event, 'time': 5000.0})
    state.apply(start(0, 1, 1, 2, time=5002.0))
    assert state.elapsed == 4.0 + 2.0


def test_a_clock_that_is_set_back_takes_no_time_away() -> None:
    state = folded(start(0, 0, 0, 1, time=50.0), result(0, 0, {1: 1.0}, time=40.0), start(0, 1, 1, 2, time=43.0))
    assert state.elapsed == 3.0


def test_why_it_stopped_is_forgotten_when_it_goes_on() -> None:
    state = folded({'event': 'stop', 'reason': 'SIGINT'})
    assert (state.stopped, state.expected_gain) == ('SIGINT', None)
    state.apply({'event': 'stop', 'reason': 'target', 'expected_gain': 0.5})
    assert (state.stopped, state.expected_gain) == ('target', 0.5)
    state.apply(start(0, 0, 0, 1))
    assert (state.stopped, state.expected_gain) == (None, None)


def test_a_salvage_is_remembered_and_unknown_events_are_passed_over() -> None:
    state = folded({'event': 'salvage', 'lines': [2]}, {'event': 'of the future'})
    assert state.salvaged
    assert not state.trials


@pytest.mark.parametrize(
    'event',
    [
        result(9, 0, {1: 1.0}),
        lost(9, 0),
        start(9, 0, 1, 2),  # no configuration
        {'event': 'start', 'trial': 0},
        {'no': 'event'},
        {**result(0, 0, {1: 1.0}), 'seconds': 'long'},
        {**result(0, 0, {1: 1.0}), 'epochs': [{'epoch': 1}]},
        {**result(0, 0, {1: 1.0}), 'epochs': 3},
        start(1, 1, 0, 2, time='yesterday'),
        start(1, 1, 0, 2, point=['x']),
    ],
)
def test_what_does_not_fit_names_its_line(event: dict[str, Any]) -> None:
    state = RunState(minimize=True)

    class Listed(list[Any]):
        def __str__(self) -> str:
            return 'folder/journal.jsonl'

    with pytest.raises(JournalError, match=r'folder/journal\.jsonl, line 3: does not fit'):
        list(state.follow(Listed([{'event': 'run'}, start(0, 0, 0, 1), event])))


# Random journals. The generator keeps its own books, and so does the brute-force reading.


@settings(deadline=None, max_examples=60)
@given(journals())
def test_random_journals_read_by_brute_force(written: tuple[Events, float]) -> None:
    events, paused_for = written
    state = RunState(minimize=True)
    changes = list(state.follow(events))
    begun = {event['attempt']: event for event in events if event['event'] == 'start'}
    results = [event for event in events if event['event'] == 'result']
    seen = [(entry['metric'], i, event['trial'], entry['epoch'])
            for i, event in enumerate(results) for entry in event['epochs']]  # fmt: skip
    spent = sum(begun[event['attempt']]['epoch'] - begun[event['attempt']]['previous_epoch'] for event in results)
    curves: dict[int, dict[int, float]] = {event['trial']: {} for event in begun.values()}
    for metric, _, trial, epoch in seen:
        curves[trial][epoch] = metric
    assert state.epochs_spent == spent
    assert {i: trial.metrics for i, trial in state.trials.items()} == curves
    assert state.attempts == len(begun)
    assert len(state.lost) == sum(event['event'] == 'lost' for event in events)
    best = min(seen, key=lambda entry: entry[0], default=None)  # the first of equal ones
    if best is None or state.incumbent is None:
        assert state.incumbent is best is None
    else:
        assert (state.incumbent.metric, state.incumbent.trial, state.incumbent.epoch) == (best[0], best[2], best[3])
        assert state.incumbent_attempt == results[best[1]]['attempt']
    asked = [change.asked.wanted.id for change in changes if change.asked is not None]
    assert len(asked) == len(results) + len(state.running)
    assert [change.finished is not None for change in changes] == [event['event'] == 'result' for event in events]
    assert state.elapsed == events[-1]['time'] - paused_for


@settings(deadline=None, max_examples=20)
@given(journals(), st.integers(0, 40))
def test_random_journals_in_one_go_and_taken_up_in_the_middle(written: tuple[Events, float], cut: int) -> None:
    events, _ = written
    whole, parts = RunState(True), RunState(True)
    at_once = list(whole.follow(events))
    one_by_one = [*parts.follow(events[:cut]), *(parts.apply(event) for event in events[cut:])]
    assert repr(at_once) == repr(one_by_one)
    assert repr(parts) == repr(whole)
