"""The loop with a scripted optimizer and scripted workers, a real journal, and real folders of checkpoints."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import Clock, OurLock, RandomOptimizer, ScriptedOptimizer, ScriptedWorkers
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo4dl import ArgumentError, RunLockedError, StorageError, Trial
from hpo4dl.execution.engines import LostCall
from hpo4dl.execution.signals import Signals
from hpo4dl.race.budget import Budget
from hpo4dl.race.loop import Loop
from hpo4dl.race.planner import Planner
from hpo4dl.race.resuming import follow_journal
from hpo4dl.race.retries import MAX_SHARED_LOSSES, Retries
from hpo4dl.race.stopping import Deadline, StoppingRules
from hpo4dl.race.storage import Storage
from hpo4dl.records.checkpoints import Checkpoints
from hpo4dl.records.disk_quota import DiskQuota
from hpo4dl.records.journal import SCHEMA, Journal
from hpo4dl.records.lock import Lock
from hpo4dl.records.recorder import Recorder
from hpo4dl.records.state import RunState
from hpo4dl.trial import Attempt, Outcome

NOTHING_LEFT = (
    'nothing is left to train: no configuration was found that is new and not forbidden, and what was begun is trained '
    'to the end or failed; or all rounds are over'
)


def trained(attempt: Attempt) -> Outcome:
    """Metrics of 1 / epoch, the larger the trial's number."""
    epochs = range(attempt.trial.previous_epoch + 1, attempt.trial.epoch + 1)
    return Outcome({epoch: attempt.trial.id + 1 / epoch for epoch in epochs}, seconds=1.0, size=10)


def crashed(attempt: Attempt) -> Outcome:
    return Outcome(failed='crash', traceback='trace', seconds=1.0)


def late(attempt: Attempt) -> Outcome:
    """Failed after its first epoch."""
    first = attempt.trial.previous_epoch + 1
    return Outcome({first: attempt.trial.id + 1 / first}, failed='late', seconds=1.0, size=10)


def shared(attempt: Attempt) -> LostCall:
    return LostCall('its worker died', attributable=False)


def own_fault(attempt: Attempt) -> LostCall:
    return LostCall('its worker died', attributable=True)


def in_turn(*plays: Callable[[Attempt], Outcome | LostCall | None]) -> Callable[[Attempt], Outcome | LostCall | None]:
    """One play after the other, the last one from then on."""
    left = list(plays)
    return lambda attempt: (left.pop(0) if len(left) > 1 else left[0])(attempt)


@dataclass
class Race:
    """A loop and what it is made of, in a folder; `events` says what the journal has."""

    folder: Path
    steps: list[Trial]
    play: Callable[[Attempt], Outcome | LostCall | None] = trained
    room: int = 1
    budget: float | None = None
    unit: str = 'epochs'
    max_epochs: int = 10**6
    retry: int = 0
    limit: float | None = None
    max_disk: int | None = None
    keep: str = 'all'
    mode: str = 'copy'
    gain: float = math.inf
    least_gain: float | None = None
    trial_timeout: float | None = None
    log: list[Any] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / 'checkpoints').mkdir(exist_ok=True)
        self.journal = Journal(self.folder)
        if not self.journal.path.exists():
            self.journal.begin({'event': 'run', 'schema': SCHEMA, 'run': 'r'})
        self.state = RunState(minimize=True)
        list(self.state.follow(self.journal))
        self.optimizer = ScriptedOptimizer(self.steps, self.log, self.gain)
        self.workers = ScriptedWorkers(self.play, self.room)
        self.signals = Signals()
        best = self.folder / 'best_trial'
        self.checkpoints = Checkpoints(self.folder / 'checkpoints', best, self.keep, self.mode)

    @contextmanager
    def loop(self) -> Iterator[Loop]:
        with Lock(self.folder) as lock:
            recorder = Recorder(self.journal, lock, self.state, dict)
            storage = Storage(self.checkpoints, DiskQuota(self.max_disk), recorder, self.optimizer)
            retries = Retries(self.state, self.retry)
            budget = Budget(self.budget, self.unit, self.max_epochs)
            yield Loop(
                planner=Planner(self.optimizer, budget, retries, storage, self.workers, self.least_gain),
                storage=storage,
                rules=StoppingRules(Deadline(self.limit, math.inf, self.clock), budget, None),
                workers=self.workers,
                signals=self.signals,
                observe=self._observe,
                take_requests=lambda loop: None,
                trial_timeout=self.trial_timeout,
            )

    def run(self) -> str:
        with self.loop() as loop:
            return loop.run().reason

    def _observe(
        self, trial: Trial, metrics: Mapping[int, float], failed: str | None, state: RunState, running: int
    ) -> None:
        self.log.append(('observe', trial.id, dict(metrics), failed, state.epochs_spent, running))

    @property
    def events(self) -> list[tuple[Any, ...]]:
        """Kind and trial of all but the first."""
        return [(event['event'], event.get('trial')) for event in self.journal][1:]


def new(trial_id: int, epoch: int = 1) -> Trial:
    return Trial(trial_id, {'x': trial_id}, 0, epoch)


def test_the_order_of_what_happens_to_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race = Race(tmp_path / 'run', [new(0), Trial(0, {'x': 0}, 1, 3)], keep='alive')
    seen: list[str] = []

    def spying(owner: Any, name: str) -> None:
        act = getattr(owner, name)

        def spy(*arguments: Any, **more: Any) -> Any:
            seen.append(f'{name} {arguments[0]["event"]}' if name == 'append' else name)
            return act(*arguments, **more)

        monkeypatch.setattr(owner, name, spy)

    for owner, names in (
        (race.journal, ['append']),
        (race.checkpoints, ['begin', 'adopt', 'discard', 'publish', 'unneeded']),
        (race.optimizer, ['ask', 'tell']),
        (race.workers, ['submit']),
        (race, ['_observe']),
    ):
        for name in names:
            spying(owner, name)
    assert race.run() == NOTHING_LEFT
    assert race.workers.attempts[1].source == race.workers.attempts[0].folder
    once = ['ask', 'append start', 'begin', 'submit', 'append result', 'adopt', 'publish', 'tell', 'unneeded']
    assert seen == [*once, '_observe', *once, '_observe', 'ask']


def test_a_race_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    steps = [new(0, 2), new(1), Trial(0, {'x': 0}, 2, 4)]
    race = Race(tmp_path / 'run', steps)
    assert race.run() == NOTHING_LEFT
    assert race.log == [
        ('ask', 0),
        ('tell', steps[0], {1: 1.0, 2: 0.5}, None),
        ('observe', 0, {1: 1.0, 2: 0.5}, None, 2, 0),
        ('ask', 1),
        ('tell', steps[1], {1: 2.0}, None),
        ('observe', 1, {1: 2.0}, None, 3, 0),
        ('ask', 0),
        ('tell', steps[2], {3: 1 / 3, 4: 0.25}, None),
        ('observe', 0, {3: 1 / 3, 4: 0.25}, None, 5, 0),
        ('ask', None),
    ]
    assert race.events == [(kind, trial) for trial in (0, 1, 0) for kind in ('start', 'result')]
    assert (race.folder / 'best_trial' / 'weights').read_text().strip() == '0: 4'
    assert {path.name for path in (race.folder / 'checkpoints' / 'trial_0').iterdir()} == {'attempt_2'}
    read = RunState(minimize=True)
    list(read.follow(race.journal))
    assert read.incumbent_row() == race.state.incumbent_row()


def test_a_failed_call_is_told_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0, 2), Trial(0, {'x': 0}, 2, 3), new(1)], in_turn(trained, crashed, crashed))
    race.run()
    tells = [entry[1:] for entry in race.log if entry[0] == 'tell']
    assert [(trial.id, metrics, failed) for trial, metrics, failed in tells] == [
        (0, {1: 1.0, 2: 0.5}, None),
        (0, {}, 'crash'),
        (1, {}, 'crash'),
    ]
    assert {path.name for path in race.folder.glob('checkpoints/*/*')} == {'attempt_0'}
    assert (race.folder / 'best_trial' / 'weights').read_text().strip() == '0: 2'


def test_a_failed_call_that_found_the_best_metric_is_published(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0, 2)], lambda attempt: Outcome({1: 0.5}, failed='late', size=10))
    race.run()
    assert (race.folder / 'best_trial' / 'weights').read_text().strip() == '0: 2'


def test_what_is_not_alive_when_it_is_told_loses_its_checkpoint(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)], keep='alive')
    race.optimizer.dead = {0}
    race.run()
    assert {path.name for path in (race.folder / 'checkpoints').iterdir()} == {'trial_1'}
    assert set(race.state.checkpoints) == {1}
    assert race.events == [('start', 0), ('result', 0), ('start', 1), ('result', 1)]  # that is no eviction


# Calls that are made again


def test_a_call_is_made_again_as_often_as_asked_and_its_decision_stays_one(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)], in_turn(crashed, own_fault, trained), retry=2)
    race.run()
    assert race.events == [('start', 0), ('lost', 0), ('start', 0), ('lost', 0), ('start', 0), ('result', 0)]
    assert [entry[0] for entry in race.log] == ['ask', 'tell', 'observe', 'ask']
    assert [attempt.number for attempt in race.workers.attempts] == [0, 1, 2]
    assert {path.name for path in race.folder.glob('checkpoints/*/*')} == {'attempt_2'}
    assert race.state.epochs_spent == 1


def test_a_call_that_fails_once_too_often_fails_its_trial(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)], own_fault, retry=1)
    race.run()
    assert race.events == [('start', 0), ('lost', 0), ('start', 0), ('result', 0)]
    assert ('tell', new(0), {}, 'its worker died') in race.log


def test_in_place_a_call_that_is_made_again_finds_what_was_left(tmp_path: Path) -> None:
    steps = [new(0, 2), Trial(0, {'x': 0}, 2, 3)]
    race = Race(tmp_path / 'run', steps, in_turn(crashed, trained, crashed, trained), retry=1, mode='in-place')
    race.run()
    folder = str(race.folder / 'checkpoints' / 'trial_0' / 'in_place')
    assert [attempt.source for attempt in race.workers.attempts] == [None, None, folder, folder]
    assert {attempt.folder for attempt in race.workers.attempts} == {folder}
    assert {path.name for path in race.folder.glob('checkpoints/*/*')} == {'in_place'}
    assert (race.folder / 'best_trial' / 'weights').read_text().strip() == '0: 3'


def test_calls_that_were_lost_together_are_made_again_alone_and_before_anything_new(tmp_path: Path) -> None:
    concurrent: list[int] = []
    race = Race(tmp_path / 'run', [new(i) for i in range(4)], room=2)

    def play(attempt: Attempt) -> Outcome | LostCall:
        concurrent.append(len(race.workers.running))
        return shared(attempt) if attempt.number < 2 else trained(attempt)

    race.workers.play = play
    race.run()
    kinds = race.events
    assert kinds[:4] == [('start', 0), ('start', 1), ('lost', 0), ('lost', 1)]
    assert kinds[4:8] == [('start', 0), ('result', 0), ('start', 1), ('result', 1)]
    assert sorted(kinds[8:]) == [('result', 2), ('result', 3), ('start', 2), ('start', 3)]
    assert concurrent == [2, 1, 1, 1, 2, 1]


def test_after_too_many_losses_that_nobody_is_to_blame_for_the_trial_fails(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)], shared)
    race.run()
    assert race.events == [('start', 0), ('lost', 0)] * MAX_SHARED_LOSSES + [('start', 0), ('result', 0)]
    assert race.state.trials[0].failed == 'its worker died'


@pytest.mark.parametrize('play', [crashed, own_fault, shared])
def test_what_fails_after_a_signal_stays_undecided_and_is_made_again(
    tmp_path: Path, play: Callable[[Attempt], Outcome | LostCall]
) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)])

    def signaled(attempt: Attempt) -> Outcome | LostCall:
        race.signals.received = 'SIGTERM'
        return play(attempt)

    race.workers.play = signaled
    assert race.run() == 'SIGTERM: the calls that ran then were the last ones'
    assert race.events == [('start', 0)]
    assert race.log == [('ask', 0)]
    resumed = Race(race.folder, [new(1)])
    assert resumed.run() == NOTHING_LEFT
    assert resumed.events == [(kind, trial) for kind, trial in [('start', 0), ('start', 0), ('result', 0)]] + [
        ('start', 1),
        ('result', 1),
    ]
    assert [attempt.number for attempt in resumed.workers.attempts] == [1, 2]


def test_what_succeeds_after_a_signal_counts(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)])

    def signaled(attempt: Attempt) -> Outcome:
        race.signals.received = 'SIGINT'
        return trained(attempt)

    race.workers.play = signaled
    assert race.run() == 'SIGINT: the calls that ran then were the last ones'
    assert race.events == [('start', 0), ('result', 0)]


def test_a_call_that_the_executor_does_not_take_is_made_again_first(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)])
    race.workers.accepts = False
    assert race.run() == 'the executor is broken (no worker)'
    assert race.events == [('start', 0)]
    resumed = Race(race.folder, [new(1)])
    resumed.run()
    assert resumed.events[1:] == [('start', 0), ('result', 0), ('start', 1), ('result', 1)]


def test_a_call_that_was_not_made_goes_before_the_others_that_wait(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)], room=2, limit=10.0)

    def too_long(attempt: Attempt) -> None:
        race.clock.now += 10.0

    race.workers.play = too_long
    race.run()
    resumed = Race(race.folder, [])
    submit, refusals = resumed.workers.submit, [True]

    def submitted(attempt: Attempt) -> bool:
        return not (refusals and refusals.pop()) and submit(attempt)

    resumed.workers.submit = submitted
    resumed.run()
    assert resumed.events[2:] == [('start', 0), ('start', 0), ('result', 0), ('start', 1), ('result', 1)]


def test_how_long_a_decision_took_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    race = Race(tmp_path / 'run', [new(0)])
    clock = Clock()
    monkeypatch.setattr('hpo4dl.race.loop.time.perf_counter', clock)
    ask = race.optimizer.ask

    def slowly() -> Trial | None:
        clock.now += 2.5
        return ask()

    race.optimizer.ask = slowly
    race.run()
    assert [event['overhead'] for event in race.journal if event['event'] == 'result'] == [2.5]


# The disk


def test_trouble_of_the_disk_is_no_result(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)], lambda attempt: Outcome({1: 0.5}, storage='no space left'), retry=3)
    with pytest.raises(StorageError, match='no space left; what was reported before is safe'):
        race.run()
    assert race.events == [('start', 0)]
    assert race.log == [('ask', 0)]
    resumed = Race(race.folder, [])
    resumed.run()
    assert resumed.events == [('start', 0), ('start', 0), ('result', 0)]


def test_a_lock_that_is_lost_is_no_result(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)])

    def taken_over(attempt: Attempt) -> Outcome:
        (race.folder / 'lock').write_text('another')
        return trained(attempt)

    race.workers.play = taken_over
    with pytest.raises(RunLockedError):
        race.run()
    assert race.events == [('start', 0)]
    assert race.log == [('ask', 0)]
    assert not (race.folder / 'best_trial').exists()


def test_a_small_disk_evicts_the_worst_and_trains_it_again_from_its_start(tmp_path: Path) -> None:
    """Each of 10 bytes: the three stored, the copy of the best, one call, and the next copy are 60."""
    steps = [new(2), new(1), new(0), new(3), Trial(2, {'x': 2}, 1, 2)]
    race = Race(tmp_path / 'run', steps, max_disk=50)
    race.run()
    evicted = [trial for kind, trial in race.events if kind == 'evict']
    assert evicted[0] == 2
    assert 0 not in evicted  # the incumbent
    (again,) = [event for event in race.journal if event.get('acknowledged')]
    assert (again['trial'], again['previous_epoch'], again['acknowledged'], again['epoch']) == (2, 0, 1, 2)
    last = race.workers.attempts[-1]
    assert (last.source, last.trial.previous_epoch, last.trial.epoch) == (None, 0, 2)
    tells = [entry for entry in race.log if entry[0] == 'tell']
    assert tells[-1] == ('tell', steps[-1], {2: 2.5}, None)  # to the optimizer it went on
    assert race.state.epochs_spent == 4 + 2
    on_disk = {int(path.name.removeprefix('trial_')) for path in (race.folder / 'checkpoints').iterdir()}
    assert on_disk == set(race.state.checkpoints)


def test_what_is_asked_for_no_more_goes_before_the_worst(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1), new(3), new(2), new(4)], max_disk=50)
    race.optimizer.dead = {1}
    race.run()
    assert [trial for kind, trial in race.events if kind == 'evict'] == [1, 3]


# Stops


def test_the_last_step_is_cut_to_the_budget(tmp_path: Path) -> None:
    steps = [new(0, 4), new(1, 4), new(2, 4)]
    race = Race(tmp_path / 'run', steps, budget=6)
    assert race.run() == 'max_budget: 6 epochs are trained'
    assert race.state.epochs_spent == 6
    assert [(attempt.trial.id, attempt.trial.epoch) for attempt in race.workers.attempts] == [(0, 4), (1, 2)]
    assert [event['wanted'] for event in race.journal if 'wanted' in event] == [4]
    assert [entry[1] for entry in race.log if entry[0] == 'tell'] == [new(0, 4), new(1, 2)]


@pytest.mark.parametrize('budget', [1, 5, 6, 7, 11])
def test_what_runs_counts_to_the_budget(tmp_path: Path, budget: int) -> None:
    race = Race(tmp_path / 'run', [new(i, 3) for i in range(9)], room=4, budget=budget)
    assert race.run().startswith('max_budget')
    assert race.state.epochs_spent == budget
    assert race.workers.most_at_once == min(4, math.ceil(budget / 3))


def test_a_budget_that_does_not_suffice_for_the_next_step(tmp_path: Path) -> None:
    """The trial was evicted: to train it from its start to where it was is no use."""
    race = Race(tmp_path / 'run', [new(0, 3), Trial(0, {'x': 0}, 3, 4)], budget=6)
    original = race.optimizer.tell

    def tell_and_evict(*arguments: Any) -> None:
        original(*arguments)
        del race.state.checkpoints[0]

    race.optimizer.tell = tell_and_evict
    assert race.run() == 'max_budget: the 3 epochs that are left do not suffice for the next step'
    assert len(race.workers.attempts) == 1
    assert race.events == [('start', 0), ('result', 0)]


def test_a_step_that_did_not_begin_is_remembered_and_not_asked_for_again(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1, 5)], limit=3.0)
    with race.loop() as loop:
        stop = loop.run()
        assert (stop.reason, stop.is_final) == (
            'time_limit: 3.0 seconds are left, the next call takes 5.0, it is predicted',
            False,
        )
        assert loop.planner.asked == new(1, 5)
        assert [entry for entry in race.log if entry[0] == 'ask'] == [('ask', 0), ('ask', 1)]
        loop.rules = StoppingRules(Deadline(None, math.inf, race.clock), Budget(None, 'epochs', 9), None)
        assert loop.run().reason == NOTHING_LEFT
        assert loop.planner.asked is None
    assert [entry for entry in race.log if entry[0] == 'ask'] == [('ask', 0), ('ask', 1), ('ask', None)]
    assert race.state.trials[1].epoch == 5


def test_calls_that_run_when_time_is_over_are_cut_short_and_made_again(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)], room=2, limit=10.0)

    def too_long(attempt: Attempt) -> None:
        race.clock.now += 6.0

    race.workers.play = too_long
    assert race.run() == (
        'time_limit: 0.0 seconds are left, no call is started any more; 2 calls were cut short, and will be made again'
    )
    assert race.workers.given_up == [0, 1]
    assert race.events == [('start', 0), ('start', 1)]
    resumed = Race(race.folder, [])
    resumed.run()
    assert [attempt.trial.id for attempt in resumed.workers.attempts] == [0, 1]


def test_a_call_that_takes_too_long_is_given_up_and_failed(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)], trial_timeout=60.0)

    def hangs(attempt: Attempt) -> Outcome | None:
        call = race.workers.running.get(attempt.trial.id)
        if attempt.number > 0:
            return trained(attempt)
        assert call is not None
        call.started_at = time.monotonic() - 61.0
        return None

    race.workers.play = hangs
    assert race.run() == NOTHING_LEFT
    assert race.workers.given_up == [0]
    trial = race.state.trials[0]
    assert (trial.failed, trial.seconds) == ('trial_timeout: no result after 60 seconds', 60.0)
    assert race.state.trials[1].metrics == {1: 2.0}
    assert not (race.folder / 'checkpoints' / 'trial_0' / 'attempt_0').exists()


@pytest.mark.parametrize(('known', 'begun', 'told'), [(True, True, [2]), (False, True, []), (False, False, [1])])
def test_people_are_told_once_where_no_call_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, known: bool, begun: bool, told: list[int]
) -> None:
    """A call takes 1 second, if that is known: ten times as long, and a minute, is too long; so is never to begin."""
    race, looks, said = Race(tmp_path / 'run', [new(0), new(1)]), [], []
    with race.loop() as loop:

        def play(attempt: Attempt) -> Outcome | None:
            if attempt.number == 0 and known:
                return trained(attempt)
            if not begun:
                Path(attempt.started_file).unlink(missing_ok=True)
            said.append(sum('no call came back' in message for message in caplog.messages))
            looks.append(attempt.number)
            loop.heard_at -= {1: 69.0, 2: 2.0}.get(len(looks), 0.0)
            return trained(attempt) if len(looks) > 3 else None

        race.workers.play = play
        loop.run()
    assert said[0] == 0
    assert [n for n, (before, now) in enumerate(zip(said, said[1:]), 1) if now > before] == told


def test_a_call_is_not_too_long_before_it_has_begun(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)], trial_timeout=1e-9)
    waited = []

    def queued(attempt: Attempt) -> Outcome | None:
        Path(attempt.started_file).unlink(missing_ok=True)
        waited.append(attempt)
        return None if len(waited) < 4 else trained(attempt)

    race.workers.play = queued
    race.run()
    assert len(waited) == 4
    assert race.state.trials[0].failed is None


@pytest.mark.parametrize(('gain', 'calls'), [(0.5, 0), (1.0, 2), (2.0, 2), (math.inf, 2)])
def test_no_step_is_asked_for_where_too_little_is_expected_of_it(tmp_path: Path, gain: float, calls: int) -> None:
    race = Race(tmp_path / 'run', [new(0), new(1)], gain=gain, least_gain=1.0)
    reason = race.run()
    assert len(race.workers.attempts) == calls
    assert reason.startswith('stop_when_gain_below') == (calls == 0)


def test_what_runs_is_waited_for_where_too_little_is_expected_and_may_change_that(tmp_path: Path) -> None:
    """The gain sinks while two run; the first result raises it again."""
    race = Race(tmp_path / 'run', [new(i) for i in range(5)], room=3, least_gain=1.0)
    submit, tell = race.workers.submit, race.optimizer.tell

    def submitted(attempt: Attempt) -> bool:
        race.optimizer.gain = 0.0 if attempt.number in (1, 4) else math.inf
        return submit(attempt)

    def told(*arguments: Any) -> None:
        tell(*arguments)
        race.optimizer.gain = math.inf if race.state.epochs_spent < 4 else 0.0

    race.workers.submit, race.optimizer.tell = submitted, told
    reason = race.run()
    assert reason == 'stop_when_gain_below: more training is expected to improve the best metric by 0'
    assert race.state.epochs_spent == 5
    assert not race.state.running
    assert race.events[:3] == [('start', 0), ('start', 1), ('result', 0)]


def test_no_room_for_any_call_is_the_end(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0)], room=0)
    assert race.run() == 'every worker is occupied by a call that was given up (trial_timeout)'


def test_an_optimizer_that_asks_for_what_runs_is_refused(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0), new(0)], room=2)
    with pytest.raises(ArgumentError, match='no trial that is running'):
        race.run()


def test_at_most_as_many_calls_as_there_is_room_for_and_each_trial_once_at_a_time(tmp_path: Path) -> None:
    steps = [new(i) for i in range(7)]
    race = Race(tmp_path / 'run', steps, room=3)
    race.run()
    assert race.workers.most_at_once == 3
    assert race.state.epochs_spent == 7
    starts, results = 0, 0
    for kind, _ in race.events:
        starts, results = starts + (kind == 'start'), results + (kind == 'result')
        assert 0 <= starts - results <= 3


# Random races: any order of results, failures, losses, evictions, a budget, and a kill at any line of the journal


class Killed(BaseException):
    pass


def random_race(folder: Path, chance: random.Random, arguments: dict[str, Any]) -> Race:
    """A race whose calls end in any order and way; it goes on where the journal in the folder ends."""
    race = Race(folder, [], max_epochs=4, **arguments)
    race.optimizer = RandomOptimizer(chance, trials=5, max_epochs=4)
    race.state = RunState(minimize=True)
    follow_journal(race.journal, race.state, race.optimizer, OurLock())

    def play(attempt: Attempt) -> Outcome | LostCall | None:
        if race.workers.running and chance.random() < 0.3 and len(race.workers.running) > 1:
            return None  # a later one ends first
        way = chance.choice([trained, trained, trained, crashed, late, shared, own_fault])
        return way(attempt)

    race.workers.play = play
    return race


def check_journal(race: Race, killed_after: int | None) -> None:
    """Lines alone, read without the package's fold; all calls that ran after so many of them were killed."""
    asked: dict[int, dict[str, Any]] = {}
    running: dict[int, dict[str, Any]] = {}
    reached: dict[int, int] = {}
    stored: set[int] = set()
    spent, attempts, best = 0, 0, math.inf
    for number, event in enumerate(race.journal):
        trial = event.get('trial')
        if number == killed_after:
            running.clear()
        if event['event'] == 'start':
            assert event['attempt'] == attempts
            assert event['previous_epoch'] == (reached.get(trial, 0) if trial in stored else 0)
            assert event['epoch'] > reached.get(trial, 0)
            asked[trial] = running[trial] = event
            attempts += 1
            assert len(running) <= race.room
            assert spent + sum(e['epoch'] - e['previous_epoch'] for e in running.values()) <= (race.budget or math.inf)
        elif event['event'] == 'lost':
            del running[trial]
        elif event['event'] == 'result':
            begun = running.pop(trial)
            del asked[trial]
            assert event['attempt'] == begun['attempt']
            spent += begun['epoch'] - begun['previous_epoch']
            epochs = [entry['epoch'] for entry in event['epochs']]
            assert epochs == list(range(reached.get(trial, 0) + 1, begun['epoch'] + 1)) or event['failed']
            reached[trial] = max([reached.get(trial, 0), *epochs])
            metric = min((entry['metric'] for entry in event['epochs']), default=math.inf)
            stored |= {trial} if event['failed'] is None or metric < best else set()
            best = min(best, metric)
        elif event['event'] == 'evict':
            assert trial not in asked
            stored.remove(trial)
    assert not running
    assert not asked or race.budget is not None  # what waits to be made again may find no budget left
    assert spent == race.state.epochs_spent
    assert stored == set(race.state.checkpoints)


def check_disk(race: Race) -> None:
    names = {str(path.relative_to(race.checkpoints.folder)) for path in race.checkpoints.folder.glob('*/*')}
    assert names == {f'trial_{i}/attempt_{stored.attempt}' for i, stored in race.state.checkpoints.items()}
    best = race.state.incumbent
    assert (race.folder / 'best_trial').exists() == (best is not None)
    if best is not None:
        weights = (race.folder / 'best_trial' / 'weights').read_text()
        reached = [event for event in race.journal if event.get('attempt') == race.state.incumbent_attempt]
        assert weights.strip() == f'{best.trial}: {reached[0]["epoch"]}'


arguments_of_races = st.fixed_dictionaries(
    {
        'room': st.integers(1, 3),
        'retry': st.integers(0, 1),
        'budget': st.sampled_from([None, 1, 5, 12]),
        'max_disk': st.sampled_from([None, 50, 80]),
    }
)


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), arguments_of_races, st.sampled_from([None, 'before', 'after']))
def test_random_races(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random, arguments: dict[str, Any], killed: str | None
) -> None:
    folder = tmp_path_factory.mktemp('run')
    race, killed_after = random_race(folder, chance, arguments), None
    if killed is not None:
        append, instant = race.journal.append, chance.randint(1, 15)

        def killing(event: dict[str, Any], sync: bool = True) -> dict[str, Any]:
            nonlocal instant
            instant -= 1
            if instant == 0 and killed == 'before':
                raise Killed
            written = append(event, sync)
            if instant == 0:
                raise Killed
            return written

        race.journal.append = killing
    try:
        race.run()
    except Killed:
        killed_after = len(list(race.journal))
        race = random_race(folder, chance, arguments)
        with race.loop() as loop:
            loop.storage.take_up(goes_on=True, salvage=False)
            loop.run()
    check_journal(race, killed_after)
    check_disk(race)
    read = RunState(minimize=True)
    list(read.follow(race.journal))
    for step in race.state.running.values():
        step.overhead = 0.0  # is journaled with the result
    assert repr(read) == repr(race.state)


# The rest of a budget, and what is finished after the race


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 3), st.integers(8, 14))
def test_a_budget_of_two_trainings_leaves_a_complete_trial(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random, room: int, budget: int
) -> None:
    race = random_race(tmp_path_factory.mktemp('run'), chance, {'room': room, 'budget': budget})
    race.workers.play = lambda attempt: (
        None if chance.random() < 0.3 and len(race.workers.running) > 1 else trained(attempt)
    )
    race.run()
    assert any(trial.epoch == 4 for trial in race.state.trials.values())
    assert race.state.epochs_spent <= budget


def test_losses_and_failures_on_the_way_to_the_end_lead_to_another_trial(tmp_path: Path) -> None:
    """The best trial is lost once, made again, and fails; what is left finishes the second best."""
    steps = [new(0), new(1, 2), Trial(1, {'x': 1}, 2, 3), new(2), new(3)]
    plays = [*[trained] * 4, own_fault, crashed, trained]
    race = Race(tmp_path / 'run', steps, in_turn(*plays), budget=8, max_epochs=4, retry=1)
    race.run()
    starts = [(e['trial'], e['previous_epoch'], e['epoch'], e.get('by')) for e in race.journal if e['event'] == 'start']
    assert starts[:4] == [(0, 0, 1, None), (1, 0, 2, None), (1, 2, 3, None), (2, 0, 1, None)]
    assert starts[4:] == [*[(0, 1, 3, 'reserve')] * 2, (1, 3, 4, 'reserve')]
    assert race.state.epochs_spent == 8


def test_what_is_kept_is_cut_from_what_the_optimizer_asks_for(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0, 2), new(1, 3)], budget=8, max_epochs=4, room=1)
    race.run()
    starts = [(e['trial'], e['epoch'], e.get('wanted')) for e in race.journal if e['event'] == 'start']
    assert starts == [(0, 2, None), (1, 3, None)]
    race = Race(tmp_path / 'other', [new(0), new(1, 3), new(2, 3)], budget=8, max_epochs=4)
    race.run()
    starts = [(e['trial'], e['epoch'], e.get('wanted'), e.get('by')) for e in race.journal if e['event'] == 'start']
    assert starts == [(0, 1, None, None), (1, 3, None, None), (2, 1, 3, None), (0, 4, None, 'reserve')]


def test_finishing_trains_the_best_to_the_end_and_is_not_charged(tmp_path: Path) -> None:
    race = Race(tmp_path / 'run', [new(0, 2), new(1), new(2)], budget=4, max_epochs=5, keep='alive')
    race.optimizer.dead = {1}
    race.run()
    with race.loop() as loop:
        stop = loop.finish(2)
    assert (stop.reason, stop.is_final) == ('finish: trials trained to epoch 5: 0, 1', True)
    assert (race.state.epochs_spent, race.state.budget_spent) == (4 + 3 + 5, 4)
    starts = [(e['trial'], e['previous_epoch'], e['epoch']) for e in race.journal if e.get('by') == 'finish']
    assert starts == [(0, 2, 4), (0, 4, 5), (1, 0, 2), (1, 2, 4), (1, 4, 5)]  # the checkpoint of 1 was not kept
    replays = [entry[1].id for entry in race.log if entry[0] == 'replay']
    assert replays == [0, 0, 1, 1, 1]
    assert set(race.state.checkpoints) >= {0, 1}
    assert (race.folder / 'best_trial' / 'weights').read_text().strip() == '0: 5'


def test_costs_are_told_to_the_optimizer_and_stop_the_race(tmp_path: Path) -> None:
    told: list[dict[int, float] | None] = []

    class Weighing(ScriptedOptimizer):
        def tell(self, trial: Trial, metrics: Any = None, failed: str | None = None, costs: Any = None) -> None:
            told.append(costs)

    def priced(attempt: Attempt) -> Outcome:
        outcome = trained(attempt)
        outcome.info = {epoch: {'cost': 1.5} for epoch in outcome.metrics}
        return outcome

    race = Race(tmp_path / 'run', [], priced, budget=4.5, unit='reported', max_epochs=9)
    race.optimizer = Weighing([new(0, 2), new(1, 3), new(2)])
    assert race.run() == 'max_budget: 4.5 units of cost are spent'
    assert told == [{1: 1.5, 2: 1.5}, {1: 1.5}]
    assert [e.get('wanted') for e in race.journal if e['event'] == 'start'] == [None, 3]
