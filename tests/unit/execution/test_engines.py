"""Slots and workers with executors that do what a test says: broken ones, lost calls, late ones."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes import CommandExecutor

from hpo4dl import ArgumentError, ExecutorError, Trial
from hpo4dl.execution import engines
from hpo4dl.execution.engines import (
    MAX_STARTUP_FAILURES,
    Call,
    ExecutorSlot,
    InlineExecutor,
    LostCall,
    Workers,
    slots_for,
)
from hpo4dl.execution.worker import run_attempt, run_attempt_in_worker
from hpo4dl.trial import Attempt, Outcome


def objective(configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> dict:
    return {'epoch': epoch, 'metric': 0.5}


def attempt(folder: Path, number: int = 0, trial_id: int | None = None) -> Attempt:
    trial = Trial(number if trial_id is None else trial_id, {}, 0, 1)
    return Attempt(number, trial, str(folder / f'attempt_{number}'), None, str(folder / f'began_{number}'))


def begin(call: Call) -> None:
    """What a worker does first."""
    Path(call.attempt.started_file).touch()


def submitted(slot: ExecutorSlot, folder: Path, *numbers: int) -> list[Call]:
    calls = [slot.submit(objective, attempt(folder, number)) for number in numbers]
    assert None not in calls
    return [call for call in calls if call is not None]


class Maker:
    """Makes executors and keeps them."""

    def __init__(self, *made: CommandExecutor) -> None:
        self.ready = list(made)
        self.made: list[CommandExecutor] = []

    def __call__(self) -> CommandExecutor:
        self.made.append(self.ready.pop(0) if self.ready else CommandExecutor())
        return self.made[-1]


def test_a_call_is_given_to_the_executor_and_its_outcome_handed_back(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 4)
    assert executor.arguments == [(run_attempt_in_worker, objective, call.attempt)]
    assert not call.is_done()
    assert not slot.has_room()
    outcome = Outcome({1: 0.5})
    executor.futures[0].set_result(outcome)
    assert call.is_done()
    assert slot.outcome(call, objective) is outcome
    assert slot.calls == []
    assert slot.has_room()


def test_the_capacity_is_never_exceeded(tmp_path: Path) -> None:
    slot = ExecutorSlot(CommandExecutor(), capacity=2)
    submitted(slot, tmp_path, 0)
    assert slot.has_room()
    submitted(slot, tmp_path, 1)
    assert not slot.has_room()


def test_a_call_has_begun_when_its_worker_says_so_and_the_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (call,) = submitted(ExecutorSlot(CommandExecutor()), tmp_path, 0)
    monkeypatch.setattr(engines.time, 'monotonic', lambda: 7.0)
    assert not call.has_begun()
    assert call.started_at is None
    begin(call)
    assert call.has_begun()
    monkeypatch.setattr(engines.time, 'monotonic', lambda: 9.0)
    assert call.has_begun()
    assert call.started_at == 7.0


def test_this_process_as_an_executor(tmp_path: Path) -> None:
    slot = ExecutorSlot(InlineExecutor())
    (call,) = submitted(slot, tmp_path, 0)
    assert call.is_done()
    outcome = slot.outcome(call, objective)
    assert isinstance(outcome, Outcome)
    assert outcome.metrics == {1: 0.5}
    assert not Path(call.attempt.started_file).exists()  # no time is measured here
    inline = InlineExecutor().submit(lambda: 1 / 0)
    assert isinstance(inline.exception(), ZeroDivisionError)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupted)


def test_the_executor_of_this_process_is_called_without_the_workers_wrapper(tmp_path: Path) -> None:
    seen = []

    class Inline(InlineExecutor):
        def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
            seen.append(function)
            return super().submit(function, *arguments)

    submitted(ExecutorSlot(Inline()), tmp_path, 0)
    assert seen == [run_attempt]


# Executors that refuse


def test_the_users_executor_that_refuses_is_broken_for_good(tmp_path: Path) -> None:
    executor = CommandExecutor(RuntimeError('cannot schedule\nnew futures'))
    slot = ExecutorSlot(executor, capacity=2)
    assert slot.submit(objective, attempt(tmp_path)) is None
    assert slot.broken == 'RuntimeError: cannot schedule new futures'
    assert not slot.has_room()
    assert executor.shutdowns == []  # it is not ours


def test_an_executor_that_can_be_made_anew_is_made_anew_once_per_call(tmp_path: Path) -> None:
    first, second = CommandExecutor(RuntimeError('dead')), CommandExecutor()
    make = Maker(first, second)
    slot = ExecutorSlot(make=make)
    (call,) = submitted(slot, tmp_path, 0)
    assert make.made == [first, second]
    assert (call.executor, slot.executor, slot.broken) == (second, second, None)
    assert first.shutdowns == [False]
    hopeless = ExecutorSlot(make=Maker(CommandExecutor(RuntimeError('a')), CommandExecutor(RuntimeError('b'))))
    assert hopeless.submit(objective, attempt(tmp_path)) is None
    assert hopeless.broken == 'RuntimeError: b'


@pytest.mark.parametrize(
    'error',
    [
        pickle.PicklingError('no'),
        TypeError("cannot pickle '_thread.lock' object"),
        AttributeError("Can't get local object 'f.<locals>.g'"),
    ],
)
def test_an_objective_that_cannot_be_sent_is_the_users_to_mend(tmp_path: Path, error: Exception) -> None:
    slot = ExecutorSlot(CommandExecutor(error))
    with pytest.raises(ArgumentError, match='objective_function'):
        slot.submit(objective, attempt(tmp_path))
    assert slot.broken is None
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)  # some say so only in the future
    executor.futures[0].set_exception(error)
    with pytest.raises(ArgumentError, match='objective_function'):
        slot.outcome(call, objective)


@pytest.mark.parametrize('future', [None, 7, object(), type('Half', (), {'done': lambda self: True})()])
def test_what_is_no_future_is_refused(tmp_path: Path, future: object) -> None:
    executor = CommandExecutor()
    executor.submit = lambda *arguments: future
    with pytest.raises(ArgumentError, match='executor'):
        ExecutorSlot(executor).submit(objective, attempt(tmp_path))


# Workers that die


def test_a_single_call_whose_worker_died_is_at_fault_where_it_had_begun(tmp_path: Path) -> None:
    for has_begun in (True, False):
        make = Maker()
        slot = ExecutorSlot(make=make)
        (call,) = submitted(slot, tmp_path / str(has_begun), 0)
        if has_begun:
            (tmp_path / 'True').mkdir()
            begin(call)
        make.made[0].futures[0].set_exception(BrokenExecutor('killed'))
        lost = slot.outcome(call, objective)
        assert lost == LostCall('its worker died: BrokenExecutor: killed', attributable=has_begun)
        assert slot.startup_failures == (0 if has_begun else 1)
        assert make.made[0].shutdowns == [False]
        submitted(slot, tmp_path, 1)
        assert len(make.made) == 2  # and the next one has another executor


@pytest.mark.parametrize(('begun', 'at_fault'), [((), ()), ((1,), (1,)), ((0, 2), ()), ((0, 1, 2), ())])
def test_of_calls_that_were_lost_together_only_the_one_that_had_begun_is_at_fault(
    tmp_path: Path, begun: tuple[int, ...], at_fault: tuple[int, ...]
) -> None:
    make = Maker()
    slot = ExecutorSlot(make=make, capacity=3)
    calls = submitted(slot, tmp_path, 0, 1, 2)
    for i in begun:
        begin(calls[i])
    for future in make.made[0].futures:
        future.set_exception(BrokenExecutor('killed'))
    lost = [slot.outcome(call, objective) for call in calls]
    assert [isinstance(one, LostCall) and one.attributable for one in lost] == [i in at_fault for i in range(3)]
    assert make.made[0].shutdowns == [False]  # once for all
    assert slot.startup_failures == (0 if begun else 1)
    assert slot.has_room()


def test_a_call_on_the_new_executor_is_not_touched_by_what_the_old_one_says_late(tmp_path: Path) -> None:
    make = Maker()
    slot = ExecutorSlot(make=make, capacity=2)
    first, late = submitted(slot, tmp_path, 0, 1)
    make.made[0].futures[0].set_exception(BrokenExecutor('killed'))
    slot.outcome(first, objective)
    (new,) = submitted(slot, tmp_path, 2)
    make.made[0].futures[1].set_exception(BrokenExecutor('killed'))
    assert isinstance(slot.outcome(late, objective), LostCall)
    assert make.made[1].shutdowns == []
    assert slot.startup_failures == 1
    make.made[1].futures[0].set_result(Outcome({1: 0.25}))
    assert slot.outcome(new, objective) == Outcome({1: 0.25})
    assert slot.startup_failures == 0


def test_the_users_executor_whose_workers_died_is_broken_for_good(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor, capacity=2)
    calls = submitted(slot, tmp_path, 0, 1)
    for call, future in zip(calls, executor.futures):
        begin(call)
        future.set_exception(BrokenExecutor('killed'))
    lost = [slot.outcome(call, objective) for call in calls]
    assert lost[0] == LostCall('its worker died: BrokenExecutor: killed', attributable=False)
    assert slot.broken == 'BrokenExecutor: killed'
    assert executor.shutdowns == []


def test_workers_that_die_before_they_begin_end_the_race(tmp_path: Path) -> None:
    make = Maker()
    slot = ExecutorSlot(make=make)
    for number in range(MAX_STARTUP_FAILURES):
        (call,) = submitted(slot, tmp_path, number)
        make.made[-1].futures[0].set_exception(BrokenExecutor('killed'))
        if number < MAX_STARTUP_FAILURES - 1:
            assert isinstance(slot.outcome(call, objective), LostCall)
        else:
            with pytest.raises(ExecutorError, match='__main__'):
                slot.outcome(call, objective)


def test_a_result_in_between_begins_the_count_anew(tmp_path: Path) -> None:
    make = Maker()
    slot = ExecutorSlot(make=make)
    for number in range(4 * MAX_STARTUP_FAILURES):
        (call,) = submitted(slot, tmp_path, number)
        if number % MAX_STARTUP_FAILURES == MAX_STARTUP_FAILURES - 1:
            make.made[-1].futures[-1].set_result(Outcome({1: 0.5}))
        else:
            make.made[-1].futures[-1].set_exception(BrokenExecutor('killed'))
        slot.outcome(call, objective)
    assert slot.broken is None


@pytest.mark.parametrize('error', [RuntimeError('no worker'), asyncio.CancelledError('x'), SystemExit(3)])
def test_a_call_that_the_executor_lost(tmp_path: Path, error: BaseException) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    for number, has_begun in enumerate((True, False)):
        (call,) = submitted(slot, tmp_path, number)
        if has_begun:
            begin(call)
        executor.futures[-1].set_exception(error)
        lost = slot.outcome(call, objective)
        assert isinstance(lost, LostCall)
        assert lost.attributable == has_begun
        assert 'the executor lost the call' in lost.reason
        assert type(error).__name__ in lost.reason
    assert slot.startup_failures == 1
    assert slot.broken is None


@pytest.mark.parametrize('has_begun', [False, True])
def test_a_future_that_cannot_be_looked_at_any_more_is_a_lost_call(tmp_path: Path, has_begun: bool) -> None:
    """Its client is gone, say: what is not seen to end would be waited for, for ever."""

    class Gone(Future):
        def done(self) -> bool:
            raise ConnectionError('the scheduler is gone')

        def result(self, timeout: float | None = None) -> None:
            self.done()

    executor = CommandExecutor()
    executor.submit = lambda *arguments: Gone()
    workers = Workers([ExecutorSlot(executor)], objective)
    assert workers.submit(attempt(tmp_path))
    if has_begun:
        begin(next(iter(workers.running.values())))
    ((_, lost),) = workers.collect(60)
    assert isinstance(lost, LostCall)
    assert 'the scheduler is gone' in lost.reason
    assert lost.attributable == has_begun
    assert workers.has_room()
    assert workers.running == {}


def test_a_call_that_the_executor_cancelled(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)
    executor.futures[0].cancel()
    assert isinstance(slot.outcome(call, objective), LostCall)


@pytest.mark.parametrize('capacity', [1, 4])
def test_an_executor_that_loses_all_calls_before_they_begin_is_broken(tmp_path: Path, capacity: int) -> None:
    """Those given out together count once: so many more may be lost."""
    executor = CommandExecutor()
    slot = ExecutorSlot(executor, capacity=capacity)
    n = 0
    while slot.broken is None:
        (call,) = submitted(slot, tmp_path, n)
        executor.futures[-1].set_exception(RuntimeError('no worker'))
        slot.outcome(call, objective)
        n += 1
        assert n < 100
    assert n == MAX_STARTUP_FAILURES + capacity - 1
    assert not slot.has_room()


@pytest.mark.parametrize('returned', [None, {'epoch': 1, 'metric': 0.5}, 0.5])
def test_a_result_that_is_no_outcome_is_the_calls_own_fault(tmp_path: Path, returned: object) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)
    executor.futures[0].set_result(returned)
    assert slot.outcome(call, objective) == LostCall(f'the executor returned {returned!r}', attributable=True)


def test_an_interruption_goes_through(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)
    executor.futures[0].set_exception(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        slot.outcome(call, objective)


# Calls that are given up


def test_a_call_that_is_given_up_occupies_its_worker_until_it_ends(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)
    executor.futures[0].set_running_or_notify_cancel()  # cancelling it does nothing
    slot.give_up(call)
    assert call.given_up
    assert not slot.has_room()
    executor.futures[0].set_result(Outcome())
    assert slot.has_room()
    assert slot.calls == []


def test_a_call_that_is_given_up_before_it_begins_is_cancelled(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)
    slot.give_up(call)
    assert executor.futures[0].cancelled()
    assert slot.has_room()


@pytest.mark.parametrize('error', [NotImplementedError(), AttributeError('cancel')])
def test_a_future_that_cannot_be_cancelled_is_given_up_all_the_same(tmp_path: Path, error: Exception) -> None:
    class Uncancellable(Future):
        def cancel(self) -> bool:
            raise error

    executor = CommandExecutor()
    executor.submit = lambda *arguments: Uncancellable()
    slot = ExecutorSlot(executor)
    (call,) = submitted(slot, tmp_path, 0)
    slot.give_up(call)
    assert call.given_up
    assert not slot.has_room()


class KillableWorker(CommandExecutor):
    """In the place of a process of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1


def test_a_process_of_our_own_is_killed_when_its_call_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, 'WorkerProcess', KillableWorker)
    slot = ExecutorSlot(make=KillableWorker)
    (call,) = submitted(slot, tmp_path, 0)
    worker = slot.executor
    slot.give_up(call)
    assert (worker.kills, slot.executor, slot.calls) == (1, None, [])
    assert slot.has_room()
    (call,) = submitted(slot, tmp_path, 1)
    busy = slot.executor
    assert busy is not worker
    slot.close()  # what runs there would go on for nobody
    assert (busy.kills, busy.shutdowns, slot.calls) == (1, [], [])
    idle = slot.executor = KillableWorker()
    slot.close()
    assert (idle.kills, idle.shutdowns, slot.executor) == (0, [True], None)


def test_what_we_made_is_ended_and_the_users_is_not(tmp_path: Path) -> None:
    make, given = Maker(), CommandExecutor()
    for slot in (ExecutorSlot(make=make), ExecutorSlot(given)):
        submitted(slot, tmp_path, 0)
        slot.close()
        assert slot.calls == []
    assert make.made[0].shutdowns == [False]
    assert given.shutdowns == []
    assert given.futures[0].cancelled()
    assert make.made[0].futures[0].cancelled()


# All slots together


def workers(*capacities: int) -> tuple[Workers, list[CommandExecutor]]:
    executors = [CommandExecutor() for _ in capacities]
    slots = [ExecutorSlot(executor, capacity=n) for executor, n in zip(executors, capacities)]
    return Workers(slots, objective), executors


def test_calls_go_to_slots_that_have_room(tmp_path: Path) -> None:
    race, executors = workers(1, 2)
    for number in range(3):
        assert race.has_room()
        assert race.submit(attempt(tmp_path, number))
    assert not race.has_room()
    assert [len(executor.futures) for executor in executors] == [1, 2]
    assert list(race.running) == [0, 1, 2]


def test_what_is_done_is_collected_in_the_order_of_the_attempts(tmp_path: Path) -> None:
    race, executors = workers(4)
    for number, trial_id in ((5, 0), (3, 1), (9, 2), (4, 3)):
        race.submit(attempt(tmp_path, number, trial_id))
    for i in (2, 0, 3):
        executors[0].futures[i].set_result(Outcome({1: float(i)}))
    collected = list(race.collect(0.0))
    assert [(call.attempt.number, outcome) for call, outcome in collected] == [
        (4, Outcome({1: 3.0})),
        (5, Outcome({1: 0.0})),
        (9, Outcome({1: 2.0})),
    ]
    assert list(race.running) == [1]
    assert list(race.collect(0.0)) == []
    assert list(race.collect(-1.0)) == []


def test_a_call_is_out_of_the_running_when_it_is_handed_over_and_the_others_of_its_round_are_not(
    tmp_path: Path,
) -> None:
    race, executors = workers(2)
    for number in range(2):
        race.submit(attempt(tmp_path, number))
        executors[0].futures[number].set_result(Outcome())
    assert [sorted(race.running) for _ in race.collect(0.0)] == [[1], []]


def test_futures_of_other_engines_are_looked_at_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reference:
        looked = 0

        def done(self) -> bool:
            self.looked += 1
            return self.looked > 3

        def result(self) -> Outcome:
            return Outcome({1: 0.5})

    executor, waits = CommandExecutor(), []
    executor.submit = lambda *arguments: Reference()
    monkeypatch.setattr(engines.time, 'sleep', waits.append)
    race = Workers([ExecutorSlot(executor)], objective)
    race.submit(attempt(tmp_path))
    assert [outcome for _, outcome in race.collect(1e6)] == [Outcome({1: 0.5})]
    assert waits == [engines.POLL] * 3


def test_futures_as_python_has_them_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race, executors = workers(2)
    for number in range(2):
        race.submit(attempt(tmp_path, number))
    waits = []

    def wait_for(futures: list[Future], seconds: float, until: str) -> None:
        waits.append((futures, until))
        executors[0].futures[1].set_result(Outcome({1: 0.5}))
        assert seconds <= 1e6

    monkeypatch.setattr(engines, 'wait_for', wait_for)
    assert [call.attempt.number for call, _ in race.collect(1e6)] == [1]
    assert waits == [(executors[0].futures, FIRST_COMPLETED)]


def test_what_is_given_up_is_not_waited_for(tmp_path: Path) -> None:
    race, executors = workers(1)
    race.submit(attempt(tmp_path))
    executors[0].futures[0].set_running_or_notify_cancel()
    (call,) = race.running.values()
    race.give_up(call)
    assert race.running == {}
    assert not race.has_room()
    executors[0].futures[0].set_result(Outcome())
    assert list(race.collect(0.0)) == []
    assert race.has_room()


def test_workers_are_broken_when_all_slots_are(tmp_path: Path) -> None:
    refusing = [ExecutorSlot(CommandExecutor(RuntimeError(word)), capacity=2) for word in ('a', 'b')]
    race = Workers(refusing, objective)
    assert race.broken() is None
    assert not race.submit(attempt(tmp_path, 0))
    assert race.broken() is None
    assert race.running == {}
    assert not race.submit(attempt(tmp_path, 1))
    assert race.broken() == 'RuntimeError: a'
    assert not race.has_room()


def test_to_close_ends_everything(tmp_path: Path) -> None:
    race, executors = workers(1, 1)
    for number in range(2):
        race.submit(attempt(tmp_path, number))
    race.close()
    assert race.running == {}
    assert all(executor.futures[0].cancelled() for executor in executors)


# What the tuner's arguments ask for


def test_one_worker_is_this_process_unless_it_must_be_killable() -> None:
    (slot,) = slots_for(None, 1, None, own_process=False)
    assert isinstance(slot.executor, InlineExecutor)
    (slot,) = slots_for(None, 1, None, own_process=True)
    assert slot.executor is None
    assert slot.make is not None


def test_several_workers_are_processes_of_one_call_each_with_their_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, 'WorkerProcess', lambda device: f'sees {device}')
    made = {devices: slots_for(None, 2, devices, own_process=True) for devices in (None, ('a', 'b', 'c'))}
    assert [[slot.make() for slot in slots if slot.make] for slots in made.values()] == [
        ['sees None', 'sees None'],
        ['sees a', 'sees b'],
    ]
    assert {slot.capacity for slots in made.values() for slot in slots} == {1}


def test_an_executor_or_its_maker_is_one_slot_of_many_calls() -> None:
    executor = CommandExecutor()
    (slot,) = slots_for(executor, 3, None, own_process=False)
    assert (slot.executor, slot.make, slot.capacity) == (executor, None, 3)
    for maker in (CommandExecutor, ThreadPoolExecutor):  # a class has `submit` too, and is a maker all the same
        (slot,) = slots_for(maker, 3, None, own_process=False)
        assert (slot.executor, slot.make, slot.capacity) == (None, maker, 3)


@pytest.mark.parametrize('executor', ['threads', 4, [CommandExecutor()]])
def test_what_is_neither_is_refused(executor: object) -> None:
    with pytest.raises(ArgumentError, match='executor'):
        slots_for(executor, 2, None, own_process=False)


def test_no_call_is_blamed_where_an_executor_of_the_user_broke_with_several_on_it(tmp_path: Path) -> None:
    executor = CommandExecutor()
    slot = ExecutorSlot(executor, capacity=3)
    calls = submitted(slot, tmp_path, 0, 1, 2)
    for call, future in zip(calls, executor.futures):
        begin(call)
        future.set_exception(BrokenExecutor('a worker died'))
    outcomes = [slot.outcome(call, objective) for call in calls]
    assert [isinstance(outcome, LostCall) and outcome.attributable for outcome in outcomes] == [False, False, False]
