"""Which part of an objective function cannot be sent to a process, and which errors say so."""

from __future__ import annotations

import pickle
import threading
from functools import partial

import pytest

from hpo4dl import ArgumentError
from hpo4dl.execution.pickling import check_picklable, is_about_pickling, pickling_error, unpicklable_part

LOCK = threading.Lock()


def objective(configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str, *more, **named) -> dict:
    return {'epoch': epoch, 'metric': 0.0}


class Holder:
    """An objective function that holds things."""

    def __init__(self, **held) -> None:
        self.__dict__.update(held)

    def __call__(self, configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> dict:
        return {}

    def method(self, configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> dict:
        return {}


class Endless:
    """Cannot be pickled, and holds itself."""

    def __init__(self) -> None:
        self.me = self

    def __reduce__(self):
        raise pickle.PicklingError('never')


def local(configuration: dict, epoch: int, previous_epoch: int, checkpoint_path: str) -> dict:
    def inner() -> dict:
        return {}

    return inner


@pytest.mark.parametrize('good', [objective, partial(objective, 1, k=[2]), Holder(x=1), Holder(x=1).method, len])
def test_what_can_be_sent_passes(good) -> None:
    check_picklable(good)


@pytest.mark.parametrize(
    ('bad', 'where', 'part'),
    [
        (Holder(a=1, lock=LOCK), 'objective_function.lock', LOCK),
        (Holder(deep={'a': [1, (2, LOCK)]}), "objective_function.deep['a'][1][1]", LOCK),
        (Holder(inner=Holder(lock=LOCK)), 'objective_function.inner.lock', LOCK),
        (Holder(lock=LOCK).method, 'objective_function.__self__.lock', LOCK),
        (partial(objective, 1, LOCK), 'objective_function.args[1]', LOCK),
        (partial(objective, k=1, lock=LOCK), "objective_function.keywords['lock']", LOCK),
        (partial(Holder(lock=LOCK)), 'objective_function.func.lock', LOCK),
        (LOCK, 'objective_function', LOCK),
    ],
)
def test_the_innermost_part_is_named(bad, where: str, part: object) -> None:
    found = unpicklable_part('objective_function', bad)
    assert found[0] == where
    assert found[1] is part
    with pytest.raises(ArgumentError) as raised:
        check_picklable(bad)
    assert raised.value.argument == 'objective_function'
    assert f'{where} is ' in raised.value.accepted
    assert isinstance(raised.value.__cause__, TypeError)


def test_local_functions_are_the_fault_themselves() -> None:
    for bad in (lambda *arguments: {}, local({}, 1, 0, '')):
        assert unpicklable_part('objective_function', bad) == ('objective_function', bad)
        with pytest.raises(ArgumentError, match='top of a module'):
            check_picklable(bad)


def test_what_holds_itself_comes_to_an_end() -> None:
    bad = Endless()
    where, part = unpicklable_part('objective_function', bad)
    assert part is bad
    assert where.startswith('objective_function.me.me')


def test_the_error_says_what_pickle_said() -> None:
    error = pickling_error(Holder(lock=LOCK), TypeError('of\nthe engine'))
    assert 'TypeError: of the engine' in str(error)


@pytest.mark.parametrize('bad', [LOCK, lambda: 0, local({}, 1, 0, ''), Endless(), Holder(lock=LOCK)])
def test_what_pickle_itself_raises_is_recognized(bad: object) -> None:
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as raised:
        pickle.dumps(bad)
    assert is_about_pickling(raised.value)


@pytest.mark.parametrize(
    'error',
    [
        TypeError('unsupported operand'),
        AttributeError("no attribute 'x'"),
        RuntimeError('pickle'),
        OSError(),
        SystemExit(),
    ],
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_about_pickling(error)
