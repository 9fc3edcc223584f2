"""Hyperband and ASHA against their papers: tables, formulas in exact fractions, and both algorithms written plainly."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, ForbiddenInClause
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo4dl import ASHA, ArgumentError, Hyperband, Trial
from hpo4dl.optimizers.hyperband import bracket, brackets_below, rung_epochs


def space() -> ConfigurationSpace:
    return ConfigurationSpace({'x': (0.0, 1.0)})


def metric(trial_id: int, epoch: int) -> float:
    """Arbitrary, so that ranks change from epoch to epoch."""
    return float(np.random.default_rng([trial_id, epoch]).normal())


def train(optimizer, steps: int | None = None) -> list[Trial]:
    """Ask and tell, one step after the other, until nothing is left or that many steps are done."""
    trials = []
    while steps is None or len(trials) < steps:
        trial = optimizer.ask()
        if trial is None:
            return trials
        optimizer.tell(trial, {e: metric(trial.id, e) for e in range(trial.previous_epoch + 1, trial.epoch + 1)})
        trials.append(trial)
    return trials


# Li et al. 2018, R = 81, eta = 3: n_i and r_i of each bracket. Those of s = 4 are in their Table 1; n of the others is
# ceil(5 / (s + 1) * 3^s) by Algorithm 1: 33.75, 15, 7.5, 5.
TABLE_81 = {
    4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
    3: [(34, 3), (11, 9), (3, 27), (1, 81)],
    2: [(15, 9), (5, 27), (1, 81)],
    1: [(8, 27), (2, 81)],
    0: [(5, 81)],
}
# The table in the manual of mlr3hyperband, R = 8, eta = 2.
TABLE_8 = {3: [(8, 1), (4, 2), (2, 4), (1, 8)], 2: [(6, 2), (3, 4), (1, 8)], 1: [(4, 4), (2, 8)], 0: [(4, 8)]}


@pytest.mark.parametrize(('max_epochs', 'eta', 'table'), [(81, 3, TABLE_81), (8, 2, TABLE_8)])
def test_brackets_are_those_of_the_tables(max_epochs: int, eta: int, table: dict[int, list[tuple[int, int]]]) -> None:
    assert brackets_below(max_epochs, eta) == max(table)
    for s, rungs in table.items():
        assert [(rung.n, rung.epoch) for rung in bracket(s, max_epochs, eta)] == rungs


@settings(deadline=None, derandomize=True)
@given(max_epochs=st.integers(1, 10_000), eta=st.integers(2, 7))
def test_brackets_end_at_max_epochs_and_follow_algorithm_1(max_epochs: int, eta: int) -> None:
    s_max = brackets_below(max_epochs, eta)
    assert eta**s_max <= max_epochs < eta ** (s_max + 1)
    assert rung_epochs(max_epochs, eta) == [rung.epoch for rung in bracket(s_max, max_epochs, eta)]
    for s in range(s_max + 1):
        rungs = bracket(s, max_epochs, eta)
        n = math.ceil(Fraction(s_max + 1, s + 1) * eta**s)
        assert [rung.n for rung in rungs] == [math.floor(Fraction(n, eta**i)) for i in range(s + 1)]
        assert rungs[-1].n >= 1
        assert rungs[-1].epoch == max_epochs
        epochs = [rung.epoch for rung in rungs]
        assert sorted(set(epochs)) == epochs
        assert all(abs(e - Fraction(max_epochs, eta ** (s - i))) <= Fraction(1, 2) for i, e in enumerate(epochs))


def test_one_round_trains_what_the_table_says_and_nothing_twice() -> None:
    trials = train(Hyperband(space(), 81, rounds=1, seed=0))
    steps = Counter((trial.previous_epoch, trial.epoch) for trial in trials)
    # Rung i of bracket s is reached from rung i - 1, or from nothing.
    expected: Counter[tuple[int, int]] = Counter()
    for rungs in TABLE_81.values():
        for (_, before), (n, epoch) in zip([(0, 0), *rungs], rungs):
            expected[before, epoch] += n
    assert steps == expected
    assert sum(trial.epoch - trial.previous_epoch for trial in trials) == 297 + 276 + 279 + 324 + 405


def successive_halving(first: int, rungs: list[tuple[int, int]]) -> Counter[tuple[int, int]]:
    """(trial, epoch) of every step of one bracket, whose trials are numbered from `first` on."""
    members = list(range(first, first + rungs[0][0]))
    steps: Counter[tuple[int, int]] = Counter()
    for n, epoch in rungs:
        members = members[:n]
        steps.update((i, epoch) for i in members)
        members.sort(key=lambda i: metric(i, epoch), reverse=True)
    return steps


@pytest.mark.parametrize('max_epochs', [1, 2, 27, 52, 81, 243])
def test_rounds_of_successive_halving_promote_the_best_of_each_rung(max_epochs: int) -> None:
    trials = train(Hyperband(space(), max_epochs, rounds=2, seed=0))
    expected: Counter[tuple[int, int]] = Counter()
    first = 0
    for s in 2 * list(range(brackets_below(max_epochs, 3), -1, -1)):
        rungs = [(rung.n, rung.epoch) for rung in bracket(s, max_epochs, 3)]
        expected += successive_halving(first, rungs)
        first += rungs[0][0]
    assert Counter((trial.id, trial.epoch) for trial in trials) == expected
    assert max(trial.epoch for trial in trials) == max_epochs


def test_without_rounds_it_goes_on_for_ever() -> None:
    optimizer = Hyperband(space(), 9, seed=0)
    one_round = len(train(Hyperband(space(), 9, rounds=1, seed=0)))
    trials = train(optimizer, 5 * one_round)
    assert len(trials) == 5 * one_round
    shape = [(trial.previous_epoch, trial.epoch) for trial in trials]
    assert shape == 5 * shape[:one_round]


def test_a_step_cut_short_is_made_up_for() -> None:
    optimizer = Hyperband(space(), 9, seed=0)
    trials = train(optimizer, 10)  # nine for one epoch, then the best is promoted to epoch 3
    assert (trials[-1].previous_epoch, trials[-1].epoch) == (1, 3)
    second = optimizer.ask()
    optimizer.tell(second, [0.5])  # one of the two epochs
    again = optimizer.ask()
    assert (again.id, again.previous_epoch, again.epoch) == (second.id, 2, 3)


def test_failed_trials_are_not_promoted() -> None:
    optimizer = Hyperband(space(), 9, rounds=1, seed=0)
    first = [optimizer.ask() for _ in range(9)]
    for trial in first:
        if trial.id < 7:
            optimizer.tell(trial, failed='out of memory')
        else:
            optimizer.tell(trial, [trial.id - 100.0])
    promoted = [optimizer.ask() for _ in range(2)]
    assert [(trial.id, trial.epoch) for trial in promoted] == [(8, 3), (7, 3)]
    assert optimizer.ask().previous_epoch == 0  # the next bracket, while these two run
    assert not optimizer.is_alive(0)


def test_a_rung_waits_for_its_last_trial_while_the_next_bracket_opens() -> None:
    optimizer = Hyperband(space(), 9, seed=0)
    first = [optimizer.ask() for _ in range(9)]
    for trial in first[1:]:
        optimizer.tell(trial, [metric(trial.id, 1)])
    ahead = optimizer.ask()
    assert (ahead.previous_epoch, ahead.epoch) == (0, 3)
    optimizer.tell(first[0], [1e9])
    promoted = optimizer.ask()
    assert (promoted.id, promoted.previous_epoch, promoted.epoch) == (0, 1, 3)


# ASHA, in the setting of the paper's example: eta = 3, r = 1, R = 9; of nine configurations, 1, 6 and 8 are the best
# in the lowest rung and 8 in the next one. By Algorithm 2, one job after the other: a rung of k promotes its floor(k/3)
# best.
LOSSES = {1: 0.3, 2: 0.9, 3: 0.8, 4: 0.7, 5: 0.6, 6: 0.2, 7: 0.5, 8: 0.1, 9: 0.4}
JOBS = [(1, 1), (2, 1), (3, 1), (1, 3), (4, 1), (5, 1), (6, 1), (6, 3), (7, 1), (8, 1), (8, 3), (8, 9), (9, 1)]


def test_asha_promotes_as_soon_as_it_can() -> None:
    optimizer = ASHA(space(), 9, minimize=True, seed=0)
    jobs = []
    for _ in JOBS:
        trial = optimizer.ask()
        jobs.append((trial.id + 1, trial.epoch))
        optimizer.tell(trial, {trial.epoch: LOSSES[trial.id + 1]})
    assert jobs == JOBS


def algorithm_2(
    rungs: list[int], eta: int, reached: dict[int, dict[int, float]], promoted: dict[int, set[int]], n: int
) -> tuple[int, int]:
    """get_job of Li et al. 2020: (trial, epoch) of the next job; `reached` are the values of each rung by trial."""
    for epoch, above in reversed(list(zip(rungs, rungs[1:]))):
        top = sorted(reached[epoch], key=lambda i: (-reached[epoch][i], i))[: len(reached[epoch]) // eta]
        for trial in top:
            if trial not in promoted[epoch]:
                promoted[epoch].add(trial)
                return trial, above
    return n, rungs[0]


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    max_epochs=st.sampled_from([1, 2, 9, 27, 52]), eta=st.integers(2, 4), workers=st.integers(1, 6), seed=st.integers(0)
)
def test_asha_is_algorithm_2_whatever_the_order_in_which_jobs_end(
    max_epochs: int, eta: int, workers: int, seed: int
) -> None:
    optimizer = ASHA(space(), max_epochs, eta=eta, seed=0)
    rungs = rung_epochs(max_epochs, eta)
    reached: dict[int, dict[int, float]] = {epoch: {} for epoch in rungs}
    promoted: dict[int, set[int]] = {epoch: set() for epoch in rungs}
    shuffled = random.Random(seed)
    running: list[Trial] = []
    n = 0
    for _ in range(50):
        while len(running) < workers:
            trial = optimizer.ask()
            assert (trial.id, trial.epoch) == algorithm_2(rungs, eta, reached, promoted, n)
            n = max(n, trial.id + 1)
            running.append(trial)
        # Several may end before the next is asked for, so that more than one rung can promote.
        for _ in range(shuffled.randint(1, len(running))):
            trial = running.pop(shuffled.randrange(len(running)))
            value = shuffled.choice([0.0, shuffled.random()])  # ties too
            optimizer.tell(trial, {trial.epoch: value})
            reached[trial.epoch][trial.id] = value


def test_a_failed_trial_keeps_its_place_in_the_rungs_but_is_not_promoted() -> None:
    optimizer = ASHA(space(), 9, seed=0)
    for value in (3.0, 2.0, 1.0):
        optimizer.tell(optimizer.ask(), [value])
    best = optimizer.ask()
    assert (best.id, best.epoch) == (0, 3)
    optimizer.tell(best, failed='out of memory')
    assert optimizer.ask().previous_epoch == 0  # one of three was promoted, and no second one is


@pytest.mark.parametrize('kind', [Hyperband, ASHA])
@pytest.mark.parametrize(('argument', 'value'), [('eta', 1), ('eta', 2.5), ('eta', None)])
def test_a_bad_eta_is_named(kind, argument: str, value) -> None:
    with pytest.raises(ArgumentError, match=f'{argument}.*whole number >= 2'):
        kind(space(), 9, **{argument: value})


def test_bad_rounds_are_named() -> None:
    with pytest.raises(ArgumentError, match=r'rounds.*whole number >= 1'):
        Hyperband(space(), 9, rounds=0)


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of hyperband.py an act runs, each time that it does."""
    count = [0]

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.endswith('hyperband.py'):
            return None
        count[0] += event == 'line'
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count[0]


@pytest.mark.parametrize(('kind', 'max_epochs'), [(ASHA, 27), (Hyperband, 3**7)])
def test_a_decision_costs_the_same_however_many_trials_there_are(kind: type, max_epochs: int) -> None:
    optimizer = kind(ConfigurationSpace({'x': (0.0, 1.0)}), max_epochs, seed=0)

    def steps(n: int) -> list[int]:
        costs = []
        for _ in range(n):
            costs.append(lines_run(lambda: asked.append(optimizer.ask())))
            trial = asked.pop()
            metrics = {trial.epoch: trial.configuration['x']}
            costs[-1] += lines_run(lambda trial=trial, metrics=metrics: optimizer.tell(trial, metrics))
        return costs

    asked: list[Any] = []
    early, _, late = steps(300), steps(2300), steps(300)
    assert np.median(late) <= 2 * np.median(early)
    assert sum(sorted(late)[:-3]) <= 2 * sum(sorted(early)[:-3])  # a rung that ends is sorted, once


def test_where_nothing_new_is_found_the_paused_trials_are_trained_to_the_end() -> None:
    """W11: ten legal configurations among a million, which is too many to be listed."""
    space = ConfigurationSpace(seed=1)
    space.add([Categorical(f'c{i}', list('abcdefghij')) for i in range(6)])
    for i in range(1, 6):
        space.add(ForbiddenInClause(space[f'c{i}'], list('bcdefghij')))
    optimizer = Hyperband(space, 9, seed=0)
    reached: dict[int, int] = {}
    while (trial := optimizer.ask()) is not None:
        optimizer.tell(trial, {trial.epoch: float(ord(trial.configuration['c0']))})
        reached[trial.id] = trial.epoch
    assert reached == dict.fromkeys(range(10), 9)


def test_a_trial_that_failed_takes_no_place_in_the_next_rung() -> None:
    """It gave the best value of its rung, and failed there: the best of the others goes on."""
    space = ConfigurationSpace({'x': (0.0, 1.0)})
    optimizer = Hyperband(space, 3, seed=0)  # its first bracket: three trials to epoch 1, one of them to epoch 3
    for value, failed in [(0.5, None), (0.9, 'broke'), (0.4, None)]:
        trial = optimizer.ask()
        assert trial is not None
        assert (trial.previous_epoch, trial.epoch) == (0, 1)
        optimizer.tell(trial, [value], failed=failed)
    promoted = optimizer.ask()
    assert promoted is not None
    assert (promoted.id, promoted.previous_epoch, promoted.epoch) == (0, 1, 3)
    assert optimizer.is_alive(0)
    assert not optimizer.is_alive(1)
