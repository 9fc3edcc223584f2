"""Where a command writes what it was asked for: a file, a device, a pipe."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import StorageError


def write_output(path: Path, content: str | bytes) -> None:
    """Write an output to where the user said: through a link, to a device, to a pipe that somebody reads.

    Raises StorageError where it cannot be written; of a pipe that nobody reads, too, which would be waited for.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, 'O_NONBLOCK', 0), 0o666)
        with open(descriptor, 'wb') as file:
            os.set_blocking(descriptor, True)
            file.write(content if isinstance(content, bytes) else content.encode(errors='backslashreplace'))
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise StorageError(f'{path}: cannot be written: {error}') from error
