"""Values, errors and tables as text for people: in log lines, messages, reports and on terminals."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any


def truncate(text: str, width: int) -> str:
    """Return the text, cut to `width` characters."""
    return text if len(text) <= width else text[: max(width - 3, 0)] + '...'


def brief(value: object, length: int = 200) -> str:
    """Return `repr(value)`, cut to `length` characters; never raises."""
    try:
        text = repr(value)
    except Exception as error:
        text = f'<{type(value).__name__} whose repr raises {type(error).__name__}>'
    return truncate(text, length)


def one_line(error: BaseException) -> str:
    """Return an exception as one line: its type and message; never raises."""
    try:
        message = ' '.join(str(error).split())
    except Exception:
        message = '(its message cannot be read)'
    return f'{type(error).__name__}: {message}'[:1000]


def escape(value: object) -> str:
    """Return `value` as one line of text that is safe on a terminal: characters that do not print are escaped."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode('ascii') for c in str(value))


def format_value(value: object) -> str:
    """Return a value of a hyperparameter as text: floats to five digits."""
    return f'{value:.5g}' if isinstance(value, float) else escape(value)


def format_configuration(configuration: Mapping[str, Any]) -> str:
    """Return a configuration in one line; long names and values are cut."""
    pairs = configuration.items()
    return ', '.join(f'{truncate(escape(name), 40)}={truncate(format_value(value), 40)}' for name, value in pairs)


def format_seconds(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f'{hours}:{m:02d}:{s:02d}' if hours else f'{m}:{s:02d}'


def format_table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return lines of aligned columns, the first and last to the left, the others to the right.

    What does not fit into `width` characters of the last column goes on in lines below it, at most twenty.
    """
    sizes = [max(map(len, column)) for column in zip(*rows)]
    indent = min(sum(sizes[:-1]) + 2 * (len(sizes) - 1), max(width - 30, 4))
    lines = []
    for row in rows:
        inner = [cell.rjust(size) for cell, size in zip(row[1:-1], sizes[1:-1])]
        before = '  '.join([row[0].ljust(sizes[0]), *inner])
        last = wrapped(row[-1], width - indent, 0)[:20]
        if len(before) + 2 > indent and last != ['']:
            lines += [truncate(before, width), *(' ' * indent + part for part in last)]
        else:
            lines.append(f'{before}  {last[0]}'.rstrip())
            lines += [' ' * indent + part for part in last[1:]]
    return lines


def plural(n: int, noun: str) -> str:
    """Return a number of things, such as '1 trial' or '2 trials'."""
    return f'{n} {noun}{"" if n == 1 else "s"}'


def wrapped(text: str, width: int, indent: int) -> list[str]:
    """Return the text in lines of `width` characters, all but the first one indented."""
    return textwrap.wrap(text, max(width, indent + 20), subsequent_indent=' ' * indent, break_on_hyphens=False) or ['']


def importable(function: object) -> str:
    """Return the name by which another process imports a function: MODULE:NAME or FILE.py:NAME; empty: by none."""
    name, module = getattr(function, '__qualname__', ''), sys.modules.get(getattr(function, '__module__', None) or '')
    if not name or '<' in name or getattr(module, name.partition('.')[0], None) is None:
        return ''
    if module is None or module.__name__ != '__main__':
        return f'{module.__name__}:{name}' if module is not None else ''
    file = getattr(module, '__file__', None)
    return f'{os.path.relpath(file)}:{name}' if file else ''
