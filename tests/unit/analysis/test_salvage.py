"""What can be saved of a journal's events: each fits those before it, and a whole journal stays what it is."""

from __future__ import annotations

from typing import Any

from helpers.journals import Events, journals, lost, result, start
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo4dl.analysis.salvage import made_consistent
from hpo4dl.records.state import RunState


def saved(events: Events, keep_unknown: bool = False) -> tuple[RunState, list[int]]:
    """The state that what can be saved of the events folds to, and the lines that cannot be."""
    state = RunState(minimize=True)
    kept, dropped = made_consistent(list(enumerate(events, 1)), keep_unknown)
    list(state.follow(event for _, event in kept))
    return state, dropped


@settings(deadline=None, max_examples=60)
@given(journals(), st.booleans())
def test_of_a_whole_journal_nothing_is_changed(written: tuple[Events, float], keep_unknown: bool) -> None:
    numbered = list(enumerate(written[0], 1))
    assert made_consistent(numbered, keep_unknown) == (numbered, [])


@settings(deadline=None, max_examples=100)
@given(journals(), st.data(), st.booleans())
def test_whatever_is_gone_the_rest_can_be_followed(
    written: tuple[Events, float], data: st.DataObject, keep_unknown: bool
) -> None:
    events, _ = written
    is_there = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    left = [event for event, there in zip(events, is_there) if there]
    state, dropped = saved(left, keep_unknown)
    configured = {event['trial'] for event in left if 'configuration' in event}
    results = [event for event in left if event['event'] == 'result' and (keep_unknown or event['trial'] in configured)]
    curves: dict[int, dict[int, float]] = {}
    for event in results:
        curves.setdefault(event['trial'], {}).update({entry['epoch']: entry['metric'] for entry in event['epochs']})
    assert {i: trial.metrics for i, trial in state.trials.items() if trial.metrics} == {
        i: metrics for i, metrics in curves.items() if metrics
    }
    assert all(trial.configuration == ({'x': i} if i in configured else {}) for i, trial in state.trials.items())
    assert all(left[line - 1]['event'] != 'result' for line in dropped) or not keep_unknown


def test_what_is_missing_is_made_up() -> None:
    events = [
        result(4, 2, {3: 0.5, 4: 0.25}),  # its start is gone
        result(4, 3, {5: 0.125}),
        result(4, 4, {}, failed='crash'),  # of one epoch at least
        lost(8, 5),  # of nothing
    ]
    state, dropped = saved(events, keep_unknown=True)
    assert state.trials[4].metrics == {3: 0.5, 4: 0.25, 5: 0.125}
    assert state.trials[4].configuration == {}
    assert state.epochs_spent == 4 + 1 + 1
    assert state.incumbent is not None
    assert (state.incumbent.epoch, state.incumbent_attempt) == (5, 3)
    assert dropped == [4]
    assert saved(events)[0].trials == {}


def test_a_configuration_may_stand_further_below() -> None:
    first: dict[str, Any] = {'acknowledged': 5, 'point': [0.5]}
    for keep_unknown in (False, True):
        state, dropped = saved([result(4, 3, {5: 0.125}), start(4, 6, 0, 6, **first)], keep_unknown)
        assert dropped == []
        assert state.trials[4].configuration == {'x': 4}
        assert state.trials[4].point == [0.5]
        assert state.running[4].trial.configuration == {'x': 4}
        assert state.running[4].trial.previous_epoch == 5


def test_a_trial_that_is_gone_is_not_given_up() -> None:
    assert saved([{'event': 'give_up', 'trial': 3, 'reason': 'asked'}])[1] == [1]


def test_the_step_after_a_result_that_is_gone_trains_both() -> None:
    point = {'point': [0.25]}
    state, _ = saved([start(0, 0, 0, 2, **point), start(0, 1, 2, 3), result(0, 1, {3: 0.5})])
    assert state.trials[0].point == [0.25]
    assert state.trials[0].metrics == {3: 0.5}
    assert state.epochs_spent == 3
