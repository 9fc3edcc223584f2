"""A search space as a plain dictionary: the same in Python, in TOML and JSON files, and as options of the command line.

    {
        'lr': {'float': [1e-5, 1e-1], 'log': True, 'default': 1e-3},
        'layers': {'int': [1, 4]},
        'optimizer': {'choice': ['sgd', 'adam']},
        'size': {'ordinal': ['s', 'm', 'l']},
        'momentum': {'float': [0.0, 0.99], 'when': 'optimizer == sgd and layers > 1'},
        'data': {'constant': 'digits'},
    }

A condition compares another hyperparameter with a value: `==`, `!=`, `<`, `>`, or `in [sgd, adam]`. Several are joined
by `and`, or by `or`. What has a space in it stands in quotes. Of ConfigSpace, all else (forbidden clauses, weights,
other distributions) has no form here.
"""

from __future__ import annotations

import re
from typing import Any

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

from ..errors import ArgumentError
from ..text import one_line

FIELDS = {
    'float': ('log', 'default'),
    'int': ('log', 'default'),
    'choice': ('default',),
    'ordinal': ('default',),
    'constant': (),
}
"""By the key that says what a hyperparameter is: what else may stand beside it, and `when`."""
ACCEPTED = (
    "{'float': [low, high]}, {'int': [low, high]}, {'choice': [...]}, {'ordinal': [...]} or {'constant': value}, with "
    "'log': True, 'default': value, 'when': 'other == value' where wanted"
)
WHEN = "'other == value', with ==, !=, <, > or 'in [value, value]', joined by 'and' or by 'or'"
RELATIONS = {
    '==': EqualsCondition,
    '!=': NotEqualsCondition,
    '<': LessThanCondition,
    '>': GreaterThanCondition,
    'in': InCondition,
}
TOKEN = re.compile(r'"[^"]*"|\'[^\']*\'|==|!=|[<>\[\],]|[^\s<>=!\[\],"\']+')


def as_space(given: Any) -> Any:
    """Return the ConfigurationSpace that a dictionary declares; anything else as it is.

    Raises:
        ArgumentError: the dictionary declares none.
    """
    if not isinstance(given, dict):
        return given
    space = ConfigurationSpace()
    for make in (_hyperparameter, _condition):  # conditions need what they compare with
        for name, entry in given.items():
            try:
                space.add(*make(space, name, entry))
            except ArgumentError:
                raise
            except Exception as error:  # whatever ConfigSpace raises
                raise _refused(name, entry, f'{ACCEPTED} ({one_line(error)})') from error
    return space


def _hyperparameter(space: ConfigurationSpace, name: str, entry: Any) -> list[Any]:
    """Return what is to be added for a hyperparameter, but for its condition."""
    kinds = [kind for kind in FIELDS if isinstance(entry, dict) and kind in entry]
    if not isinstance(name, str) or len(kinds) != 1:
        raise _refused(name, entry, ACCEPTED)
    (kind,) = kinds
    unknown = [key for key in entry if key not in (kind, 'when', *FIELDS[kind])]
    if unknown:
        raise _refused(name, entry, f'no {unknown[0]!r} there: {ACCEPTED}')
    given, default = entry[kind], entry.get('default')
    if kind == 'constant':
        return [Constant(name, given)]
    if not isinstance(given, (list, tuple)) or not given:
        raise _refused(name, entry, ACCEPTED)
    if kind == 'choice':
        return [Categorical(name, list(given), default=entry.get('default', given[0]))]
    if kind == 'ordinal':
        return [OrdinalHyperparameter(name, list(given), default_value=entry.get('default', given[0]))]
    log, numbers = entry.get('log', False), int if kind == 'int' else (int, float)
    is_range = len(given) == 2 and all(isinstance(b, numbers) and not isinstance(b, bool) for b in given)
    if not is_range or not isinstance(log, bool) or not given[0] < given[1] or (log and given[0] <= 0):
        raise _refused(name, entry, f'{ACCEPTED}; low < high, and low > 0 with log')
    low, high = given
    if kind == 'int':
        return [Integer(name, (low, high), log=log, default=default)]
    return [Float(name, (float(low), float(high)), log=log, default=default)]


def _condition(space: ConfigurationSpace, name: str, entry: dict[str, Any]) -> list[Any]:
    """Return what is to be added for the condition of a hyperparameter: comparisons, joined; nothing if it has none."""
    if 'when' not in entry:
        return []
    text = entry['when']
    tokens = TOKEN.findall(text) if isinstance(text, str) else []
    if not tokens or TOKEN.sub('', text).strip():
        raise _refused(name, entry, WHEN)
    joints = {token for token in tokens if token in ('and', 'or')}
    if len(joints) > 1:
        raise _refused(name, entry, f"either 'and' or 'or' in one condition: {WHEN}")
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token in joints:
            parts.append([])
        else:
            parts[-1].append(token)
    compared = [_comparison(space, name, entry, part) for part in parts]
    if len(compared) == 1:
        return compared
    return [(AndConjunction if joints == {'and'} else OrConjunction)(*compared)]


def _comparison(space: ConfigurationSpace, name: str, entry: dict[str, Any], tokens: list[str]) -> Any:
    """Return the comparison of one other hyperparameter, such as `optimizer == sgd`."""
    if len(tokens) < 3 or tokens[1] not in RELATIONS:
        raise _refused(name, entry, WHEN)
    other, relation = _unquoted(tokens[0]), tokens[1]
    if other not in space or other == name:
        raise _refused(name, entry, f'a condition on one of {[known for known in space if known != name]}')
    texts = [_unquoted(token) for token in tokens[2:] if relation != 'in' or token not in ('[', ',', ']')]
    values = [_value(space[other], text) for text in texts]
    if relation != 'in' and len(values) != 1:
        raise _refused(name, entry, WHEN)
    return RELATIONS[relation](space[name], space[other], values if relation == 'in' else values[0])


def _unquoted(token: str) -> str:
    return token[1:-1] if token[0] in '"\'' else token


def _value(other: Any, text: str) -> Any:
    """Return the value of a hyperparameter that is written like this; a ValueError where there is none."""
    listed = getattr(other, 'choices', None) or getattr(other, 'sequence', None)
    if listed is None and hasattr(other, 'value'):
        listed = [other.value]
    if listed is None:
        return int(text) if isinstance(other.lower, int) else float(text)
    for value in listed:
        if str(value) == text:
            return value
    raise ValueError(f'{other.name} is one of {list(listed)}, never {text!r}')


def _refused(name: Any, entry: Any, accepted: str) -> ArgumentError:
    return ArgumentError('configuration_space', {name: entry}, accepted)
