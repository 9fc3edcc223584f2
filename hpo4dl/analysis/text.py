"""Values, tables and paragraphs as text for people, in reports and on terminals."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ..text import escape, truncate


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
    beside = sum(sizes[:-1]) + 2 * (len(sizes) - 1)
    fits = beside + sizes[-1] <= width or beside <= width - 30
    indent = beside if fits else 4  # else it has lines of its own
    lines = []
    for row in rows:
        inner = [cell.rjust(size) for cell, size in zip(row[1:-1], sizes[1:-1])]
        before = '  '.join([row[0].ljust(sizes[0]), *inner])
        last = wrapped(row[-1], width - indent, 0, cut_words=True)[:20]
        if indent < beside and last != ['']:
            lines += [truncate(before.rstrip(), width), *(' ' * indent + part for part in last)]
        else:
            lines.append(truncate(f'{before}  {last[0]}'.rstrip(), width))
            lines += [' ' * indent + part for part in last[1:]]
    return lines


def plural(n: int, noun: str) -> str:
    """Return a number of things, such as '1 trial' or '2 trials'."""
    return f'{n} {noun}{"" if n == 1 else "s"}'


def wrapped(text: str, width: int, indent: int, cut_words: bool = False) -> list[str]:
    """Return the text in lines of `width` characters, all but the first one indented.

    Words that are longer, such as paths, stay whole, so that they can be copied, unless `cut_words` says otherwise.
    """
    width, before = max(width, indent + 20), ' ' * indent
    lines = textwrap.wrap(text, width, subsequent_indent=before, break_long_words=cut_words, break_on_hyphens=False)
    return lines or ['']
