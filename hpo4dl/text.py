"""Values and errors as text for people, in messages and log lines."""

from __future__ import annotations


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
