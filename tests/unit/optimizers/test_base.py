"""What all optimizers share, through ask and tell."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from hypothesis import given, settings
from hypothesis import strategies as st
from surrogates import QUICK

from hpo4dl import ASHA, ArgumentError, DyHPO, Hyperband, RandomSearch, Trial

KINDS = [DyHPO, Hyperband, ASHA, RandomSearch]
FAST = [Hyperband, ASHA, RandomSearch]


def space() -> ConfigurationSpace:
    return ConfigurationSpace({'x': (0.0, 1.0), 'n': (1, 64)})


def small_space() -> ConfigurationSpace:
    return ConfigurationSpace({'a': ['p', 'q'], 'n': (1, 3)})


def make(kind, configuration_space: ConfigurationSpace | None = None, max_epochs: int | None = None, **arguments):
    """An optimizer; DyHPO with so few epochs that its surrogate decides after 15 steps."""
    if kind is DyHPO:
        arguments = {'num_configurations': 30, 'policy': QUICK, **arguments}
    return kind(configuration_space or space(), max_epochs or (3 if kind is DyHPO else 9), **arguments)


def metrics_of(trial: Trial) -> dict[int, float]:
    return {e: float(np.sin(10 * trial.id + e)) for e in range(trial.previous_epoch + 1, trial.epoch + 1)}


class Workers:
    """Runs steps several at a time, lets them end in any order, and checks what holds for every race."""

    def __init__(self, optimizer, workers: int, seed: int, failing: float) -> None:
        self.optimizer = optimizer
        self.workers = workers
        self.failing = failing
        self.random = random.Random(seed)
        self.running: list[Trial] = []
        self.trained: dict[int, int] = {}
        self.configurations: dict[int, tuple] = {}
        self.over: set[int] = set()
        self.record: list[tuple[str, Trial, dict[int, float], str | None]] = []

    def ask(self) -> bool:
        trial = self.optimizer.ask()
        if trial is None:
            return False
        assert trial.id not in [other.id for other in self.running], 'running twice at once'
        assert trial.id not in self.over, 'its checkpoint was given up'
        assert trial.previous_epoch == self.trained.get(trial.id, 0), 'an epoch is skipped, or trained twice'
        assert trial.previous_epoch < trial.epoch <= self.optimizer.max_epochs
        configuration = tuple(trial.configuration.items())
        assert self.configurations.setdefault(trial.id, configuration) == configuration
        assert len(set(self.configurations.values())) == len(self.configurations), 'a configuration raced twice'
        self.running.append(trial)
        self.record.append(('ask', trial, {}, None))
        return True

    def end_one(self) -> None:
        trial = self.running.pop(self.random.randrange(len(self.running)))
        metrics, failed = metrics_of(trial), None
        if self.random.random() < self.failing:
            metrics = dict(list(metrics.items())[: self.random.randrange(len(metrics) + 1)])
            failed = 'out of memory'
        self.optimizer.tell(trial, metrics, failed)
        self.trained[trial.id] = max(metrics, default=trial.previous_epoch)
        self.record.append(('tell', trial, metrics, failed))
        if failed:
            assert not self.optimizer.is_alive(trial.id)
        self.over |= {i for i in self.trained if not self.optimizer.is_alive(i)}

    def run(self, steps: int) -> bool:
        """Returns whether the race came to its end by itself."""
        for _ in range(steps):
            while len(self.running) < self.workers and self.ask():
                pass
            if not self.running:
                return True
            self.end_one()
        return False


races = given(workers=st.integers(1, 5), seed=st.integers(0, 2**32), failing=st.sampled_from([0.0, 0.2]))


@pytest.mark.parametrize('kind', FAST)
@settings(deadline=None, derandomize=True, max_examples=15)
@races
def test_no_step_is_trained_twice_whoever_ends_first(kind, workers: int, seed: int, failing: float) -> None:
    assert not Workers(make(kind, seed=seed), workers, seed, failing).run(60)


@pytest.mark.parametrize('workers', [1, 4])
def test_no_step_of_dyhpo_is_trained_twice(workers: int) -> None:
    assert not Workers(make(DyHPO, seed=workers), workers, workers, 0.2).run(24)


@pytest.mark.parametrize('kind', FAST)
@settings(deadline=None, derandomize=True, max_examples=15)
@races
def test_a_small_space_is_trained_to_the_end(kind, workers: int, seed: int, failing: float) -> None:
    race = Workers(make(kind, small_space(), seed=seed), workers, seed, failing)
    assert race.run(200)
    assert len(race.configurations) == 6
    if not failing:
        assert set(race.trained.values()) == {9}
    assert race.over == set(range(6))


@pytest.mark.parametrize('workers', [1, 3])
def test_a_small_space_is_trained_to_the_end_by_dyhpo(workers: int) -> None:
    race = Workers(make(DyHPO, small_space(), seed=0), workers, 0, 0.0)
    assert race.run(40)
    assert race.trained == dict.fromkeys(range(6), 3)


@pytest.mark.parametrize('kind', KINDS)
def test_a_single_configuration_is_trained_to_the_end(kind) -> None:
    race = Workers(make(kind, ConfigurationSpace({'a': 7}), 4, seed=0), 2, 0, 0.0)
    assert race.run(10)
    assert race.trained == {0: 4}
    assert race.record[0][1].configuration == {'a': 7}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('steps', [3, 20])
def test_replay_brings_an_optimizer_back(kind, steps: int) -> None:
    race = Workers(make(kind, seed=5), 3, 1, 0.2)
    race.run(steps)
    other = make(kind, seed=5)
    for what, trial, metrics, failed in race.record:
        if what == 'ask':
            other.replay(trial)
        else:
            other.tell(trial, metrics, failed)
    assert [other.is_alive(i) for i in race.configurations] == [race.optimizer.is_alive(i) for i in race.configurations]
    for _ in range(6):
        trial = race.optimizer.ask()
        assert other.ask() == trial
        if trial is not None:
            for optimizer in (race.optimizer, other):
                optimizer.tell(trial, metrics_of(trial))


def first_steps(optimizer, n: int = 18) -> list[Trial]:
    trials = []
    for _ in range(n):
        trials.append(optimizer.ask())
        optimizer.tell(trials[-1], metrics_of(trials[-1]))
    return trials


@pytest.mark.parametrize('kind', KINDS)
def test_the_seed_decides(kind) -> None:
    drawn = make(kind)
    trials = first_steps(drawn)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    assert first_steps(make(kind, seed=np.int64(drawn.seed))) == trials
    assert make(kind).ask().configuration != trials[0].configuration


@pytest.mark.parametrize('kind', KINDS)
def test_to_minimize_is_to_maximize_the_negative(kind) -> None:
    up, down = make(kind, seed=0), make(kind, seed=0, minimize=True)
    for _ in range(18):
        trial = up.ask()
        assert down.ask() == trial
        up.tell(trial, metrics_of(trial))
        down.tell(trial, {epoch: -metric for epoch, metric in metrics_of(trial).items()})


@pytest.mark.parametrize('kind', KINDS)
def test_initial_configurations_start_first_and_once(kind) -> None:
    initial = [{'x': 0.25, 'n': 3}, {'x': 0.5, 'n': 64}, {'x': 0.25, 'n': 3}]
    optimizer = make(kind, seed=0, initial_configurations=initial)
    started = [optimizer.ask() for _ in range(4)]
    assert [trial.configuration for trial in started[:2]] == initial[:2]
    assert started[2].configuration not in initial
    assert [trial.id for trial in started] == [0, 1, 2, 3]


@pytest.mark.parametrize('kind', KINDS)
def test_only_candidates_race(kind) -> None:
    candidates = [{'x': 0.125 * i, 'n': i + 1} for i in range(5)]
    optimizer = make(kind, max_epochs=2, seed=0, candidates=candidates, initial_configurations=candidates[3:4])
    race = Workers(optimizer, 1, 0, 0)
    assert race.run(20)
    assert race.record[0][1].configuration == candidates[3]
    assert sorted(dict(c)['n'] for c in race.configurations.values()) == [1, 2, 3, 4, 5]


def test_metrics_are_one_an_epoch_or_by_epoch() -> None:
    optimizer = RandomSearch(space(), 3, seed=0)
    for metrics in (
        [1, 2.0, np.float32(3)],
        (1.0, 2.0, 3.0),
        np.array([1.0, 2.0, 3.0]),
        torch.tensor([1.0, 2.0, 3.0]),
        {1: 1.0, np.int64(2): 2.0, 3: torch.tensor(3.0)},
    ):
        trial = optimizer.ask()
        optimizer.tell(trial, metrics)
        curve = optimizer.curves[trial.id]
        assert (curve.epoch, curve.epochs, curve.values) == (3, [1, 2, 3], [1.0, 2.0, 3.0])


def test_epochs_without_a_value_count_as_trained() -> None:
    optimizer = RandomSearch(space(), 3, seed=0)
    trial = optimizer.ask()
    optimizer.tell(trial, {3: 0.5})
    assert optimizer.curves[trial.id].epoch == 3
    assert optimizer.ask().id != trial.id


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_fails_the_trial_and_what_was_before_counts(bad: float) -> None:
    optimizer = RandomSearch(space(), 4, seed=0)
    trial = optimizer.ask()
    optimizer.tell(trial, [1.0, 2.0, bad, 4.0])
    curve = optimizer.curves[trial.id]
    assert (curve.epoch, curve.values) == (2, [1.0, 2.0])
    assert curve.failed == f'the metric of epoch 3 is {bad}'
    assert not optimizer.is_alive(trial.id)


@pytest.mark.parametrize(
    ('metrics', 'accepted'),
    [
        (None, 'at least one value, or a reason'),
        ([], 'at least one value, or a reason'),
        ({}, 'at least one value, or a reason'),
        ([1.0, 2.0, 3.0, 4.0], 'epochs from 1 to 3'),
        ({4: 1.0}, 'epochs from 1 to 3'),
        ({0: 1.0}, 'epochs from 1 to 3'),
        ({1.5: 1.0}, 'epochs from 1 to 3'),
        ({'last': 1.0}, 'epochs from 1 to 3'),
        (0.61, 'a list of numbers'),
        (np.float64(0.61), 'a list of numbers'),
        ('high', 'a list of numbers'),
        ([None], 'a list of numbers'),
        ({1: [1.0]}, 'a list of numbers'),
    ],
)
def test_metrics_that_cannot_be_used_are_named_and_the_trial_still_runs(metrics, accepted: str) -> None:
    optimizer = RandomSearch(space(), 3, seed=0)
    trial = optimizer.ask()
    with pytest.raises(ArgumentError, match=f'metrics: .*{accepted}'):
        optimizer.tell(trial, metrics)
    optimizer.tell(trial, [1.0, 2.0, 3.0])


def test_a_reason_that_is_no_text_is_named() -> None:
    optimizer = RandomSearch(space(), 3, seed=0)
    with pytest.raises(ArgumentError, match='failed: '):
        optimizer.tell(optimizer.ask(), failed=True)


def test_only_what_runs_can_be_told() -> None:
    optimizer = make(DyHPO, seed=0)
    first = optimizer.ask()
    optimizer.tell(first, [1.0])
    while (second := optimizer.ask()).id != first.id:
        optimizer.tell(second, [0.0])
    stale = [first, Trial(99, {}, 0, 1), first.id, None]
    for trial in stale:
        with pytest.raises(ArgumentError, match=r'trial: .*asked for and not yet told'):
            optimizer.tell(trial, [1.0])
    optimizer.tell(second, [2.0])
    assert optimizer.curves[first.id].values == [1.0, 2.0]


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('max_epochs', 0),
        ('max_epochs', 2.0),
        ('max_epochs', True),
        ('minimize', 'yes'),
        ('minimize', None),
        ('seed', -1),
        ('seed', 0.5),
        ('configuration_space', ConfigurationSpace()),
        ('configuration_space', {'x': (0.0, 1.0)}),
        ('candidates', []),
        ('candidates', {'x': 0.5, 'n': 1}),
        ('candidates', [{'x': 2.0, 'n': 1}]),
        ('initial_configurations', 3),
        ('initial_configurations', {'x': 0.5, 'n': 1}),
        ('initial_configurations', [{'x': 0.5}]),
    ],
)
def test_a_bad_argument_is_named(argument: str, value) -> None:
    arguments = {'configuration_space': space(), 'max_epochs': 9, argument: value}
    with pytest.raises(ArgumentError, match=f'(?s)^{argument}: .*accepted: '):
        RandomSearch(**arguments)


def test_an_initial_configuration_must_be_a_candidate() -> None:
    with pytest.raises(ArgumentError, match=r'initial_configurations: .*`candidates`'):
        RandomSearch(space(), 9, candidates=[{'x': 0.5, 'n': 1}], initial_configurations=[{'x': 0.5, 'n': 2}])


def test_costs_are_one_a_metric_or_by_epoch() -> None:
    optimizer = RandomSearch(space(), 3, seed=0)
    trial = optimizer.ask()
    optimizer.tell(trial, [0.5, 0.25, 0.5], costs=[2, 0, 4.5])
    assert optimizer.curves[trial.id].costs == [2.0, 0.0, 4.5]
    trial = optimizer.ask()
    optimizer.tell(trial, {1: 0.5, 3: 0.25}, costs={3: np.float32(8)})
    assert [str(cost) for cost in optimizer.curves[trial.id].costs] == ['nan', '8.0']
    trial = optimizer.ask()
    optimizer.tell(trial, [0.5, math.nan], costs=[2, 3])
    assert optimizer.curves[trial.id].costs == [2.0]
    trial = optimizer.ask()
    optimizer.tell(trial, [0.5])
    assert [str(cost) for cost in optimizer.curves[trial.id].costs] == ['nan']


@pytest.mark.parametrize('bad', [[-1.0], [math.nan], [math.inf], ['x'], 3, [1, 2, 3, 4], {0: 1.0}, {4: 1.0}])
def test_costs_that_cannot_be_used_are_named_and_the_trial_still_runs(bad) -> None:
    optimizer = RandomSearch(space(), 3, seed=0)
    trial = optimizer.ask()
    with pytest.raises(ArgumentError) as raised:
        optimizer.tell(trial, [0.5], costs=bad)
    assert raised.value.argument == 'costs'
    optimizer.tell(trial, [0.5], costs=[1.0])


@pytest.mark.parametrize('kind', [ASHA, Hyperband, RandomSearch])
def test_costs_change_no_decision_of_those_that_do_not_weigh_them(kind) -> None:
    def steps(**costs: list[float]) -> list[Trial | None]:
        optimizer, asked = make(kind, seed=0), []
        for _ in range(20):
            asked.append(trial := optimizer.ask())
            n = trial.epoch - trial.previous_epoch
            optimizer.tell(trial, metrics_of(trial), **{name: values * n for name, values in costs.items()})
        return asked

    assert steps(costs=[3.0]) == steps()
