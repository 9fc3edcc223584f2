"""A space, and values of hyperparameters, as JSON."""

from __future__ import annotations

import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace

from ..errors import ArgumentError
from ..text import brief
from .transforms import native

LISTS = ('choices', 'weights', 'sequence')
ADDRESS = re.compile(r' at 0x[0-9a-fA-F]+')
FIELDS = ('default_value', 'value', *LISTS, 'lower', 'upper', 'log', 'mu', 'sigma', 'alpha', 'beta')


def read_space(text: str) -> ConfigurationSpace:
    """Return the space that `write_space` wrote."""
    return ConfigurationSpace.from_json(io.StringIO(text))


def write_space(space: ConfigurationSpace) -> str:
    """Return a space as ConfigSpace's own JSON.

    Raises:
        ArgumentError: `read_space` would not read the same, as where a category is neither text nor a number.
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
    """Return the space in plain words for JSON: hyperparameters, then conditions, then forbidden clauses."""
    entries: list[dict[str, Any]] = []
    for name in space:
        entry: dict[str, Any] = {'name': name, 'type': type(space[name]).__name__.replace('Hyperparameter', '')}
        for field in FIELDS:
            value = getattr(space[name], field, None)
            if value is not None:
                entry[field] = plain_choices(value) if field in LISTS else plain_value(value)
        entries.append(entry)
    entries += [{'type': 'Condition', 'text': str(condition)} for condition in space.conditions]
    return entries + [{'type': 'Forbidden', 'text': str(clause)} for clause in space.forbidden_clauses]


def plain_value(value: Any) -> Any:
    """Return a value as JSON can hold it: what is no text, finite number or None by its repr, of 1000 characters."""
    value = native(value)
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, (set, frozenset)):  # whose order is another one in the next process
        return f'{type(value).__name__} {sorted(brief(element) for element in value)}'
    if value is None or isinstance(value, (str, float)):
        return value
    return value if isinstance(value, int) and value.bit_length() < 1000 else brief(value, 1000)


def plain_choices(values: Sequence[Any]) -> list[Any]:
    """Return the values of one category as JSON can hold them, such that each is told from the others.

    What has an address in its repr, which is another one in the next process, or a repr that is not its own alone, is
    told by its place: '<function relu> #0'.
    """
    values = [native(value) for value in values]
    texts = [plain_value(value) for value in values]
    shared = {text for text, n in Counter(text for text in texts if isinstance(text, str)).items() if n > 1}
    plain = []
    for i, (value, text) in enumerate(zip(values, texts)):
        is_own = text is value or (text not in shared and not ADDRESS.search(text))
        plain.append(text if is_own else f'{ADDRESS.sub("", text)} #{i}')
    return plain
