"""Values and errors as text for people, in messages and log lines, and the names of functions."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


class Log(Adapter):
    """The logger of that name, whose handlers and filters are the user's: what they raise ends no run."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger(name), {})

    def log(self, level: int, msg: object, *args: object, **keywords: Any) -> None:
        """Log, from one call further up than this; what a handler raises is told on stderr, as `logging` tells it."""
        try:
            super().log(level, msg, *args, **{'stacklevel': 2, **keywords})
        except Exception:
            with suppress(Exception):
                traceback.print_exc()


def truncate(text: str, width: int) -> str:
    """Return the text, cut to `width` characters."""
    return text if len(text) <= width else text[: max(width - 3, 0)] + '...'


def brief(value: object, length: int = 200) -> str:
    """Return `repr(value)`, cut to `length` characters; never raises."""
    try:
        text = repr(value)
    except (Exception, SystemExit) as error:
        text = f'<{type(value).__name__} whose repr raises {type(error).__name__}>'
    return truncate(text, length)


def one_line(error: BaseException) -> str:
    """Return an exception as one line: its type and message; never raises."""
    try:
        message = ' '.join(str(error).split())
    except (Exception, SystemExit):
        message = '(its message cannot be read)'
    return f'{type(error).__name__}: {message}'[:1000]


def escape(value: object) -> str:
    """Return `value` as one line of text that is safe on a terminal: characters that do not print are escaped."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode('ascii') for c in str(value))


def importable(function: object) -> str:
    """Return the name by which another process imports a function: MODULE:NAME or FILE.py:NAME; empty: by none."""
    name, module = getattr(function, '__qualname__', ''), sys.modules.get(getattr(function, '__module__', None) or '')
    if not name or '<' in name or getattr(module, name.partition('.')[0], None) is None:
        return ''
    if module is None or module.__name__ != '__main__':
        return f'{module.__name__}:{name}' if module is not None else ''
    file = getattr(module, '__file__', None) or ''
    with suppress(OSError, ValueError):  # the folder that we are in was removed; or it is on another drive
        file = os.path.relpath(file)
    return f'{file}:{name}' if file else ''
