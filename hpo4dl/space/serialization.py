"""A space, and a configuration's values, as JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace

from ..errors import ArgumentError

LISTS = ('choices', 'weights', 'sequence')
FIELDS = ('default_value', 'value', *LISTS, 'lower', 'upper', 'log', 'mu', 'sigma', 'alpha', 'beta')


def read_space(text: str) -> ConfigurationSpace:
    """The space that `write_space` wrote."""
    return ConfigurationSpace.from_json(io.StringIO(text))


def write_space(space: ConfigurationSpace) -> str:
    """ConfigSpace's own JSON.

    Raises:
        ArgumentError: what `read_space` would read of it is not this space: there are categories other than strings
            and numbers.
    """
    try:
        text = json.dumps(space.to_serialized_dict(), default=np.generic.item)
        # Clauses are only counted: their text may list values in another order.
        written, n = describe(space), len(space)
        read = describe(read_space(text))
        if read[:n] == written[:n] and len(read) == len(written):
            return text
        reason = 'what ConfigSpace writes of it is not what it reads'
    except Exception as error:  # whatever ConfigSpace and json raise
        reason = f'{type(error).__name__}: {error}'
    raise ArgumentError('configuration_space', space, f'a space that ConfigSpace can write as JSON ({reason})')


def describe(space: ConfigurationSpace) -> list[dict[str, Any]]:
    """The space in plain words for JSON: an entry a hyperparameter, then one a condition and a forbidden clause."""
    entries: list[dict[str, Any]] = []
    for name in space:
        entry: dict[str, Any] = {'name': name, 'type': type(space[name]).__name__.replace('Hyperparameter', '')}
        for field in FIELDS:
            value = getattr(space[name], field, None)
            if value is not None:
                entry[field] = [plain_value(v) for v in value] if field in LISTS else plain_value(value)
        entries.append(entry)
    entries += [{'type': 'Condition', 'text': str(condition)} for condition in space.conditions]
    return entries + [{'type': 'Forbidden', 'text': str(clause)} for clause in space.forbidden_clauses]


def plain_value(value: Any) -> Any:
    """Return a value as JSON can hold it: what is no text, number or None by its repr."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if value is None or isinstance(value, (str, int, float)) else repr(value)
