"""The queue of calls that are made again, and which of them alone."""

from __future__ import annotations

import pytest

from hpo4dl import Trial
from hpo4dl.race.retries import MAX_SHARED_LOSSES, Retries
from hpo4dl.records.state import RunningStep, RunState


def state_of(*trials: int) -> RunState:
    steps = {i: Trial(i, {}, 0, 1) for i in trials}
    return RunState(True, running={i: RunningStep(step, step, 0, attempt=i) for i, step in steps.items()})


def order(retries: Retries) -> list[int]:
    """All that wait, as they are started one after the other."""
    found = []
    while (step := retries.next()) is not None:
        found.append(step.trial.id)
        retries.started()
    return found


def test_what_ran_when_the_run_was_cut_short_is_made_again_in_its_order() -> None:
    assert order(Retries(state_of(4, 2, 7), retry=0)) == [4, 2, 7]
    assert order(Retries(state_of(), retry=0)) == []


def test_a_new_retry_waits_for_the_others_and_a_call_that_was_not_made_goes_first() -> None:
    state = state_of(4, 2, 7)
    retries = Retries(state, retry=1)
    retries.started()
    retries.again(4)
    assert retries.next() is state.running[2]
    retries.started()
    retries.again(2, first=True)
    assert order(retries) == [2, 7, 4]


def test_to_look_at_the_next_takes_nothing_away() -> None:
    retries = Retries(state_of(1), retry=0)
    assert retries.next() is retries.next() is not None


def test_two_that_were_lost_together_are_made_again_one_after_the_other() -> None:
    state = state_of(0, 1, 2)
    retries = Retries(state, retry=0)
    for _ in range(3):
        retries.started()
    for trial_id in (0, 1):
        assert not retries.is_blamed(state.running[trial_id], attributable=False)
        assert retries.grants(state.running[trial_id], blamed=False, reason='died')
        state.running[trial_id].shared_losses += 1
        retries.again(trial_id)
    assert retries.must_isolate([2])  # 0 waits until 2 has ended
    assert not retries.must_isolate([])
    retries.started()
    assert retries.must_isolate([0])  # and nothing starts beside it
    state.running[0].shared_losses = 0  # it has ended, and was started for its next step
    assert retries.must_isolate([0])  # now 1 waits
    retries.started()
    assert retries.must_isolate([1])
    assert not retries.must_isolate([0])


def test_calls_without_shared_losses_start_beside_others() -> None:
    state = state_of(0, 1)
    state.running[1].blamed_losses = 1
    assert not Retries(state, retry=2).must_isolate([0])
    assert not Retries(state, retry=2).must_isolate([])


@pytest.mark.parametrize('retry', [0, 1, 3])
def test_a_call_at_fault_is_made_again_as_often_as_asked(retry: int) -> None:
    state = state_of(0)
    step, retries, granted = state.running[0], Retries(state, retry), 0
    while retries.grants(step, retries.is_blamed(step, attributable=True), 'died'):
        step.blamed_losses += 1
        granted += 1
    assert granted == retry


@pytest.mark.parametrize('retry', [0, 2])
def test_losses_that_nobody_is_to_blame_for_end_too(retry: int) -> None:
    state = state_of(0)
    step, retries, granted = state.running[0], Retries(state, retry), 0
    while retries.grants(step, blamed := retries.is_blamed(step, attributable=False), 'died'):
        if blamed:
            step.blamed_losses += 1
        else:
            step.shared_losses += 1
        granted += 1
    assert granted == MAX_SHARED_LOSSES + retry
    assert (step.shared_losses, step.blamed_losses) == (MAX_SHARED_LOSSES, retry)
