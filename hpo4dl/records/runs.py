"""The runs that lie below a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import JournalError
from .journal import NAME


def runs_below(folder: Path) -> list[Path]:
    """The runs in a folder, and up to two levels below it, the one last worked on first."""
    found: list[tuple[float, Path]] = []
    for pattern in (NAME, f'*/{NAME}', f'*/*/{NAME}'):
        for journal in folder.glob(pattern):
            with suppress(OSError):
                found.append((journal.stat().st_mtime, journal.parent))
    return [run for _, run in sorted(found, reverse=True)]


def find_run(folder: str | os.PathLike[str]) -> Path:
    """The folder; for 'last', unless something is called that, the run below the current one last worked on.

    Raises:
        JournalError: there is none.
    """
    if os.fspath(folder) != 'last' or os.path.lexists(folder):
        return Path(folder)
    found = runs_below(Path.cwd())
    if not found:
        raise JournalError(f'{Path.cwd()}: no run lies here, or up to two levels below')
    return found[0]
