"""Each check of an argument: what it takes and returns, and what it refuses, naming the argument."""

from __future__ import annotations

import configparser
import functools
import math
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hpo4dl import ArgumentError, HPO4DLError
from hpo4dl.checks import (
    check_choice,
    check_count,
    check_flag,
    check_list,
    check_name,
    check_number,
    check_objective_function,
    check_path,
    check_seed,
    check_size,
)
from hpo4dl.integrations.extras import PACKAGES, import_extra

# The least count and the signs are arguments of the checks themselves.
CHECKS: dict[str, Callable] = {
    'flag': functools.partial(check_flag, 'mine'),
    'count': functools.partial(check_count, 'mine'),
    'count from 0': functools.partial(check_count, 'mine', least=0),
    'number': functools.partial(check_number, 'mine'),
    'positive number': functools.partial(check_number, 'mine', positive=True),
    'path': functools.partial(check_path, 'mine'),
    'list': functools.partial(check_list, 'mine'),
    'choice': functools.partial(check_choice, 'mine', choices=('one', 'other')),
    'name': functools.partial(check_name, 'mine'),
    'size': functools.partial(check_size, 'mine'),
}

TAKEN = [
    ('flag', True, True),
    ('flag', False, False),
    ('flag', np.bool_(True), True),
    ('count', 1, 1),
    ('count', 10**30, 10**30),
    ('count', np.int8(7), 7),
    ('count', np.uint64(2**64 - 1), 2**64 - 1),
    ('count from 0', 0, 0),
    ('number', 0, 0.0),
    ('number', -1.5, -1.5),
    ('number', np.float32(0.5), 0.5),
    ('number', np.int64(-3), -3.0),
    ('positive number', 5e-324, 5e-324),
    ('positive number', 3, 3.0),
    ('path', 'a/b', 'a/b'),
    ('path', Path('a/b'), 'a/b'),
    ('list', [], []),
    ('list', (1, 2), (1, 2)),
    ('choice', 'other', 'other'),
    ('name', 'validation loss', 'validation loss'),
    ('name', 'größe', 'größe'),
    ('size', 1, 1),
    ('size', np.int64(2**40), 2**40),
    ('size', '1B', 1),
    ('size', '20GB', 20 * 10**9),
    ('size', ' 512 MiB ', 512 * 2**20),
    ('size', '1.5kB', 1500),
    ('size', '0.5kiB', 512),
    ('size', '2TB', 2 * 10**12),
    ('size', '3PiB', 3 * 2**50),
]

REFUSED = {
    'flag': [0, 1, 'yes', 'True', None, []],
    'count': [0, -1, True, 2.0, 2.5, math.nan, '3', None, [3], np.float64(3), np.bool_(True), np.array(3), 3j],
    'count from 0': [-1, np.int64(-1), False],
    'number': [math.nan, math.inf, -math.inf, np.float32('nan'), '1', None, True, [1.0], 1j, Fraction(1, 2)],
    'positive number': [0, 0.0, -0.0, -1, np.float64(-1e-9), math.nan, math.inf],
    'path': ['', 7, None, b'a', ['a']],
    'list': ['ab', {'a': 1}, {1, 2}, None, 3, (i for i in range(3)), np.zeros(2)],
    'choice': ['', 'neither', 'One', None, 1, True],
    'size': [0, -1, True, 1.5, None, '', '20', '20 quux', 'GB', '-1GB', '1e9B', '20gB', '1,5GB'],
}


@pytest.mark.parametrize(('name', 'value', 'used'), TAKEN)
def test_what_is_taken_is_returned_as_it_is_used(name: str, value: object, used: object) -> None:
    returned = CHECKS[name](value)
    assert returned == used
    assert type(returned) is type(used), 'a plain Python object, which JSON can hold'


@pytest.mark.parametrize(('name', 'value'), [(name, value) for name, values in REFUSED.items() for value in values])
def test_what_is_refused_is_named(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=r'^mine: got .*; accepted: ') as error:
        CHECKS[name](value)
    assert error.value.argument == 'mine'
    assert error.value.value is value
    assert error.value.accepted in str(error.value)


def test_the_bound_and_the_choices_are_told() -> None:
    for name, told in [('count', '>= 1'), ('count from 0', '>= 0'), ('positive number', '> 0'), ('size', '20GB')]:
        with pytest.raises(ArgumentError, match=told):
            CHECKS[name](-5)
    with pytest.raises(ArgumentError, match="'one' or 'other'"):
        CHECKS['choice']('neither')


@pytest.mark.parametrize('value', ['0GB', '0.4B', '2 iB'])
def test_a_size_is_told_as_it_was_given(value: str) -> None:
    with pytest.raises(ArgumentError, match=f'got {value!r}'):
        check_size('mine', value)


def test_what_no_float_can_hold_is_an_argument_error() -> None:
    with pytest.raises(ArgumentError, match='got 1000'):
        check_number('mine', 10**400)
    with pytest.raises(ArgumentError, match="got '999"):
        check_size('mine', '9' * 400 + 'B')


def test_a_decorated_objective_function_is_judged_by_what_is_called() -> None:
    """`functools.wraps` shows the signature of the function inside, which may have more arguments, or fewer."""

    def inside(logger, configuration, epoch, previous_epoch, checkpoint_path, extra):
        raise AssertionError('not called')

    @functools.wraps(inside)
    def decorated(*arguments):
        return inside(None, *arguments, None)

    @functools.wraps(inside)
    def wrong(configuration):
        raise AssertionError('not called')

    check_objective_function(decorated)
    with pytest.raises(ArgumentError, match='objective_function'):
        check_objective_function(wrong)


class TestSeed:
    def test_it_is_a_count_from_0(self) -> None:
        assert check_seed(np.int64(0)) == 0
        for value in (-1, 1.0, True, '1'):
            with pytest.raises(ArgumentError, match=r'^seed: '):
                check_seed(value)

    def test_none_draws_a_new_one(self) -> None:
        drawn = {check_seed(None) for _ in range(20)}
        assert len(drawn) == 20
        assert all(type(seed) is int and 0 <= seed < 2**32 for seed in drawn)


class Callable4:
    def __call__(self, configuration, epoch, previous_epoch, checkpoint_path):
        return None

    def method(self, configuration, epoch, previous_epoch, checkpoint_path):
        return None


def of_four(configuration, epoch, previous_epoch, checkpoint_path):
    return None


async def asynchronous(configuration, epoch, previous_epoch, checkpoint_path):
    return None


class TestObjectiveFunction:
    @pytest.mark.parametrize(
        'function',
        [
            of_four,
            lambda *arguments: None,
            lambda a, b, c, d, more=1, **others: None,
            Callable4(),
            Callable4().method,
            functools.partial(lambda model, a, b, c, d: None, 'model'),
            max,  # does not tell its signature
        ],
    )
    def test_what_takes_four_arguments_is_taken(self, function: Callable) -> None:
        check_objective_function(function)

    @pytest.mark.parametrize(
        ('function', 'said'),
        [
            (3, 'configuration, epoch, previous_epoch, checkpoint_path'),
            (None, 'configuration, epoch, previous_epoch, checkpoint_path'),
            ('train', 'configuration, epoch, previous_epoch, checkpoint_path'),
            (lambda configuration: None, r'yours takes \(configuration\): too many positional arguments'),
            (lambda a, b, c, d, e: None, "missing a required argument: 'e'"),
            (lambda a, b, c, d, *, e: None, "missing a required (keyword-only )?argument: 'e'"),
            (asynchronous, 'not async'),
        ],
    )
    def test_what_cannot_be_called_so_is_named(self, function: object, said: str) -> None:
        with pytest.raises(ArgumentError, match=f'^objective_function: .*{said}'):
            check_objective_function(function)


def test_an_argument_error_is_short_and_can_be_sent() -> None:
    error = ArgumentError('mine', 'x' * 10_000, 'something short')
    assert len(str(error)) < 300
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.argument) == (ArgumentError, str(error), 'mine')
    assert isinstance(error, ValueError)


def test_a_missing_package_says_what_to_install() -> None:
    assert import_extra('math', 'plot') is math
    with pytest.raises(HPO4DLError, match=r'nowhere_installed: pip install matplotlib '):
        import_extra('nowhere_installed', 'plot')


def test_packages_of_extras_are_those_of_the_metadata() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parents[2] / 'setup.cfg', encoding='utf-8')
    extras = metadata['options.extras_require'].items()
    declared = {name: re.findall(r'^([\w-]+) >=', text.strip(), re.MULTILINE) for name, text in extras}
    assert {name: packages.split() for name, packages in PACKAGES.items()} == {
        name: declared[name] for name in PACKAGES
    }
