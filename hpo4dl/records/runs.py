"""The runs that lie below a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..errors import JournalError
from ..text import escape
from .journal import NAME


def runs_below(folder: Path) -> list[Path]:
    """The runs in a folder, and up to two levels below it, the one last worked on first."""
    found: list[tuple[float, Path]] = []
    for pattern in (NAME, f'*/{NAME}', f'*/*/{NAME}'):
        for journal in folder.glob(pattern):
            with suppress(OSError):
                found.append((journal.stat().st_mtime, journal.parent))
    return [run for _, run in sorted(found, reverse=True)]


def find_run(folder: str | os.PathLike[str], newest: bool = False) -> Path:
    """A folder that is a run's, or, for `newest`, the newest run below it.

    For 'last', unless something is called that, it is the newest run below the current one.

    Raises:
        JournalError: there is none. It says what is there instead.
    """
    is_last = os.fspath(folder) == 'last' and not os.path.lexists(folder)
    path = Path.cwd() if is_last else Path(folder)
    if not is_last and os.path.lexists(path / NAME):
        return path
    below = runs_below(path) if os.path.isdir(path) else []
    if below and (newest or is_last):
        return below[0]
    if not is_last and os.path.lexists(path / 'settings.json'):  # a damaged one, which may be salvaged
        return path
    raise JournalError(f'{escape(path.absolute())}: not the folder of a run: {instead(path, below)}')


def instead(path: Path, below: list[Path]) -> str:
    """What is at a path that is no run's folder, with runs `below` it, for people."""
    around = next((folder for folder in path.absolute().parents if os.path.lexists(folder / NAME)), None)
    if around is not None:
        return f'it lies in the run {escape(around)}; give that'
    if below:
        return f'runs below it: {", ".join(escape(run.relative_to(path)) for run in below[:10])}'
    if os.path.isdir(path):
        return 'no run lies here, or up to two levels below (`hpo4dl list FOLDER` looks below another one)'
    return 'it is a file' if os.path.exists(path) else 'there is no such folder, or none that may be read'
