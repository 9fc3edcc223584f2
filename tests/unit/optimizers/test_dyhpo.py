"""DyHPO through ask and tell; `test_base.py` has what holds for every optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from scipy.stats import t as student
from surrogates import QUICK, SELDOM, Predicted

from hpo4dl import ASHA, ArgumentError, DyHPO, Trial
from hpo4dl.optimizers.acquisition import Candidates
from hpo4dl.optimizers.dyhpo import draw_horizon
from hpo4dl.optimizers.hyperband import rung_epochs
from hpo4dl.optimizers.policy import Policy
from hpo4dl.optimizers.surrogate_inputs import draw_visible_fraction
from hpo4dl.surrogate.prediction import Prediction

Metric = Callable[[Trial, int], float]
N_WARMUP = Policy().n_warmup


def space() -> ConfigurationSpace:
    return ConfigurationSpace({'x': (0.0, 1.0), 'y': (-2.0, 3.0), 'kind': ['a', 'b', 'c']})


def make(configuration_space: ConfigurationSpace | None = None, max_epochs: int = 3, **arguments) -> DyHPO:
    """One that fits less than it should, where no `policy` is given."""
    arguments = {'seed': 0, 'num_configurations': 40, 'policy': QUICK, **arguments}
    return DyHPO(configuration_space or space(), max_epochs, **arguments)


def smooth(trial: Trial, epoch: int) -> float:
    """A curve that rises to -(x - 0.3)^2 - ..., best at x = 0.3, y = 1, kind b."""
    c = trial.configuration
    return -((c['x'] - 0.3) ** 2) - (c['y'] - 1) ** 2 / 25 - 0.2 * (c['kind'] != 'b') - 0.5 / epoch


def arbitrary(trial: Trial, epoch: int) -> float:
    return float(np.random.default_rng([trial.id, epoch]).normal())


def tell(optimizer, trial: Trial, metric: Metric) -> None:
    optimizer.tell(trial, {e: metric(trial, e) for e in range(trial.previous_epoch + 1, trial.epoch + 1)})


def race(optimizer, steps: int, metric: Metric) -> list[Trial]:
    trials = []
    for _ in range(steps):
        trial = optimizer.ask()
        if trial is None:
            break
        tell(optimizer, trial, metric)
        trials.append(trial)
    return trials


def test_the_unit_of_the_metric_changes_no_decision() -> None:
    plain = race(make(), 22, smooth)
    assert len({trial.id for trial in plain}) > N_WARMUP  # the surrogate decides too
    for factor in (1e-6, 1e6):
        assert race(make(), 22, lambda trial, epoch, f=factor: f * smooth(trial, epoch)) == plain
    # Nor does the direction.
    assert race(make(minimize=True), 22, lambda trial, epoch: -1e6 * smooth(trial, epoch)) == plain


def loss_of_1e34(trial: Trial, epoch: int) -> float:
    return 1e34 if trial.id % 3 == 0 else 10.0 ** (trial.id % 5)


def nan_at_times(trial: Trial, epoch: int) -> float:
    return math.nan if trial.id % 2 else arbitrary(trial, epoch)


NONSENSE: dict[str, Metric] = {
    'constant': lambda trial, epoch: 0.1,
    'zero': lambda trial, epoch: 0.0,
    'all failed': lambda trial, epoch: math.nan,
    'all but one failed': lambda trial, epoch: 1.0 if trial.id == 4 else math.inf,
    'nan at times': nan_at_times,
    'losses of 1e34': loss_of_1e34,
    'the largest numbers': lambda trial, epoch: (-1) ** trial.id * 1.7e308,
    'the smallest numbers': lambda trial, epoch: (trial.id % 3) * 5e-324,
    'one far above': lambda trial, epoch: 1e308 if trial.id == 2 else 1e-9 * arbitrary(trial, epoch),
}


@pytest.mark.parametrize('case', NONSENSE)
def test_whatever_the_metrics_there_is_a_next_step(case: str) -> None:
    optimizer = make(minimize='loss' in case)
    assert len(race(optimizer, 20, NONSENSE[case])) == 20
    failed = {i for i, curve in optimizer.curves.items() if curve.failed}
    assert optimizer.ask().id not in failed


SPACES = {
    '50 hyperparameters': {f'x{i}': (0.0, 1.0) for i in range(50)},
    'categories alone': {'a': ['p', 'q', 'r'], 'b': [True, False], 'c': list('stuvwxyz')},
    'a single category': {'a': ['p', 'q', 'r']},
    'a single value': {'a': 7},
    'one integer': {'n': (1, 100_000)},
}


@pytest.mark.parametrize('name', SPACES)
@pytest.mark.parametrize(('horizon', 'max_epochs'), [('random', 1), ('next', 3)])
def test_any_space_is_raced(name: str, horizon: str, max_epochs: int) -> None:
    optimizer = make(ConfigurationSpace(SPACES[name]), max_epochs, horizon=horizon)
    size = {'a single category': 3, 'a single value': 1}.get(name, 100)
    trials = race(optimizer, 17, arbitrary)
    assert len(trials) == min(17, size * max_epochs)
    assert len({tuple(trial.configuration.items()) for trial in trials}) == len(optimizer.curves)
    if size * max_epochs < 17:
        assert {trial.id for trial in trials if trial.epoch == max_epochs} == set(range(size))


def test_bad_arguments_are_named() -> None:
    bad = {'horizon': 'first', 'num_configurations': 0, 'policy': {'n_warmup': 5}, 'max_epochs': 0}
    for argument, value in bad.items():
        with pytest.raises(ArgumentError, match=argument):
            make(**{argument: value})


@pytest.mark.parametrize('horizon', ['random', 'next'])
def test_of_candidates_each_is_asked_once_and_nothing_else(horizon: str) -> None:
    candidates = [{'x': i / 20, 'y': 1.0, 'kind': 'abc'[i % 3]} for i in range(17)]
    optimizer = make(candidates=candidates, horizon=horizon, max_epochs=2, initial_configurations=candidates[5:7])
    trials = race(optimizer, 100, smooth)
    started = [trial.configuration for trial in trials if trial.previous_epoch == 0]
    assert started[:2] == candidates[5:7]
    assert sorted(c['x'] for c in started) == [c['x'] for c in candidates]
    assert len(trials) == 2 * len(candidates)
    assert optimizer.ask() is None


@pytest.mark.parametrize('metric', [smooth, arbitrary])
def test_several_that_run_at_once_are_different_trials(metric: Metric) -> None:
    optimizer, running = make(max_epochs=4), []
    for _ in range(24):
        while len(running) < 5:
            running.append(optimizer.ask())
            assert len({trial.id for trial in running}) == len(running)
            assert running[-1].previous_epoch == optimizer.curves[running[-1].id].epoch
        tell(optimizer, running.pop(len(optimizer.curves) % 5), metric)


def make_unlearning(**arguments) -> DyHPO:
    """One without the time that fits take; after its warm-up it starts new trials alone."""
    optimizer = make(**arguments)
    optimizer.surrogate = Predicted(dict.fromkeys(range(100), -9.0), 0.0, set())
    return optimizer


def expected_improvement(mean, std, threshold):
    """Equation 7."""
    gain = mean - threshold
    return gain * norm.cdf(gain / std) + std * norm.pdf(gain / std)


def merged(trials: list[Trial]) -> list[tuple[int, int]]:
    """(trial, epoch reached), steps of the same trial on end made one."""
    return [(i, list(steps)[-1].epoch) for i, steps in groupby(trials, key=lambda trial: trial.id)]


@pytest.mark.parametrize(('max_epochs', 'seed'), [(27, 0), (20, 2), (9, 3), (5, 4)])
def test_the_warmup_is_ashas(max_epochs: int, seed: int) -> None:
    def metric(trial: Trial, epoch: int) -> float:
        return float(np.random.default_rng([seed, trial.id, epoch]).normal())

    theirs = race(ASHA(space(), max_epochs, seed=seed), 60, metric)
    theirs = theirs[: next(k for k, trial in enumerate(theirs) if trial.id == N_WARMUP)]
    theirs = merged(theirs)
    steps = sum(epoch for epoch in dict(theirs).values())
    ours = race(make_unlearning(max_epochs=max_epochs, seed=seed), steps, metric)
    assert all(trial.epoch == trial.previous_epoch + 1 for trial in ours)
    assert merged(ours) == theirs


@settings(deadline=None, derandomize=True, max_examples=12)
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 4))
def test_promotions_of_the_warmup_are_of_the_best_third(seed: int, workers: int) -> None:
    optimizer = make_unlearning(max_epochs=9, seed=seed)
    lowest = rung_epochs(9, 3)[0]
    running: list[Trial] = []
    while True:
        trial = optimizer.ask()
        if trial.id >= N_WARMUP or not optimizer.in_warmup():
            break
        if trial.previous_epoch == lowest:
            reached = {i: c.values[lowest - 1] for i, c in optimizer.curves.items() if c.epoch >= lowest}
            better = sum(value > reached[trial.id] for value in reached.values())
            assert better < len(reached) // 3
        running.append(trial)
        if len(running) == workers:
            tell(optimizer, running.pop(0), arbitrary)


def test_a_trial_that_failed_is_not_promoted() -> None:
    optimizer = make(max_epochs=9)
    for _ in range(30):
        trial = optimizer.ask()
        if trial.id in (0, 1, 2) and trial.epoch == 2:
            optimizer.tell(trial, failed='out of memory')
        else:
            optimizer.tell(trial, [-float(trial.id)])
    assert [optimizer.curves[i].epoch for i in (0, 1, 2)] in ([1, 1, 1], [1, 1, 2])


@pytest.mark.parametrize('workers', [1, 3])
def test_a_record_brings_it_back(workers: int) -> None:
    optimizer, record, running = make(), [], []
    others = []
    for step in range(26):
        while len(running) < workers:
            running.append(optimizer.ask())
            record.append((running[-1], None))
        trial = running.pop(0)
        metrics = None if step % 7 == 6 else [smooth(trial, trial.epoch)]
        optimizer.tell(trial, metrics, 'it failed' if metrics is None else None)
        record.append((trial, (metrics, 'it failed' if metrics is None else None)))
        if step in (1, 20):
            others.append((len(record), replayed(record)))
    # From where each was brought back to, it takes every later decision of the first one.
    for done, other in others:
        for trial, result in record[done:]:
            if result is None:
                assert other.ask() == trial
            else:
                other.tell(trial, *result)


def replayed(record: list) -> DyHPO:
    other = make()
    for trial, result in record:
        if result is None:
            other.replay(trial)
        else:
            other.tell(trial, *result)
    return other


def started(horizon: str = 'random', fixed: tuple[int, float] | None = None) -> DyHPO:
    """Past its warm-up; trial 0 is the best at epoch 2 and of all (0.9), and trial 1 at epoch 1 (0.5).

    Its horizon and margin are drawn, or fixed.
    """
    policy = Policy()
    if fixed is not None:
        u, margin = math.log(fixed[0]) / math.log(27), fixed[1]
        policy = Policy(horizon_range=(u, u), margin_range=(margin, margin))
    optimizer = make_unlearning(max_epochs=27, horizon=horizon, policy=policy)
    scripted = {(0, 1): 0.4, (0, 2): 0.9, (1, 1): 0.5, (1, 2): 0.1}
    while optimizer.in_warmup():
        race(optimizer, 1, lambda t, e: scripted.get((t.id, e), 0.3 - 0.01 * t.id))
    return optimizer


def alive(optimizer: DyHPO) -> set[int]:
    return {i for i in optimizer.curves if optimizer.is_alive(i)}


def test_all_that_many_workers_begin_with_compete_in_the_warmup() -> None:
    optimizer = make_unlearning(max_epochs=27)
    begun = [optimizer.ask() for _ in range(N_WARMUP + 17)]
    for trial in begun:
        tell(optimizer, trial, lambda t, e: 0.01 * t.id)  # the last ones are the best
    promoted = [optimizer.ask().id for _ in range(len(begun) // 3)]
    assert promoted == [trial.id for trial in reversed(begun)][: len(begun) // 3]


@pytest.mark.parametrize(('horizon', 'max_epochs', 'to'), [('random', 40, 2), ('random', 39, 1), ('next', 40, 1)])
def test_after_the_warmup_a_trial_begins_with_two_epochs_unless_epochs_are_few(
    horizon: str, max_epochs: int, to: int
) -> None:
    optimizer = make_unlearning(max_epochs=max_epochs, horizon=horizon)
    trials = race(optimizer, 80, smooth)
    assert {trial.epoch for trial in trials if trial.previous_epoch == 0 and trial.id >= N_WARMUP} == {to}
    assert {trial.epoch - trial.previous_epoch for trial in trials if trial.previous_epoch > 0} == {1}


def test_next_horizon_is_equation_8() -> None:
    optimizer = started('next')
    assert not optimizer.in_warmup()
    curves = optimizer.curves.values()
    best = {}
    for curve in curves:
        for epoch, value in zip(curve.epochs, curve.values):
            best[epoch] = max(best.get(epoch, -math.inf), value)
    z = {epoch: float(optimizer.transform(np.array(value))) for epoch, value in best.items()}
    overall = max(z.values())
    paused = [c for c in curves if optimizer.is_alive(c.trial_id)]

    def picked(means: dict[int, float], new: float) -> int:
        predicted = Predicted(means, new, {c.trial_id for c in paused})
        optimizer.surrogate = predicted
        trial = optimizer.ask()
        assert trial.epoch == trial.previous_epoch + 1
        del optimizer.running[trial.id]  # as if it had not been asked for
        return trial.id

    def incumbent(epoch: int) -> float:
        return z.get(epoch, overall)

    # Every trial is as far below the incumbent of its own next epoch, but one that is nearer: that one is picked,
    # though its mean is not the largest.
    for chosen in paused:
        means = {c.trial_id: incumbent(c.epoch + 1) - 0.2 for c in paused}
        means[chosen.trial_id] += 0.01
        assert picked(means, z[1] - 0.2) == chosen.trial_id
    assert len({round(incumbent(c.epoch + 1), 6) for c in paused}) > 1
    # So it is for a new trial, whose next epoch is the first.
    assert picked({c.trial_id: incumbent(c.epoch + 1) - 0.2 for c in paused}, z[1] - 0.19) >= N_WARMUP


@pytest.mark.parametrize('horizon', [1, 5, 27])
def test_random_horizon_looks_equally_far_ahead_for_all_and_not_beyond_the_end(horizon: int) -> None:
    optimizer = started(fixed=(horizon, 0.5))
    best = float(optimizer.transform(np.array(0.9)))
    optimizer.surrogate = Predicted({5: best + 1.0}, best, alive(optimizer))
    epochs = {min(optimizer.curves[i].epoch + horizon, 27) for i in alive(optimizer)} | {horizon}
    assert optimizer.ask().id == 5
    expected = sorted(math.log(epoch) / math.log(27) for epoch in epochs)
    assert sorted(optimizer.surrogate.horizons) == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(1, 200), st.booleans())
@settings(deadline=None)
def test_candidates_come_by_their_expected_improvement_and_few_are_computed(seed: int, m: int, each: bool) -> None:
    rng = np.random.default_rng(seed)
    mean, std, noise = rng.normal(size=m).round(1), rng.uniform(0.1, 1, m), rng.uniform(0, 0.3, m)
    computed: list[int] = []

    def exact(index):
        computed.extend(index.tolist())
        return std[index]

    def candidates(loose: float) -> Candidates:
        prediction = Prediction(mean, std * rng.uniform(1, loose, m), exact)
        threshold = rng.normal(size=m) if each else np.array([0.5])
        return Candidates([], np.zeros((m, 0)), np.ones(m, dtype=np.int64), threshold, prediction, noise)

    scored = candidates(2.0)
    ei = expected_improvement(mean, np.sqrt(std**2 + noise), scored.threshold)
    came = list(scored.by_ei())
    assert sorted(came) == sorted(computed) == list(range(m))
    assert (np.diff(ei[came]) <= 1e-12).all()

    computed.clear()
    scored = candidates(1.01)
    ei = expected_improvement(mean, np.sqrt(std**2 + noise), scored.threshold)
    least = float(np.median(ei)) + 1e-9
    assert sorted(scored.by_ei(math.log(least))) == np.flatnonzero(ei > least).tolist()
    bound = expected_improvement(mean, np.sqrt((std * 1.01) ** 2 + noise), scored.threshold)
    assert len(computed) <= max(30, 2 * (bound > least).sum())


def test_what_runs_is_believed_to_go_as_predicted_in_its_first_epoch_alone() -> None:
    optimizer = started()
    known = alive(optimizer)
    optimizer.surrogate = Predicted(dict.fromkeys(known, 9.0), 0.0, known)
    goes_on = optimizer.ask()
    assert goes_on.id in known
    assert optimizer.surrogate.believed == []
    optimizer.surrogate = Predicted(dict.fromkeys(known, 0.0), 9.0, known)
    begins = optimizer.ask()
    assert begins.previous_epoch == 0
    optimizer.ask()
    assert optimizer.surrogate.believed == [begins.id]
    tell(optimizer, begins, smooth)
    optimizer.ask()
    assert begins.id not in optimizer.surrogate.believed


def test_where_nothing_is_to_be_expected_it_looks_farther() -> None:
    optimizer = started(fixed=(1, 0.5))
    best = float(optimizer.transform(np.array(0.9)))
    looks = []

    class Patient(Predicted):
        """Trial 5 is to improve on the best, but not before epoch 10."""

        def predict(self, t, t_new):
            looks.append(t_new)
            is_late = t[self.asked.index(5)] > math.log(10, 27)
            self.means = {5: best + 1} if is_late else {}
            return super().predict(t, t_new)

    optimizer.surrogate = Patient({}, best - 9, alive(optimizer))
    assert optimizer.ask().id == 5
    assert looks == sorted(looks)
    assert 1 < len(looks) < 6


@pytest.mark.parametrize(('margin', 'picked'), [(0.0, 3), (0.5, 5)])
def test_random_margin_decides_between_sure_and_bold(margin: float, picked: int) -> None:
    """EI of N(best + 0.3, 0.05^2) and N(best - 0.5, 1): the sure gain is larger over the best value, not 0.5 above."""
    optimizer = started(fixed=(3, margin))
    best = float(optimizer.transform(np.array(0.9)))

    class SureOrBold(Predicted):
        def std(self, mean):
            return np.where(mean == best - 0.5, 1.0, 0.05)

    optimizer.surrogate = SureOrBold({3: best + 0.3, 5: best - 0.5}, best - 3, alive(optimizer))
    assert optimizer.ask().id == picked


def test_visible_fractions_stay_when_a_curve_grows_and_some_are_zero() -> None:
    fractions = draw_visible_fraction([3, 5], 5000, 0.3)
    np.testing.assert_array_equal(draw_visible_fraction([3, 5], 70, 0.3), fractions[:70])
    assert 0.27 < (fractions == 0).mean() < 0.33
    assert kstest(fractions[fractions > 0], 'uniform').pvalue > 0.01


@pytest.mark.parametrize('seed', [0, 2])
def test_an_unseen_configuration_is_predicted_at_the_end_as_those_that_were_trained(seed: int) -> None:
    """Curves rise a lot, and depend on the configuration a little: what has no curve is not predicted as it begins."""
    optimizer = make(max_epochs=27, seed=seed, policy=SELDOM)
    rng = np.random.default_rng(seed)

    def values(configuration) -> list[float]:
        return [1 - math.exp(-epoch / 9) + 0.1 * configuration['x'] for epoch in range(1, 28)]

    for i in range(40):
        point = optimizer.space.draw(rng, set())
        trial = Trial(i, optimizer.space.from_unit(point), 0, int(rng.integers(1, 28)))
        optimizer.replay(trial)
        optimizer.tell(trial, values(trial.configuration)[: trial.epoch])
    errors = []
    for _ in range(20):
        point = optimizer.space.draw(rng, set())
        errors.append(optimizer.forecast(point, [27], [0.5])[0, 0] - values(optimizer.space.from_unit(point))[-1])
    assert np.sqrt(np.mean(np.square(errors))) < 0.05


def test_forecasts_hold_what_comes_as_often_as_they_say() -> None:
    """The rest of 40 noisy curves, and the whole of 40 that were never trained."""
    optimizer = make(max_epochs=27, policy=SELDOM)
    rng = np.random.default_rng(0)

    def values(configuration) -> np.ndarray:
        quality = math.exp(-5 * (configuration['x'] - 0.3) ** 2) * (1 if configuration['kind'] == 'b' else 0.7)
        return quality * (1 - np.exp(-np.arange(1, 28) / 9)) + 0.02 * rng.normal(size=27)

    held: dict[str, list[np.ndarray]] = {'rest': [], 'unseen': []}

    def judge(which: str, trial, first: int, y: np.ndarray) -> None:
        low, quarter, three, high = optimizer.forecast(trial, range(first, 28), [0.05, 0.25, 0.75, 0.95])
        held[which] += [((quarter < y) & (y < three)), ((low < y) & (y < high))]

    curves = []
    for i in range(40):
        trial = Trial(i, optimizer.space.from_unit(optimizer.space.draw(rng, set())), 0, int(rng.integers(1, 27)))
        curves.append(values(trial.configuration))
        optimizer.replay(trial)
        optimizer.tell(trial, curves[-1][: trial.epoch].tolist())
    for curve, y in zip(optimizer.curves.values(), curves):
        judge('rest', curve, curve.epoch + 1, y[curve.epoch :])
    for _ in range(40):
        point = optimizer.space.draw(rng, set())
        judge('unseen', point, 1, values(optimizer.space.from_unit(point)))
    for which in held.values():
        assert 0.35 < np.concatenate(which[::2]).mean() < 0.75
        assert 0.8 < np.concatenate(which[1::2]).mean() < 1


def test_the_first_trials_are_spread_evenly() -> None:
    """In each eighth of x one of the first eight trials, but for what it was given instead."""

    def first(optimizer) -> list[float]:
        while len(optimizer.curves) < N_WARMUP:
            race(optimizer, 1, smooth)
        return [optimizer.curves[i].configuration['x'] for i in range(N_WARMUP)]

    alone = first(make_unlearning())
    beside = first(make_unlearning(initial_configurations=[{'x': 0.123, 'y': 0.0, 'kind': 'a'}]))
    assert sorted(int(8 * x) for x in alone[:8]) == list(range(8))
    assert beside == [0.123, *alone[1:]]


@pytest.mark.parametrize('horizon', ['random', 'next'])
def test_every_fourth_configuration_is_a_sobol_point_too(horizon: str) -> None:
    """But for the published rule: those of the numbers 16, 20, 24, ... are points of the sequence."""
    optimizer = make_unlearning(max_epochs=9, horizon=horizon)
    begun = {trial.id: trial for trial in race(optimizer, 60, smooth) if not trial.previous_epoch}
    late = range(N_WARMUP, max(begun) + 1)
    assert len(late) > 12
    sobol = {i: optimizer.space.from_unit(optimizer.space.sobol_point(optimizer.seed, i, set())) for i in late}
    assert [i for i in late if begun[i].configuration == sobol[i]] == [
        i for i in late if horizon == 'random' and i % 4 == 0
    ]


def test_forecasts_change_no_decision() -> None:
    silent, asked = make(max_epochs=9), make(max_epochs=9)
    for step in range(30):
        trials = silent.ask(), asked.ask()
        assert trials[0] == trials[1]
        for optimizer, trial in zip((silent, asked), trials):
            tell(optimizer, trial, smooth)
        if step in (20, 25):
            asked.forecast(asked.curves[trials[1].id], [9], [0.5])


def test_a_curve_that_jumped_about_is_forecast_less_surely() -> None:
    """Than one that went its way as all others do, from the same place to the same epoch."""
    optimizer = make(max_epochs=27, policy=Policy())
    epochs = np.arange(1, 19)
    for i in range(12):
        trial = Trial(i, {'x': 0.05 * i, 'y': 0.5, 'kind': 'b'}, 0, 18)
        values = 0.5 + 0.02 * i - 0.5 * np.exp(-epochs / 9) + (0.02 * (-1.0) ** epochs if i == 6 else 0)
        optimizer.replay(trial)
        optimizer.tell(trial, values.tolist())
    width = [np.ptp(optimizer.forecast(optimizer.curves[i], [27], [0.05, 0.95])) for i in (5, 6, 7)]
    assert width[1] > 2 * max(width[0], width[2])


def test_forecasts_are_quantiles_of_students_t() -> None:
    optimizer = make(max_epochs=9)
    race(optimizer, 40, smooth)
    point, levels = np.array([0.4, 0.5, 0.0]), [0.05, 0.3, 0.5, 0.95]
    (mean,), (scale,) = optimizer.predict(point, [9])
    expected = [mean + scale * student.ppf(level, df=3) for level in levels]
    assert optimizer.transform(optimizer.forecast(point, [9], levels)[:, 0]) == pytest.approx(expected, abs=1e-3)


def test_horizon_and_margin_are_log_uniform() -> None:
    drawn = np.array([draw_horizon(np.random.default_rng([7, i]), 1000, Policy()) for i in range(2000)])
    horizon, margin = drawn.T
    assert (horizon.min(), horizon.max()) == (1, pytest.approx(1000, abs=10))
    assert 0.001 <= margin.min() < margin.max() <= 1
    assert kstest(np.log(margin), 'uniform', (math.log(0.001), -math.log(0.001))).pvalue > 0.01
    # Whole numbers: compared where they are fine enough to be near the continuous law.
    far = horizon[horizon >= 30]
    assert kstest(np.log(far), 'uniform', (math.log(29.5), math.log(1000 / 29.5))).pvalue > 0.01
    assert abs(len(far) / 2000 - math.log(1000 / 29.5) / math.log(1000)) < 0.04


def test_a_trial_that_the_surrogate_has_no_row_of_is_not_scored() -> None:
    optimizer = started()
    paused = [c.trial_id for c in optimizer.curves.values() if optimizer.is_alive(c.trial_id)]
    means = {i: 2.0 if i == 5 else 0.5 for i in paused}
    optimizer.surrogate = Predicted(means, -1.0, set(paused) - {5})
    assert optimizer.ask().id != 5
    assert set(optimizer.surrogate.asked) == set(paused) - {5}
    # Where it knows none, all are scored.
    optimizer.surrogate = Predicted(means, -1.0, set())
    assert optimizer.ask().id == 5


class Identity:
    """Targets are metrics, so that the expected gain has a closed form."""

    def __call__(self, y):
        return np.asarray(y)

    inverse = __call__


def test_expected_gain_is_that_of_the_predictions_at_the_end() -> None:
    assert make().expected_gain() == math.inf
    optimizer = started()
    known = alive(optimizer)
    optimizer.transform = Identity()
    best = 0.9
    optimizer.surrogate = Predicted({i: best + 0.02 if i == 5 else best - 1 for i in known}, best - 1, known)
    expected = expected_improvement(best + 0.02, 0.05, best)
    assert optimizer.expected_gain() == pytest.approx(expected, rel=0.01)
    assert optimizer.surrogate.horizons == {1.0}
    optimizer.surrogate = Predicted(dict.fromkeys(known, best - 1), best - 1, known)
    assert optimizer.expected_gain() == 0


@pytest.mark.parametrize('minimize', [False, True])
def test_forecast_and_gain_have_the_unit_of_the_metric(minimize: bool) -> None:
    sign = -1.0 if minimize else 1.0
    one, thousand = (make(max_epochs=9, minimize=minimize) for _ in range(2))
    with pytest.raises(ArgumentError, match='has a value'):
        one.forecast(np.full(3, 0.5), [1], [0.5])
    race(one, 40, lambda trial, epoch: sign * smooth(trial, epoch))
    race(thousand, 40, lambda trial, epoch: 1000 * sign * smooth(trial, epoch))
    assert 0 < one.expected_gain() < 1
    assert thousand.expected_gain() == pytest.approx(1000 * one.expected_gain(), rel=1e-3)
    curve = max((c for c in one.curves.values() if one.is_alive(c.trial_id)), key=lambda c: c.epoch)
    for trial in (curve, np.array([0.4, 0.5, 0.0])):
        forecast = one.forecast(trial, [8, 9], [0.05, 0.5, 0.95])
        assert forecast.shape == (3, 2)
        assert (np.diff(forecast, axis=0) > 0).all()
        at = thousand.curves[curve.trial_id] if trial is curve else trial
        assert thousand.forecast(at, [8, 9], [0.05, 0.5, 0.95]) == pytest.approx(1000 * forecast, rel=1e-3)


def test_ordered_and_weighted_categories_are_raced() -> None:
    mixed = ConfigurationSpace(
        {
            'rank': Categorical('rank', ['s', 'm', 'l'], ordered=True),
            'weighted': Categorical('weighted', ['p', 'q'], weights=[1.0, 9.0]),
            'x': (1e-5, 1.0),
        }
    )
    assert len(race(make(mixed), 17, arbitrary)) == 17
