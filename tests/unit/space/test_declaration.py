"""A space as a dictionary: against the same space written with ConfigSpace, and through TOML and JSON and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ConfigSpace import (
    AndConjunction,
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    GreaterThanCondition,
    InCondition,
    Integer,
    LessThanCondition,
    NotEqualsCondition,
    OrConjunction,
    OrdinalHyperparameter,
)
from hypothesis import given
from hypothesis import strategies as st

from hpo4dl import ArgumentError
from hpo4dl.space.declaration import as_space
from hpo4dl.space.serialization import write_space
from hpo4dl.tools.space_files import read_declaration, read_space_file, to_toml

DECLARED: dict[str, Any] = {
    'lr': {'float': [1e-5, 1e-1], 'log': True, 'default': 1e-3},
    'layers': {'int': [1, 4]},
    'width': {'int': [16, 512], 'log': True},
    'optimizer': {'choice': ['sgd', 'adam', 'ada belief', 3]},
    'size': {'ordinal': ['s', 'm', 'l'], 'default': 'm'},
    'momentum': {'float': [0, 0.99], 'when': 'optimizer == sgd and layers > 1'},
    'beta': {'float': [0.5, 0.9], 'when': "optimizer in [adam, 'ada belief', 3] or size<l"},
    'nesterov': {'choice': ['yes', 'no'], 'when': 'momentum > 0.5'},
    'data': {'constant': 'digits'},
    'fold': {'int': [0, 9], 'when': 'size != "l"'},
}


def by_hand() -> ConfigurationSpace:
    """The same with ConfigSpace's own words."""
    space = ConfigurationSpace()
    lr, layers = Float('lr', (1e-5, 1e-1), log=True, default=1e-3), Integer('layers', (1, 4))
    optimizer = Categorical('optimizer', ['sgd', 'adam', 'ada belief', 3], default='sgd')
    size = OrdinalHyperparameter('size', ['s', 'm', 'l'], default_value='m')
    momentum, beta, fold = Float('momentum', (0.0, 0.99)), Float('beta', (0.5, 0.9)), Integer('fold', (0, 9))
    nesterov = Categorical('nesterov', ['yes', 'no'], default='yes')
    space.add([lr, layers, Integer('width', (16, 512), log=True), optimizer, size, momentum, beta, nesterov, fold])
    space.add(Constant('data', 'digits'))
    space.add(AndConjunction(EqualsCondition(momentum, optimizer, 'sgd'), GreaterThanCondition(momentum, layers, 1)))
    some = InCondition(beta, optimizer, ['adam', 'ada belief', 3])
    space.add(OrConjunction(some, LessThanCondition(beta, size, 'l')))
    space.add([GreaterThanCondition(nesterov, momentum, 0.5), NotEqualsCondition(fold, size, 'l')])
    return space


def test_it_is_the_space_that_configspace_makes() -> None:
    assert as_space(DECLARED) == by_hand()
    assert json.loads(write_space(as_space(DECLARED))) == json.loads(write_space(by_hand()))


def test_what_is_no_dictionary_stays_what_it_is() -> None:
    space = by_hand()
    assert as_space(space) is space
    assert as_space(None) is None


def test_files_hold_the_same(tmp_path: Path) -> None:
    (tmp_path / 'space.json').write_text(json.dumps(DECLARED), encoding='utf-8')
    assert read_declaration(tmp_path / 'space.json') == DECLARED
    assert read_space_file(tmp_path / 'space.json') == by_hand()
    (tmp_path / 'configspace.json').write_text(write_space(by_hand()), encoding='utf-8')
    assert read_space_file(tmp_path / 'configspace.json') == by_hand()


@pytest.mark.skipif(sys.version_info < (3, 11), reason='Python has no TOML yet')
def test_toml_holds_the_same(tmp_path: Path) -> None:
    (tmp_path / 'space.toml').write_text(to_toml(DECLARED), encoding='utf-8')
    assert read_declaration(tmp_path / 'space.toml') == DECLARED
    assert read_space_file(tmp_path / 'space.toml') == by_hand()


text = st.text(st.characters(codec='utf-8'), min_size=1)
values = text | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()


@pytest.mark.skipif(sys.version_info < (3, 11), reason='Python has no TOML yet')
@given(st.dictionaries(text, st.fixed_dictionaries({'choice': st.lists(values, min_size=1, max_size=5)})))
def test_toml_of_any_names_and_values_is_read_back(declared: dict[str, Any]) -> None:
    import tomllib

    assert tomllib.loads(to_toml(declared)) == declared


@pytest.mark.parametrize(
    ('entry', 'says'),
    [
        ((1.0, 2.0), "{'float': [low, high]}"),
        ([1, 2], "{'choice': [...]}"),
        (3, "{'constant': value}"),
        ({}, "{'float': [low, high]}"),
        ({'float': [1, 2], 'int': [1, 2]}, "{'float': [low, high]}"),
        ({'float': [1.0]}, 'low < high'),
        ({'float': [2.0, 1.0]}, 'low < high'),
        ({'float': [1.0, 1.0]}, 'low < high'),
        ({'float': [0.0, 1.0], 'log': True}, 'low > 0 with log'),
        ({'float': ['1', '2']}, 'low < high'),
        ({'float': [True, 2]}, 'low < high'),
        ({'float': [1.0, 2.0], 'log': 'yes'}, 'low < high'),
        ({'int': [1.0, 2.0]}, 'low < high'),
        ({'int': [1, 2], 'default': 7}, '7'),
        ({'choice': []}, "{'choice': [...]}"),
        ({'choice': 'sgd'}, "{'choice': [...]}"),
        ({'choice': ['a', 'b'], 'default': 'c'}, 'c'),
        ({'choice': ['a', 'b'], 'log': True}, "no 'log' there"),
        ({'int': [1, 2], 'low': 3}, "no 'low' there"),
        ({'int': [1, 2], 'when': 'other = a'}, 'other == value'),
        ({'int': [1, 2], 'when': 'other'}, 'other == value'),
        ({'int': [1, 2], 'when': 'other == a b'}, 'other == value'),
        ({'int': [1, 2], 'when': ''}, 'other == value'),
        ({'int': [1, 2], 'when': 3}, 'other == value'),
        ({'int': [1, 2], 'when': 'other == c'}, "never 'c'"),
        ({'int': [1, 2], 'when': 'another == a'}, "['other']"),
        ({'int': [1, 2], 'when': 'x == 1'}, "['other']"),
        ({'int': [1, 2], 'when': 'other == a and other == b or other == a'}, "either 'and' or 'or'"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_is_accepted(entry: Any, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        as_space({'other': {'choice': ['a', 'b']}, 'x': entry})
    message = str(caught.value)
    assert message.startswith(f"configuration_space: got {{'x': {entry!r}")
    assert says in message


def test_conditions_in_a_circle_are_refused() -> None:
    with pytest.raises(ArgumentError, match='configuration_space'):
        as_space({'x': {'int': [1, 3], 'when': 'y == 1'}, 'y': {'int': [1, 3], 'when': 'x == 1'}})


@pytest.mark.parametrize(
    ('name', 'content'), [('a.json', '{'), ('a.json', '[1]'), ('a.toml', 'x = '), ('a.json', None), ('a.toml', None)]
)
def test_a_file_that_cannot_be_read_is_named(name: str, content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding='utf-8')
    with pytest.raises(ArgumentError, match=name):
        read_space_file(tmp_path / name)


def test_a_file_that_configspace_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / 'a.json').write_text('{"hyperparameters": [{"type": "none"}]}', encoding='utf-8')
    with pytest.raises(ArgumentError, match=r'a\.json'):
        read_space_file(tmp_path / 'a.json')
