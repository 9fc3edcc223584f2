"""The unit cube against ConfigSpace itself, enumeration and properties."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ConfigSpace.hyperparameters as kinds
import numpy as np
import pytest
import scipy.stats
from ConfigSpace import (
    AndConjunction,
    Configuration,
    ConfigurationSpace,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenEqualsRelation,
    ForbiddenGreaterThanRelation,
    ForbiddenInClause,
    ForbiddenLessThanRelation,
    GreaterThanCondition,
    InCondition,
    LessThanCondition,
    NotEqualsCondition,
    OrConjunction,
)
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from spaces import build, category, deep_learning, integer, one_of_each, ordinal, uniform

from hpo4dl import RandomSearch
from hpo4dl.errors import ArgumentError
from hpo4dl.space.serialization import describe, read_space, write_space
from hpo4dl.space.unit_cube import Space

# ConfigSpace casts the NaN of an inactive integer where a relation forbids something; some versions of NumPy warn.
casts_nan = pytest.mark.filterwarnings('ignore:invalid value encountered in cast:RuntimeWarning')


def points_of(space: Space, n: int = 150, seed: int = 0) -> np.ndarray:
    """Sampled points and neighbors of them."""
    rng = np.random.default_rng(seed)
    points = space.sample(rng, n)
    return np.concatenate([points, *[space.neighbors(rng, points[:20], n, scale) for scale in (0.01, 0.2)]])


def assert_agrees(configuration_space: Any, space: Space, point: np.ndarray) -> None:
    """ConfigSpace accepts the point's configuration exactly if we say that it is legal, and it leads back."""
    configuration = space.from_unit(point)
    assert [name for name, u in zip(space.names, point) if not np.isnan(u)] == list(configuration)
    if not space.is_legal(point):
        with pytest.raises(ValueError, match='orbidden'):
            Configuration(configuration_space, values=configuration)
        with pytest.raises(ArgumentError, match='forbid'):
            space.to_unit(configuration)
    else:
        theirs = dict(Configuration(configuration_space, values=configuration))
        assert theirs.keys() == configuration.keys()
        assert space.to_unit(configuration).tobytes() == point.tobytes()
        assert space.to_unit(json.loads(json.dumps(configuration))).tobytes() == point.tobytes()


@casts_nan
def test_configspace_accepts_what_we_sample() -> None:
    configuration_space = deep_learning()
    space = Space(configuration_space)
    assert space.all_points is None
    assert space.names == tuple(configuration_space)
    points = points_of(space)
    legal = [space.is_legal(point) for point in points]
    assert 0.2 < np.mean(legal) < 0.9
    for point in points:
        assert_agrees(configuration_space, space, point)


def literals(child: Any, parent: Any) -> list[Any]:
    """Every kind of condition that ConfigSpace allows on this parent."""
    if isinstance(parent, kinds.CategoricalHyperparameter):
        values: Sequence[Any] = parent.choices
    elif isinstance(parent, kinds.OrdinalHyperparameter):
        values = parent.sequence
    else:
        span = parent.upper - parent.lower
        values = [type(parent.lower)(parent.lower + share * span) for share in (0, 0.25, 0.5, 1)]
    found = [InCondition(child, parent, list(values[:2])), InCondition(child, parent, list(values[1:]))]
    if not isinstance(parent, kinds.CategoricalHyperparameter):
        found += [LessThanCondition(child, parent, values[1]), GreaterThanCondition(child, parent, values[1])]
        found += [LessThanCondition(child, parent, values[-1]), GreaterThanCondition(child, parent, values[0])]
    return [*found, EqualsCondition(child, parent, values[0]), NotEqualsCondition(child, parent, values[1])]


@st.composite
def spaces(draw: st.DrawFn) -> Any:
    """Spaces with conditions several levels deep."""
    makers = [
        lambda name: uniform(name, 0.0, 8.0),
        lambda name: uniform(name, 1e-4, 1.0, log=True),
        lambda name: integer(name, 1, 9),
        lambda name: integer(name, 2, 10**6, log=True),
        lambda name: category(name, ['a', 'b', 'c'], weights=[0.5, 0.3, 0.2]),
        lambda name: category(name, [True, False]),
        lambda name: ordinal(name, ['low', 'mid', 'high']),
    ]
    hyperparameters: list[Any] = []
    conditions = []
    # Names in an order that has nothing to do with who depends on whom.
    for name in draw(st.permutations('abcdefg'))[: draw(st.integers(1, 7))]:
        child = draw(st.sampled_from(makers))(name)
        parents = [parent for parent in hyperparameters if draw(st.booleans())][-2:]
        if parents:
            parts = [draw(st.sampled_from(literals(child, parent))) for parent in parents]
            junction = draw(st.sampled_from([AndConjunction, OrConjunction]))
            conditions.append(junction(*parts) if len(parts) > 1 else parts[0])
        hyperparameters.append(child)
    try:
        return build(hyperparameters, conditions)
    except ValueError:
        reject()  # ConfigSpace refuses its own default


@given(configuration_space=spaces())
@settings(deadline=None, derandomize=True, max_examples=30)
def test_activity_agrees_with_configspace_in_any_space(configuration_space: Any) -> None:
    space = Space(configuration_space)
    points = points_of(space, 20)
    for point in points:
        assert_agrees(configuration_space, space, point)
    encoded = space.features(points)
    assert encoded.shape == (len(points), space.n_features)
    assert np.all((encoded >= 0) & (encoded <= 1))
    default = configuration_space.get_default_configuration()
    assert space.from_unit(space.to_unit(default)) == pytest.approx(dict(default))


@given(configuration_space=spaces())
@settings(deadline=None, derandomize=True, max_examples=25)
def test_a_space_survives_json(configuration_space: Any) -> None:
    again = Space(read_space(write_space(configuration_space)))
    space = Space(configuration_space)
    assert again.names == space.names
    assert points_of(again, 30).tobytes() == points_of(space, 30).tobytes()


def test_conditional_values_keep_their_distribution() -> None:
    space = Space(deep_learning())
    configurations = [space.from_unit(point) for point in space.sample(np.random.default_rng(0), 4000)]
    momentum = [c['momentum'] for c in configurations if 'momentum' in c]
    assert scipy.stats.binomtest(len(momentum), 4000, 2 / 3).pvalue > 1e-3
    assert scipy.stats.kstest(momentum, scipy.stats.uniform(0, 0.99).cdf).pvalue > 1e-3
    with_nesterov = sum('nesterov' in c for c in configurations)
    assert scipy.stats.binomtest(with_nesterov, len(momentum), 0.49 / 0.99).pvalue > 1e-3
    assert all('nesterov' not in c or c['momentum'] > 0.5 for c in configurations)


@casts_nan
def test_the_users_space_is_left_alone() -> None:
    ours, theirs = deep_learning(), deep_learning()
    ours.seed(5)
    theirs.seed(5)
    state = copy.deepcopy(ours.random.get_state())
    space = Space(ours)
    points_of(space)
    space.draw(np.random.default_rng(0), set())
    describe(ours)
    write_space(ours)
    np.testing.assert_equal(ours.random.get_state(), state)
    assert [dict(c) for c in ours.sample_configuration(20)] == [dict(c) for c in theirs.sample_configuration(20)]
    assert ours == theirs


# Python 3.10 and old NumPy look a ufunc up in all modules to pickle it, mpmath's among them.
@pytest.mark.filterwarnings('ignore:the rational private module is deprecated:DeprecationWarning')
def test_the_same_seed_gives_the_same_points_to_a_copy() -> None:
    space = Space(deep_learning())
    again = pickle.loads(pickle.dumps(space))
    assert points_of(space).tobytes() == points_of(again).tobytes() == points_of(Space(deep_learning())).tobytes()


def calls(function: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called meanwhile."""
    count = 0

    def profile(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ('call', 'c_call')

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_many_points_take_as_many_calls_as_few() -> None:
    """Everything is done for all points at once: no loop in Python goes over them."""
    space = Space(one_of_each())
    points = space.sample(np.random.default_rng(0), 1000)
    for work in [
        lambda n: space.sample(np.random.default_rng(0), n),
        lambda n: space.neighbors(np.random.default_rng(0), points[:20], n, 0.1),
        lambda n: space.features(points[:n]),
    ]:
        few, many = (calls(partial(work, n)) for n in (10, 1000))
        assert many <= few


# Finite spaces


def finite_spaces() -> dict[str, Any]:
    a, b, c, d = category('a', 'xyz'), integer('b', 1, 4), ordinal('c', ['s', 'm', 'l']), category('d', [True, False])
    e = integer('e', 1, 4)
    return {
        'grid': build([a, b, c, d]),
        'conditions': build([a, b, c, d], [EqualsCondition(b, a, 'x'), GreaterThanCondition(d, c, 's')]),
        'nested': build(
            [a, b, c, d], [EqualsCondition(b, a, 'x'), LessThanCondition(c, b, 3), InCondition(d, c, ['s'])]
        ),
        'forbidden': build(
            [a, b, c, d], [], [ForbiddenAndConjunction(ForbiddenInClause(b, [1, 3]), ForbiddenEqualsClause(d, False))]
        ),
        'relation': build([b, e], [], [ForbiddenGreaterThanRelation(b, e)]),
        'constants': build([kinds.Constant('k', 'v'), kinds.Constant('l', 2)]),
        'one': build([d]),
    }


@pytest.mark.parametrize('name', finite_spaces())
def test_a_finite_space_holds_what_configspace_accepts_of_all_combinations(name: str) -> None:
    configuration_space = finite_spaces()[name]
    space = Space(configuration_space)
    absent = object()
    every = [[absent, *values_of(configuration_space[name])] for name in configuration_space]
    accepted = set()
    for combination in itertools.product(*every):
        values = {n: v for n, v in zip(configuration_space, combination) if v is not absent}
        try:
            Configuration(configuration_space, values=values)
        except ValueError:
            with pytest.raises(ArgumentError):
                space.to_unit(values)
        else:
            accepted.add(tuple(values.items()))
    assert space.all_points is not None
    assert {tuple(space.from_unit(point).items()) for point in space.all_points} == accepted
    assert len(space.all_points) == len(accepted)
    for point in space.all_points:
        assert_agrees(configuration_space, space, point)


def values_of(hyperparameter: Any) -> Sequence[Any]:
    if isinstance(hyperparameter, kinds.Constant):
        return [hyperparameter.value]
    if hasattr(hyperparameter, 'lower'):
        return range(hyperparameter.lower, hyperparameter.upper + 1)
    return getattr(hyperparameter, 'choices', None) or hyperparameter.sequence


@pytest.mark.parametrize('name', finite_spaces())
def test_drawing_exhausts_a_finite_space_exactly(name: str) -> None:
    space = Space(finite_spaces()[name])
    assert space.all_points is not None
    rng = np.random.default_rng(0)
    tried: set[bytes] = set()
    while (point := space.draw(rng, tried)) is not None:
        assert point.tobytes() not in tried
        assert space.is_legal(point)
        tried.add(point.tobytes())
    assert tried == {point.tobytes() for point in space.all_points}


@pytest.mark.parametrize('seed', [0, 7])
def test_sobol_points_are_stratified_in_each_coordinate(seed: int) -> None:
    """As any (0, m, 1)-net in base 2: of the first 2^m points, one lies in each 2^-m of each axis."""
    space = Space(build([uniform('a'), uniform('b', 1e-5, 1.0, log=True), *(uniform(f'c{i}') for i in range(48))]))
    points = np.array([space.sobol_point(seed, i, set()) for i in range(16)])
    for n in (1, 2, 8, 16):
        assert (np.sort(np.floor(n * points[:n]), axis=0) == np.arange(n)[:, None]).all()
    again, other = (np.array([space.sobol_point(s, i, set()) for i in range(16)]) for s in (seed, seed + 1))
    assert np.array_equal(again, points)
    assert not np.isin(other, points).any()


def test_sobol_points_are_distributed_as_draws_are() -> None:
    kind, depth = category('kind', 'ab', weights=[0.75, 0.25]), integer('depth', 1, 4)
    space = Space(build([uniform('x'), kind, depth], [EqualsCondition(depth, kind, 'a')]))
    points = np.array([space.sobol_point(0, i, set()) for i in range(64)])
    found = [space.from_unit(point) for point in points]
    assert sum(values['kind'] == 'a' for values in found) == 48
    assert {values['depth'] for values in found if values['kind'] == 'a'} == {1, 2, 3, 4}
    assert all('depth' not in values for values in found if values['kind'] == 'b')
    for values, point in zip(found, points):
        assert np.array_equal(space.to_unit(values), point, equal_nan=True)  # canonical


@pytest.mark.parametrize('name', finite_spaces())
def test_sobol_points_exhaust_a_finite_space(name: str) -> None:
    space = Space(finite_spaces()[name])
    assert space.all_points is not None
    tried: set[bytes] = set()
    while (point := space.sobol_point(0, len(tried), tried)) is not None:
        assert point.tobytes() not in tried
        assert space.is_legal(point)
        tried.add(point.tobytes())
    assert tried == {point.tobytes() for point in space.all_points}


def test_a_sobol_point_among_candidates_is_the_nearest_that_was_not_tried() -> None:
    whole, values = Space(build([uniform('x')])), [0.05, 0.5, 0.8]
    space = Space(build([uniform('x')]), [{'x': x} for x in values])
    for seed in range(10):
        x = float(whole.sobol_point(seed, 3, set())[0])
        nearest, second, _ = sorted(values, key=lambda value: abs(value - x))
        point = space.sobol_point(seed, 3, set())
        assert space.from_unit(point) == {'x': nearest}
        assert space.from_unit(space.sobol_point(seed, 3, {point.tobytes()})) == {'x': second}


def test_there_is_no_sobol_point_where_it_was_tried_or_is_forbidden() -> None:
    free = Space(build([uniform('x')]))
    assert free.sobol_point(0, 5, {free.sobol_point(0, 5, set()).tobytes()}) is None
    space = Space(deep_learning())
    points = [space.sobol_point(0, i, set()) for i in range(200)]
    assert any(point is None for point in points)
    assert all(space.is_legal(point) for point in points if point is not None)


def test_samples_and_neighbors_of_a_finite_space_are_distinct_members() -> None:
    space = Space(finite_spaces()['nested'])
    assert space.all_points is not None
    members = {point.tobytes() for point in space.all_points}
    rng = np.random.default_rng(0)
    for n in (1, 5, len(members), 1000):
        for points in [space.sample(rng, n), space.neighbors(rng, space.all_points[:2], n, 0.1)]:
            found = {point.tobytes() for point in points}
            assert len(found) == len(points)
            assert found <= members
    assert len(space.sample(rng, 1000)) == len(members)
    near = space.neighbors(rng, space.all_points[:2], 1000, 0.1)
    assert len(near) == len(members) - 2
    distance = [min(np.linalg.norm(space.features(space.all_points[:2]) - e, axis=1)) for e in space.features(near)]
    assert distance == sorted(distance)


def test_weights_decide_which_points_of_a_finite_space_come_first() -> None:
    a, b = category('a', 'xyz', weights=[0.6, 0.4, 0.0]), category('b', 'uv', weights=[0.75, 0.25])
    space = Space(build([a, b], [EqualsCondition(b, a, 'x')]))
    assert space.all_points is not None
    assert len(space.all_points) == 3  # z has no probability, b is inactive with y
    rng = np.random.default_rng(0)
    drawn = [tuple(space.from_unit(space.draw(rng, set())).values()) for _ in range(4000)]
    counts = [drawn.count(values) for values in [('x', 'u'), ('x', 'v'), ('y',)]]
    assert scipy.stats.chisquare(counts, [1800, 600, 1600]).pvalue > 1e-3
    # A user may still ask for what has no probability.
    assert space.from_unit(space.to_unit({'a': 'z'})) == {'a': 'z'}


def test_impossible_categories_never_come_up_as_neighbors() -> None:
    a = category('a', 'vwxyz', weights=[0, 1, 0, 1, 2])
    space = Space(build([a, uniform('f')]))
    rng = np.random.default_rng(0)
    for start in 'vwxyz':
        near = space.neighbors(rng, space.to_unit({'a': start, 'f': 0.5})[None], 2000, 0.1)
        found = [space.from_unit(point) for point in near]
        moved = [c['a'] for c in found if c['a'] != start]
        others = sorted(set('wyz') - {start})
        assert sorted(set(moved)) == others
        assert scipy.stats.chisquare([moved.count(other) for other in others]).pvalue > 1e-3


def test_a_space_too_large_to_enumerate_is_not() -> None:
    assert Space(build([category('a', range(100)), integer('b', 1, 100)])).all_points is not None
    assert Space(build([category('a', range(101)), integer('b', 1, 100)])).all_points is None
    assert Space(build([category('a'), uniform('f')])).all_points is None


# Neighbors


def test_neighbors_differ_in_one_or_two_coordinates_and_what_depends_on_them() -> None:
    configuration_space = build(
        [uniform('f'), integer('i', 0, 9), integer('j', 1, 10**6), category('c', 'abcd'), ordinal('o', 'abcde')]
    )
    space = Space(configuration_space)
    rng = np.random.default_rng(0)
    center = space.to_unit({'f': 0.5, 'i': 5, 'j': 500000, 'c': 'b', 'o': 'c'})
    near = space.neighbors(rng, center[None], 4000, 0.05)
    differ = near != center
    assert set(differ.sum(axis=1)) == {1, 2}
    # each coordinate is as likely as the others: 1.5 of 5 on average
    assert np.all(np.abs(differ.mean(axis=0) - 0.3) < 0.03)
    configurations = [space.from_unit(point) for point in near]
    assert {c['o'] for c in configurations} == {'b', 'c', 'd'}
    f = near[differ[:, space.names.index('f')], space.names.index('f')]
    assert scipy.stats.kstest(f, scipy.stats.norm(0.5, 0.05).cdf).pvalue > 1e-3
    j = [c['j'] for c in configurations if c['j'] != 500000]
    assert np.std(j) == pytest.approx(50000, rel=0.1)


def test_a_tiny_scale_still_moves_an_integer_by_a_step() -> None:
    for lower, upper in [(0, 1), (0, 9), (1, 10**6)]:
        space = Space(build([integer('i', lower, upper), uniform('f')]))
        rng = np.random.default_rng(0)
        for value in [lower, (lower + upper) // 2, upper]:
            near = space.neighbors(rng, space.to_unit({'i': value, 'f': 0.5})[None], 300, 1e-9)
            steps = {space.from_unit(point)['i'] - value for point in near}
            assert steps == {0} | {step for step in (-1, 1) if lower <= value + step <= upper}


def test_a_neighbor_samples_what_becomes_active() -> None:
    switch, child = category('switch', [True, False]), uniform('child', 0.0, 1.0)
    space = Space(build([switch, child, uniform('f')], [EqualsCondition(child, switch, True)]))
    near = space.neighbors(np.random.default_rng(0), space.to_unit({'switch': False, 'f': 0.5})[None], 4000, 0.01)
    child_values = near[:, space.names.index('child')]
    active = ~np.isnan(child_values)
    assert scipy.stats.kstest(child_values[active], 'uniform').pvalue > 1e-3
    assert np.array_equal(active, [space.from_unit(point)['switch'] for point in near])


# Forbidden clauses


def test_draw_finds_the_little_that_tight_clauses_leave() -> None:
    options = {'default_value': 7}
    a, b = integer('a', 1, 500, **options), integer('b', 1, 500, **options)
    f = uniform('f')
    forbidden = [ForbiddenLessThanRelation(a, b), ForbiddenGreaterThanRelation(a, b)]
    forbidden += [ForbiddenInClause(a, list(range(20, 501))), ForbiddenInClause(b, list(range(20, 501)))]
    space = Space(build([a, b, f], [], forbidden))
    rng = np.random.default_rng(0)
    tried: set[bytes] = set()
    for _ in range(8):
        point = space.draw(rng, tried)
        assert point is not None
        configuration = space.from_unit(point)
        assert configuration['a'] == configuration['b'] < 20
        assert point.tobytes() not in tried
        tried.add(point.tobytes())


def test_draw_gives_up_where_only_the_default_is_legal() -> None:
    a, b = integer('a', 0, 200, default_value=3), integer('b', 0, 200, default_value=5)
    forbidden = [ForbiddenInClause(h, [k for k in range(201) if k != h.default_value]) for h in (a, b)]
    space = Space(build([a, b], [], forbidden))
    rng = np.random.default_rng(0)
    point = space.draw(rng, set())
    assert point is not None
    assert space.from_unit(point) == {'a': 3, 'b': 5}
    assert space.draw(rng, {point.tobytes()}) is None


def test_forbidden_relations_hold_between_values() -> None:
    a, b = integer('a', 1, 9), integer('b', 1, 99)
    forbidden = [ForbiddenEqualsRelation(a, b), ForbiddenLessThanRelation(b, a)]
    configuration_space = build([a, b, uniform('f')], [], forbidden)
    space = Space(configuration_space)
    for point in points_of(space, 300):
        assert_agrees(configuration_space, space, point)
        configuration = space.from_unit(point)
        assert space.is_legal(point) == (configuration['a'] < configuration['b'])


# The surrogate's features


def test_features_written_out() -> None:
    a, b = category('a', 'xyz'), uniform('b', 0.0, 10.0)
    c, d = ordinal('c', ['s', 'm', 'l', 'xl']), category('d', [True, False])
    space = Space(build([a, b, c, d, kinds.Constant('k', 1)], [EqualsCondition(b, a, 'x'), EqualsCondition(d, a, 'y')]))
    h = math.sqrt(0.5)
    columns = {'a': 3, 'b': 2, 'c': 1, 'd': 3, 'k': 0}
    assert space.n_features == 9
    expected = [
        ({'a': 'x', 'b': 2.5, 'c': 's', 'k': 1}, {'a': [h, 0, 0], 'b': [0.25, 1], 'c': [0.125], 'd': [0, 0, 0]}),
        ({'a': 'y', 'c': 'xl', 'd': False, 'k': 1}, {'a': [0, h, 0], 'b': [0.5, 0], 'c': [0.875], 'd': [0, h, 1]}),
    ]
    for configuration, blocks in expected:
        encoded = space.features(space.to_unit(configuration)[None])[0]
        start = 0
        for name in space.names:
            block = encoded[start : start + columns[name]]
            np.testing.assert_allclose(block, blocks.get(name, []), atol=1e-12)
            start += columns[name]


def test_constants_alone_have_one_point_and_no_features() -> None:
    space = Space(build([kinds.Constant('k', 'v'), category('c', ['only'])]))
    assert space.n_features == 0
    assert space.all_points is not None
    assert space.all_points.shape == (1, 2)
    assert space.features(space.all_points).shape == (1, 0)
    assert space.from_unit(space.all_points[0]) == {'c': 'only', 'k': 'v'}
    rng = np.random.default_rng(0)
    assert space.neighbors(rng, space.all_points, 5, 0.1).shape == (0, 2)


# Candidates


def test_candidates_restrict_the_space_and_keep_their_exact_values() -> None:
    rng = np.random.default_rng(0)
    configuration_space = deep_learning(forbid=False)
    free = Space(configuration_space)
    candidates = [free.from_unit(point) for point in free.sample(rng, 50)]
    for candidate in candidates:
        candidate['lr'] = float(10 ** rng.uniform(-5, 0))  # 17 digits
    space = Space(configuration_space, [*candidates, *candidates[:5]])
    assert space.all_points is not None
    assert space.all_points.shape == (50, len(space.names))
    assert [space.from_unit(point) for point in space.all_points] == candidates
    assert [space.to_unit(c).tobytes() for c in candidates] == [point.tobytes() for point in space.all_points]
    tried = set()
    while (point := space.draw(rng, tried)) is not None:
        tried.add(point.tobytes())
    assert len(tried) == 50


def test_candidates_of_numpy_values_become_native() -> None:
    space = Space(build([uniform('f'), integer('i'), category('c')]), [
        {'f': np.float64(0.25), 'i': np.int64(3), 'c': np.str_('b')}
    ])  # fmt: skip
    assert space.all_points is not None
    configuration = space.from_unit(space.all_points[0])
    assert configuration == {'f': 0.25, 'i': 3, 'c': 'b'}
    assert {type(value) for value in configuration.values()} == {float, int, str}


# What is not accepted


@pytest.mark.parametrize(
    ('configuration', 'names'),
    [
        ({}, 'active'),
        (3, 'mapping'),
        ('lr', 'mapping'),
        ({'unheard of': 1}, 'unheard of'),
        ({'lr': 2.0}, 'lr'),
        ({'lr': 0.0}, 'lr'),
        ({'lr': math.nan}, 'lr'),
        ({'lr': math.inf}, 'lr'),
        ({'lr': 10**400}, 'lr'),
        ({'lr': '0.1'}, 'lr'),
        ({'lr': None}, 'lr'),
        ({'width': 16.5}, 'width'),
        ({'width': 8}, 'width'),
        ({'opt': 'lion'}, 'opt'),
        ({'opt': None}, 'opt'),
        ({'opt': ['sgd']}, 'opt'),
        ({'opt': np.array([1.0, 2.0])}, 'opt'),
        ({'lr': np.array([1.0, 2.0])}, 'lr'),
        ({'dropout': 1}, 'dropout'),
        ({'momentum': 0.4}, 'momentum'),  # inactive
    ],
)
def test_illegal_configurations_are_named(configuration: Any, names: str) -> None:
    space = Space(deep_learning())
    base = {'lr': 0.1, 'width': 64, 'opt': 'adam', 'layers': 1, 'dropout': 'none'}
    assert space.from_unit(space.to_unit(base)) == base
    given = {**base, **configuration} if isinstance(configuration, dict) and configuration else configuration
    with pytest.raises(ArgumentError, match=names) as info:
        space.to_unit(given, 'initial_configurations')
    assert info.value.argument == 'initial_configurations'
    with pytest.raises(ArgumentError, match=names) as info:
        Space(deep_learning(), [base, given])
    assert info.value.argument == 'candidates'


def test_missing_and_forbidden_are_named() -> None:
    space = Space(deep_learning())
    base = {'lr': 0.1, 'width': 64, 'opt': 'sgd', 'layers': 1, 'dropout': 'none'}
    with pytest.raises(ArgumentError, match='momentum'):
        space.to_unit(base)
    with pytest.raises(ArgumentError, match='dropout'):
        space.to_unit({**base, 'opt': 'adam', 'dropout': 'some'})


@pytest.mark.parametrize('candidates', [[], {}, 'abc', 3, {'f': 0.1}])
def test_candidates_are_a_list(candidates: Any) -> None:
    with pytest.raises(ArgumentError) as info:
        Space(build([uniform('f')]), candidates)
    assert info.value.argument == 'candidates'


@pytest.mark.parametrize('configuration_space', [ConfigurationSpace(), {'x': (0, 1)}, None])
def test_a_space_is_a_configspace_with_hyperparameters(configuration_space: Any) -> None:
    with pytest.raises(ArgumentError) as info:
        Space(configuration_space)
    assert info.value.argument == 'configuration_space'


def test_numpy_values_are_accepted() -> None:
    space = Space(build([uniform('f'), integer('i'), category('c', [1, 2]), category('b', [True, False])]))
    native = space.to_unit({'f': 0.5, 'i': 3, 'c': 2, 'b': False})
    scalars = {'f': np.float32(0.5), 'i': np.int16(3), 'c': np.int64(2), 'b': np.bool_(False)}
    assert space.to_unit(scalars).tobytes() == native.tobytes()
    assert space.to_unit({'f': 0.5, 'i': 3.0, 'c': 2.0, 'b': 0}).tobytes() == native.tobytes()


# JSON


class Layer:
    """A category that JSON does not know."""

    def __repr__(self) -> str:
        return 'Layer()'


def test_arbitrary_objects_survive_as_their_repr() -> None:
    layer = Layer()
    configuration_space = build([category('c', [layer, (1, 2), None, 'text', [3, 4]]), uniform('f')])
    space = Space(configuration_space)
    for choice in [layer, (1, 2), None, 'text', [3, 4]]:
        configuration = {'c': choice, 'f': 0.25}
        point = space.to_unit(configuration)
        assert space.from_unit(point)['c'] is choice or choice in [(1, 2), [3, 4]]
        plain = json.loads(json.dumps(space.plain(configuration)))
        assert space.restore(plain) == configuration
    assert space.plain({'c': layer, 'f': 0.25}) == {'c': 'Layer()', 'f': 0.25}
    with pytest.raises(ArgumentError, match='c') as info:
        space.restore({'c': 'Layer(2)', 'f': 0.25})
    assert info.value.argument == 'configuration'
    with pytest.raises(ArgumentError) as info:
        write_space(configuration_space)
    assert info.value.argument == 'configuration_space'
    json.dumps(describe(configuration_space))


def test_plain_and_restore_leave_plain_values_as_they_are() -> None:
    space = Space(deep_learning())
    for point in space.sample(np.random.default_rng(0), 200):
        configuration = space.from_unit(point)
        assert space.plain(configuration) == configuration
        restored = space.restore(json.loads(json.dumps(space.plain(configuration))))
        assert restored == configuration
        assert list(map(type, restored.values())) == list(map(type, configuration.values()))


def test_a_space_with_forbidden_clauses_survives_json() -> None:
    configuration_space = deep_learning()
    again = read_space(write_space(configuration_space))
    ours, theirs = Space(configuration_space), Space(again)
    for point in points_of(ours, 200):
        assert ours.is_legal(point) == theirs.is_legal(point)


def test_describe_tells_everything() -> None:
    hyperparameters = [
        uniform('f', 1e-3, 1.0, log=True),
        category('c', 'ab', weights=[1, 3]),
        ordinal('o', ['low', 'high']),
        kinds.Constant('k', 'v'),
        kinds.NormalFloatHyperparameter('n', 1.0, 2.0, lower=0.0, upper=3.0),
        kinds.BetaIntegerHyperparameter('b', 2.0, 3.0, lower=1, upper=9),
    ]
    conditions = [EqualsCondition(hyperparameters[0], hyperparameters[1], 'a')]
    forbidden = [ForbiddenEqualsClause(hyperparameters[2], 'high')]
    entries = json.loads(json.dumps(describe(build(hyperparameters, conditions, forbidden))))
    named = {entry['name']: entry for entry in entries if 'name' in entry}
    assert {name: entry['type'] for name, entry in named.items()} == {
        'f': 'UniformFloat', 'c': 'Categorical', 'o': 'Ordinal', 'k': 'Constant', 'n': 'NormalFloat', 'b': 'BetaInteger'
    }  # fmt: skip
    assert [named['f'][key] for key in ('lower', 'upper', 'log')] == [1e-3, 1.0, True]
    assert [named['c'][key] for key in ('choices', 'weights')] == [['a', 'b'], [1, 3]]
    assert named['o']['sequence'] == ['low', 'high']
    assert named['k']['value'] == 'v'
    assert [named['n'][key] for key in ('mu', 'sigma', 'default_value')] == [1.0, 2.0, 1.0]
    assert [named['b'][key] for key in ('alpha', 'beta', 'upper')] == [2.0, 3.0, 9]
    assert entries[-2]['text'] == "f | c == 'a'"
    assert 'o' in entries[-1]['text']
    assert 'high' in entries[-1]['text']


class Anonymous:
    """A category whose repr has an address."""


def restored_elsewhere(choices: Callable[[], Sequence[Any]], index: int) -> tuple[Any, Any, Sequence[Any]]:
    """What JSON holds of a choice, what it is in another process, where the choices are others, and those."""
    space = Space(build([category('c', choices())]))
    plain = json.loads(json.dumps(space.plain({'c': space.transforms['c'].values[index]}), allow_nan=False))
    there = Space(build([category('c', choices())]))
    return plain['c'], there.restore(plain)['c'], there.transforms['c'].values


@pytest.mark.parametrize(
    'choices',
    [
        lambda: [1.0, math.inf, -math.inf, math.nan],
        lambda: ['inf', math.inf, 'nan', math.nan],
        lambda: [np.float32('inf'), np.float64('nan'), 0.5],
        lambda: [Anonymous(), Anonymous(), Anonymous()],
        lambda: [lambda x: x, lambda x: -x, len, math.cos],
        lambda: [partial(max, 1), partial(max, 2), Anonymous.__init__],
        lambda: [{'b', 'a', 'c'}, {'a', 'b'}, frozenset({'d', 'e'})],
        lambda: [[1, 2], [1, 2, 3], (1, 2), '[1, 2]'],
        lambda: [10**400, 10**5000, 10**5000 + 1, 3],
        lambda: [{'a': [1] * 2000}, {'a': [1] * 2001}],
    ],
)
def test_a_choice_is_known_again_in_another_process(choices: Callable[[], Sequence[Any]]) -> None:
    for index in range(len(choices())):
        plain, found, values = restored_elsewhere(choices, index)
        assert found is values[index], plain
        described = describe(build([category('c', choices())]))[0]['choices']
        assert described[index] == plain or plain != plain
        json.dumps(described, allow_nan=False)


@pytest.mark.parametrize('value', [math.inf, -math.inf])
def test_values_that_are_no_numbers_are_found_and_meet_conditions(value: float) -> None:
    clip, norm = category('clip', [1.0, value]), uniform('norm')
    space = Space(build([clip, norm], [EqualsCondition(norm, clip, clip.choices[1])]))
    point = space.to_unit({'clip': float(str(value)), 'norm': 0.5})
    assert space.from_unit(point)['clip'] is space.transforms['clip'].values[1]
    with pytest.raises(ArgumentError, match='norm'):
        space.to_unit({'clip': float(str(value))})


def test_a_nan_of_another_make_is_found() -> None:
    space = Space(build([category('clip', [1.0, math.nan]), ordinal('o', [2.0, math.nan])]))
    point = space.to_unit({'clip': np.float32('nan'), 'o': float('nan')})
    assert str(space.from_unit(point)) == "{'clip': nan, 'o': nan}"


FINE = [
    ({'x': [123456789012345, 123456789012346, 123456789012347]}, integer('x', 0, 2**48)),
    ({'x': [2**53, 2**53 + 1, 2**53 + 2, 2**62]}, integer('x', 0, 2**62)),
    ({'x': [999999999998, 999999999999, 10**12]}, integer('x', 1, 10**12, log=True)),
    ({'x': [1e-7, 2e-7, 3e-7, 1 / 3]}, uniform('x', 0.0, 1e6)),
    ({'x': [0.0, 5e-324, 1e-300]}, uniform('x', 0.0, 1.0)),
]


@pytest.mark.parametrize(('values', 'hyperparameter'), FINE, ids=lambda value: str(value)[:30])
def test_candidates_are_raced_exactly_however_near_they_are(values: dict[str, list], hyperparameter: Any) -> None:
    """W13."""
    configurations = [{'x': value} for value in values['x']]
    space = Space(build([hyperparameter]), configurations)
    assert space.all_points is not None
    assert [space.from_unit(point) for point in space.all_points] == configurations
    for point, configuration in zip(space.all_points, configurations):
        assert space.to_unit(configuration).tobytes() == point.tobytes()
    again = Space(build([hyperparameter]), [*configurations, *configurations])
    assert np.array_equal(again.all_points, space.all_points)


@pytest.mark.parametrize(('values', 'hyperparameter'), FINE, ids=lambda value: str(value)[:30])
def test_first_configurations_are_raced_exactly(values: dict[str, list], hyperparameter: Any) -> None:
    first = [{'x': value} for value in values['x']]
    optimizer = RandomSearch(build([hyperparameter]), 1, seed=0, initial_configurations=first)
    assert [optimizer.ask().configuration for _ in first] == first


def test_a_category_of_ten_thousand_choices_takes_little_memory() -> None:
    """W21: its features, one column a choice, are never all there at once."""
    tracemalloc.start()
    try:
        space = Space(build([category('c', [f'v{i}' for i in range(10_000)])]))
        point = space.sobol_point(0, 7, set())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert space.n_features == 10_000
    assert point is not None
    assert peak < 100e6  # they are 800 MB
    assert space.sobol_point(0, 7, {point.tobytes()}).tobytes() != point.tobytes()
