"""Whose a folder is: a run's random identity, in its settings and in a mark in the folder of its checkpoints.

What a run's own files say can be wrong: the run was received from somebody else, copied, moved, or renamed. So nothing
is removed, renamed or written in a folder outside of the run's unless the folder itself says that it is this run's.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import JournalError, StorageError
from ..files import read_json, read_regular, sync_folder, write_text

MARK = '.hpo4dl_run'
"""A file in a folder that holds a run's checkpoints: the run's identity, and on the next line the run's folder."""


@dataclass(frozen=True)
class Identity:
    """What tells a run from every other one. It stands in its `settings.json`."""

    run: str
    """Random, 32 hexadecimal digits."""
    name: str
    """Of the folder that was made for it. That may have been renamed; the folder of its checkpoints keeps the name."""

    @classmethod
    def new(cls, name: str) -> Identity:
        """One that no other run has."""
        return cls(secrets.token_hex(16), name)

    def checkpoint_folder(self, run_folder: Path, storage_path: str | None) -> Path:
        """Return where the run's checkpoints lie; raises StorageError if a link lies there."""
        folder = run_folder / 'checkpoints' if storage_path is None else Path(storage_path) / self.name
        refuse_link(folder)
        return folder


def read_identity(folder: Path) -> Identity | None:
    """Return the identity that `write_run` wrote; None in a run of an hpo4dl that gave it none; raises JournalError."""
    path = folder / 'settings.json'
    try:
        stored = read_json(path).get('identity')
        identity = None if stored is None else Identity(**stored)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise JournalError(f'{path}: its identity cannot be read: {error!r}') from error
    if identity is not None:
        are_names = is_name(identity.run) and is_name(identity.name)
        if not are_names or not re.fullmatch('[0-9a-f]{32}', identity.run):
            raise JournalError(f'{path}: {identity!r} is no identity of a run')
    return identity


def is_name(name: object) -> bool:
    """Return whether it is the name of one folder, and no path that leads elsewhere."""
    return isinstance(name, str) and name not in ('', '.', '..') and name == Path(name).name and '\0' not in name


def write_identity(folder: Path, identity: Identity) -> None:
    """Give a run an identity, another one than it had."""
    path = folder / 'settings.json'
    stored = read_json(path)
    write_text(path, json.dumps({**stored, 'identity': asdict(identity)}, indent=2))


def make_marked(folder: Path, identity: Identity, run_folder: Path) -> None:
    """Make the folder of a run's checkpoints, with its mark or not at all, if it is not there; raises StorageError."""
    if folder.exists():
        return
    new = folder.with_name(f'.{folder.name}.{secrets.token_hex(8)}.new')
    try:
        new.mkdir(parents=True)
        mark(new, identity, run_folder)
        os.rename(new, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(f'{folder}: cannot be made: {error}') from error


def mark(folder: Path, identity: Identity, run_folder: Path) -> None:
    """Write into a folder whose it is."""
    write_text(folder / MARK, f'{identity.run}\n{run_folder}\n')


def claim(folder: Path, identity: Identity, run_folder: Path) -> Path | None:
    """See that the folder of a run's checkpoints, if it is there, is this run's. Nothing in it is touched before.

    Returns the run's original, whose checkpoints these are, where the run in `run_folder` (absolute and without links)
    is a copy of it; else None. Raises StorageError: the folder is not this run's, or a link.
    """
    refuse_link(folder)
    if not folder.exists():
        return None
    try:
        marked, _, owner = read_regular(folder / MARK).decode(errors='replace').rstrip('\n').partition('\n')
    except OSError:
        marked = owner = ''
    if marked != identity.run:
        what = 'has the mark of another run' if marked else 'has no mark of a run'
        remedy = f'say so: echo {identity.run} > {shlex.quote(str(folder / MARK))}'
        raise StorageError(
            f'{folder}: {what}, so nothing in it is touched; if these are the checkpoints of {run_folder}, {remedy}'
        )
    inside = folder.parent == run_folder
    if not inside and owner and owner != str(run_folder) and is_original(Path(owner), identity, run_folder):
        return Path(owner)
    if owner != str(run_folder):  # the run was moved, or renamed
        mark(folder, identity, run_folder)
    return None


def refuse_link(folder: Path) -> None:
    """Raises StorageError if the folder of a run's checkpoints is a link, which may lead anywhere, or out of reach."""
    try:
        is_link = stat.S_ISLNK(os.lstat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:  # too long, not allowed; a NUL in it
        raise StorageError(f'{folder}: cannot be looked at: {error}') from error
    if is_link:
        raise StorageError(f'{folder}: a symbolic link, which is not followed; storage_path= is for other disks')


def is_original(folder: Path, identity: Identity, run_folder: Path) -> bool:
    """Return whether the run that lies in `folder` has the same identity and is not the one in `run_folder`."""
    try:
        found = read_identity(folder)
        return found is not None and found.run == identity.run and not folder.samefile(run_folder)
    except (JournalError, OSError):
        return False
