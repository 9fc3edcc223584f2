"""What a program is told: its arguments with placeholders filled in, and environment variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..space.serialization import plain_value

SPECIAL = (
    'epoch',
    'previous_epoch',
    'checkpoint_path',
    'resume_path',
    'trial',
    'attempt',
    'configuration',
    'configuration_file',
    'arguments',
    'overrides',
    'results',
)
"""Names that are told beside the hyperparameters', as placeholders or as environment variables."""
PLACEHOLDER = re.compile(r'\{\{([^{}\s]+)\}\}|(?<!\$)\{([\w@+][\w./@+-]*)\}')
"""`{{name}}`, which stands for `{name}` itself, or `{name}`, but for shells' and Hydra's `${name}`."""


def placeholders(command: Sequence[str]) -> Iterator[str]:
    """Yield the names of all placeholders of a command."""
    for part in command:
        yield from (match[2] for match in PLACEHOLDER.finditer(part) if match[2])


def filled(command: Sequence[str], values: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """Return the command with values in the place of placeholders.

    An argument with the placeholder of a hyperparameter that is inactive vanishes. So does the flag before it, but
    before `name={placeholder}`.
    """
    known = {**values, **told, 'configuration': json.dumps(values)}
    arguments: list[str] = []
    for part in command:
        if part == '{arguments}':
            arguments += [text for name, value in values.items() for text in (f'--{name}', as_text(value))]
        elif part == '{overrides}':
            arguments += [f'{name}={as_override(value)}' for name, value in values.items()]
        elif all(name in known for name in placeholders([part])):
            arguments.append(PLACEHOLDER.sub(lambda m: f'{{{m[1]}}}' if m[1] else as_text(known[m[2]]), part))
        elif '=' not in part and arguments and re.fullmatch(r'--?[A-Za-z][^=\s]*', arguments[-1]):
            arguments.pop()
    return arguments


def environment(values: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables that tell the same: HPO4DL_LR, HPO4DL_EPOCH, ...; what a name cannot have becomes `_`."""
    named = {**values, **told, 'configuration': json.dumps(values)}
    return {'HPO4DL_' + re.sub(r'\W', '_', name, flags=re.ASCII).upper(): as_text(v) for name, v in named.items()}


def plain(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration as JSON can hold it."""
    return {name: plain_value(value) for name, value in configuration.items()}


def as_text(value: Any) -> str:
    """Return a value as a program's argument."""
    return value if isinstance(value, str) else str(value)


def as_override(value: Any) -> str:
    """Return a value in the grammar of Hydra's overrides, which takes what is not quoted for what it looks like."""
    if value is None:
        return 'null'
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    looks_like_another = value.lower() in ('null', 'true', 'false', 'nan', 'inf') or not value[:1].isalpha()
    if not looks_like_another and re.fullmatch(r'[\w./@-]+', value, re.ASCII):
        return value
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + "\\'", value)  # backslashes before a quote are doubled
    return "'" + re.sub(r'(\\+)$', lambda match: match[1] * 2, escaped) + "'"
