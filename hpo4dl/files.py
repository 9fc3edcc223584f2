"""Files that are whole or absent: atomic writes, and folders forced to the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .errors import StorageError


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill at any instant, sees the old content or the new, never a part.

    Raises:
        StorageError: the file system refused; the old content stays.
    """
    temporary = path.with_name(f'.{path.name}.new')
    try:
        with open(temporary, 'w', encoding='utf-8', newline='') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f'{path}: cannot be written: {error}') from error
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system can."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force everything below a folder to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, 'rb+') as file:
                    os.fsync(file.fileno())
        sync_folder(Path(parent))


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a folder; links inside it are copied as links, so nothing outside is read."""
    shutil.copytree(source, destination, symlinks=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder if it is there; what cannot be removed now is left for the next clean-up."""
    shutil.rmtree(folder, ignore_errors=True)
