"""Single hyperparameters in the unit cube, against ConfigSpace itself and SciPy's distributions."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import ConfigSpace.hyperparameters as kinds
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import build, category, integer, ordinal, uniform

from hpo4dl.space.unit_cube import Space

MANY = int(os.environ.get('HPO4DL_MANY_POINTS', '200'))  # raise it to look for rarer failures


def normal(mu: float = 0.0, sigma: float = 1.0, **options: Any) -> Any:
    return kinds.NormalFloatHyperparameter('x', mu, sigma, **options)


HYPERPARAMETERS: dict[str, Callable[[], Any]] = {
    'float': uniform,
    'float, odd bounds': lambda: uniform(lower=-1 / 3, upper=1e4 / 7),
    'float, far from 0': lambda: uniform(lower=1e9, upper=1e9 + 1),
    'float, log': lambda: uniform(lower=1e-7, upper=3.0, log=True),
    'float, wide log': lambda: uniform(lower=1e-12, upper=1e12, log=True),
    'float, narrow log': lambda: uniform(lower=1.0, upper=1.001, log=True),
    'float, tiny': lambda: uniform(lower=-1e-9, upper=1e-9),
    'integer': integer,
    'integer, two values': lambda: integer(lower=0, upper=1),
    'integer, log': lambda: integer(lower=1, upper=1024, log=True),
    'integer, large': lambda: integer(lower=-5, upper=10**7),
    'integer, large log': lambda: integer(lower=2, upper=10**8, log=True),
    'integer, huge': lambda: integer(lower=1, upper=10**15),
    'integer, huge log': lambda: integer(lower=1, upper=10**15, log=True),
    'normal': lambda: normal(3.0, 2.0, lower=-1.0, upper=4.0),
    'normal, in its tail': lambda: normal(0.0, 1.0, lower=11.0, upper=14.0, default_value=12.0),
    'normal, narrow': lambda: normal(0.5, 1e-5, lower=0.0, upper=1.0),
    'normal integer': lambda: kinds.NormalIntegerHyperparameter('x', 5, 3.0, lower=-20, upper=30),
    'normal integer, large': lambda: kinds.NormalIntegerHyperparameter('x', 0, 100, lower=-6000, upper=6000),
    'beta': lambda: kinds.BetaFloatHyperparameter('x', 2.0, 5.0, lower=0.0, upper=1.0),
    'beta, sharp': lambda: kinds.BetaFloatHyperparameter('x', 300.0, 1.0, lower=0.0, upper=1.0),
    'beta integer': lambda: kinds.BetaIntegerHyperparameter('x', 2.0, 5.0, lower=1, upper=20),
    'beta integer, log': lambda: kinds.BetaIntegerHyperparameter('x', 2.0, 3.0, lower=1, upper=50, log=True),
    'category': category,
    'category, weights': lambda: category(choices=['a', 1, 2.5, True, 'b'][:3], weights=[0.7, 0.0, 0.3]),
    'category, bool': lambda: category(choices=[True, False]),
    'category, one': lambda: category(choices=['only']),
    'ordinal': lambda: ordinal(sequence=['low', 'mid', 'high']),
    'ordinal, numbers': lambda: ordinal(sequence=[10, 1, 5.5]),
    'constant': lambda: kinds.Constant('x', 'value'),
    'constant, number': lambda: kinds.Constant('x', 3),
    'normal, log': lambda: normal(0.01, 0.1, log=True, lower=1e-4, upper=1.0),
    'normal integer, log': lambda: kinds.NormalIntegerHyperparameter('x', 10, 5.0, lower=1, upper=90, log=True),
    'beta, log': lambda: kinds.BetaFloatHyperparameter('x', 2.0, 5.0, lower=1e-5, upper=10.0, log=True),
    'beta, shifted': lambda: kinds.BetaFloatHyperparameter('x', 2.0, 5.0, lower=-3.0, upper=10.0),
    'category, objects': lambda: category(choices=[dict, (1, 2), None, len]),
    'category, lists': lambda: category(choices=[[1, 2], [3], [4, [5]]]),
}

each_hyperparameter = pytest.mark.parametrize('make', HYPERPARAMETERS.values(), ids=HYPERPARAMETERS)


def columns(space: Space, points: np.ndarray) -> list[list[Any]]:
    """The values of each hyperparameter where it is active."""
    configurations = [space.from_unit(point) for point in points]
    return [[c[name] for c in configurations if name in c] for name in space.names]


@each_hyperparameter
def test_points_are_canonical_and_values_native_and_legal(make: Callable[[], Any]) -> None:
    hyperparameter = make()
    space = Space(build([hyperparameter]))
    rng = np.random.default_rng(0)
    points = space.sample(rng, MANY)
    moved = [space.neighbors(rng, points[:50], MANY // 4, scale) for scale in (1e-6, 0.01, 0.3, 5.0)]
    natives = {*map(type, getattr(hyperparameter, 'choices', ())), int, float, str}
    for point in np.concatenate([points, *moved]):
        configuration = space.from_unit(point)
        value = configuration['x']
        if type(value) in (int, float):
            configuration = json.loads(json.dumps(configuration))
        assert space.to_unit(configuration).tobytes() == point.tobytes()
        assert type(value) in natives
        assert hyperparameter.legal_value(value)
        assert 0 <= point[0] <= 1


@pytest.mark.parametrize('name', ['normal, narrow', 'beta, sharp'])
@pytest.mark.parametrize('value', [0.0, 0.1, 0.25, 0.5001, 0.6, 0.999, 1.0])
def test_a_value_far_out_in_a_tail_keeps_its_place(name: str, value: float) -> None:
    space = Space(build([HYPERPARAMETERS[name]()]))
    assert space.from_unit(space.to_unit({'x': value})) == pytest.approx({'x': value}, abs=1e-4)


@pytest.mark.parametrize('name', ['normal integer', 'normal integer, large', 'beta integer', 'beta integer, log'])
def test_every_integer_has_a_point_of_its_own_in_order(name: str) -> None:
    hyperparameter = HYPERPARAMETERS[name]()
    space = Space(build([hyperparameter]))
    values = range(hyperparameter.lower, hyperparameter.upper + 1, 1 if 'large' not in name else 97)
    points = [space.to_unit({'x': value}) for value in values]
    assert [space.from_unit(point)['x'] for point in points] == list(values)
    assert np.all(np.diff(np.ravel(points)) > 0)


@each_hyperparameter
def test_the_default_and_what_configspace_samples_have_points(make: Callable[[], Any]) -> None:
    hyperparameter = make()
    configuration_space = seeded(build([hyperparameter]))
    space = Space(configuration_space)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of ConfigSpace, about its own use of NumPy
        samples = configuration_space.sample_configuration(50)
    for configuration in [configuration_space.get_default_configuration(), *samples]:
        point = space.to_unit(configuration)
        value, back = configuration['x'], space.from_unit(point)['x']
        if isinstance(value, (int, float)) and hasattr(hyperparameter, 'lower'):
            assert back == pytest.approx(value, rel=1e-7, abs=1e-11 * (hyperparameter.upper - hyperparameter.lower))
        else:
            assert back == value
        assert space.to_unit({'x': back}).tobytes() == point.tobytes()


@given(
    bounds=st.tuples(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12)),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
@settings(deadline=None, derandomize=True)
def test_any_float_in_any_range_keeps_its_point(bounds: tuple[float, float], shares: list[float]) -> None:
    lower, upper = bounds[0], bounds[0] + bounds[1]
    try:
        configuration_space = build([uniform('x', lower, upper)])
    except ValueError:
        return  # ConfigSpace's own rounding closes the range
    space = Space(configuration_space)
    hyperparameter = configuration_space['x']
    for share in [0.0, *shares, 1.0]:
        value = hyperparameter.lower + share * (hyperparameter.upper - hyperparameter.lower)
        value = min(max(value, hyperparameter.lower), hyperparameter.upper)
        point = space.to_unit({'x': value})
        back = space.from_unit(point)['x']
        assert hyperparameter.lower <= back <= hyperparameter.upper
        assert space.to_unit({'x': back}).tobytes() == point.tobytes()
        assert abs(back - value) <= 1e-9 * (hyperparameter.upper - hyperparameter.lower) + 1e-13 * abs(value)


@pytest.mark.parametrize('value', [1e-5, 0.001, 0.01, 0.1, 0.3, 0.9, 0.99, 0.95, 3e-4, 0.00123456789, 1 / 1024])
def test_a_short_decimal_comes_back_as_it_was(value: float) -> None:
    for hyperparameter in [uniform(), uniform(lower=1e-6, log=True)]:
        space = Space(build([hyperparameter]))
        assert space.from_unit(space.to_unit({'x': value})) == {'x': value}


def in_the_tail(x: Any) -> Any:
    """The distribution function of a standard normal truncated to [11, 14] (SciPy 1.8 has truncnorm's wrong here)."""
    above = scipy.stats.norm.sf
    return (above(11) - above(x)) / (above(11) - above(14))


CLOSED_FORMS: dict[str, Callable[[Any], Any]] = {
    'float, odd bounds': scipy.stats.uniform(-1 / 3, 1e4 / 7 + 1 / 3).cdf,
    'float, log': scipy.stats.loguniform(1e-7, 3.0).cdf,
    'normal': scipy.stats.truncnorm(-2.0, 0.5, loc=3.0, scale=2.0).cdf,
    'normal, in its tail': in_the_tail,
    'beta': scipy.stats.beta(2.0, 5.0).cdf,
    'beta, shifted': scipy.stats.beta(2.0, 5.0, loc=-3.0, scale=13.0).cdf,
    'beta, sharp': scipy.stats.beta(300.0, 1.0).cdf,
}


@pytest.mark.parametrize('name', CLOSED_FORMS)
def test_floats_have_the_distribution_of_the_closed_form(name: str) -> None:
    space = Space(build([HYPERPARAMETERS[name]()]))
    (values,) = columns(space, space.sample(np.random.default_rng(1), 1500))
    assert scipy.stats.kstest(values, CLOSED_FORMS[name]).pvalue > 1e-3


FLOATS = [name for name, make in HYPERPARAMETERS.items() if isinstance(make().default_value, float)]


@pytest.mark.parametrize('name', FLOATS)
def test_floats_have_the_distribution_of_configspace(name: str) -> None:
    hyperparameter = HYPERPARAMETERS[name]()
    space = Space(build([hyperparameter]))
    (values,) = columns(space, space.sample(np.random.default_rng(2), 1000))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        theirs = [c['x'] for c in seeded(build([hyperparameter])).sample_configuration(1000)]
    assert scipy.stats.ks_2samp(values, theirs).pvalue > 1e-3


def seeded(configuration_space: Any, seed: int = 3) -> Any:
    configuration_space.seed(seed)
    return configuration_space


def cells(distribution: Any, values: range) -> list[float]:
    """The probability of the cell of +- 1/2 around each value, under `distribution` truncated to these cells."""
    borders = distribution.cdf([values[0] - 0.5, *(value + 0.5 for value in values)])
    return list(np.diff(borders) / (borders[-1] - borders[0]))


DISCRETE: dict[str, tuple[Sequence[Any], Sequence[float]]] = {
    'integer': (range(10), [0.1] * 10),
    'category': ('abc', [1 / 3] * 3),
    'category, weights': (['a', 1, 2.5], [0.7, 0.0, 0.3]),
    'ordinal': (['low', 'mid', 'high'], [1 / 3] * 3),
    'normal integer': (range(-20, 31), cells(scipy.stats.norm(5, 3), range(-20, 31))),
    'beta integer': (range(1, 21), cells(scipy.stats.beta(2, 5, 0.5, 20), range(1, 21))),
    'integer, log': (range(1, 1025), cells(scipy.stats.loguniform(0.5, 1024.5), range(1, 1025))),
}


def chi_square(values: Sequence[Any], expected: dict[Any, float]) -> float:
    """The p-value of counts against probabilities, rare values put together."""
    assert set(values) <= set(expected)
    assert all(expected[value] > 0 for value in values)
    n = len(values)
    rare = {value for value, p in expected.items() if p * n < 5}
    counts = [sum(v == value for v in values) for value in expected if value not in rare]
    wanted = [n * p for value, p in expected.items() if value not in rare]
    if sum(expected[value] for value in rare) * n > 5:
        counts.append(sum(v in rare for v in values))
        wanted.append(n * sum(expected[value] for value in rare))
    total = sum(wanted)
    return float(scipy.stats.chisquare(counts, [w * sum(counts) / total for w in wanted]).pvalue)


@pytest.mark.parametrize('name', DISCRETE)
def test_discrete_values_have_the_probabilities_of_the_closed_form(name: str) -> None:
    # Beside it a float, lest the space is finite, whose sample is without replacement.
    space = Space(build([HYPERPARAMETERS[name](), uniform('y')]))
    values = columns(space, space.sample(np.random.default_rng(4), 4000))[space.names.index('x')]
    known, probabilities = DISCRETE[name]
    assert chi_square(values, dict(zip(known, probabilities))) > 1e-3


@pytest.mark.parametrize('name', ['integer', 'integer, two values', 'category, weights', 'ordinal', 'beta integer'])
def test_discrete_values_have_the_frequencies_of_configspace(name: str) -> None:
    configuration_space = seeded(build([HYPERPARAMETERS[name](), uniform('y')]))
    theirs = [c['x'] for c in configuration_space.sample_configuration(3000)]
    space = Space(configuration_space)
    ours = columns(space, space.sample(np.random.default_rng(5), 3000))[space.names.index('x')]
    table = [[values.count(value) for value in sorted(set(theirs) | set(ours), key=str)] for values in (ours, theirs)]
    assert scipy.stats.chi2_contingency(table)[1] > 1e-3
