"""Files that are whole or absent: atomic writes, cheap copies of folders, and folders forced to the disk."""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import StorageError

REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
"""What a file system says when the trouble is its own: full, read-only, broken, gone."""


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill at any instant, sees the old content or the new, never a part.

    Raises StorageError where the file system refuses; the old content stays.
    """
    try:
        with replacing(path) as file:
            file.write(text.encode(errors='backslashreplace'))
    except OSError as error:
        raise StorageError(f'{path}: cannot be written: {error}') from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path`, which takes its place, on the disk, when the block ends; else it is removed.

    Whatever lies at `path`, a link to elsewhere for instance, is replaced and never written to.
    """
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(8)}.new')
    try:
        with open(temporary, 'xb') as file:  # 'x' follows no link
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read it; OSError also of what is none, such as a pipe or a device, which may never end."""
    with open(os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0)), 'rb') as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, 'not a regular file', str(path))
        yield file


def read_regular(path: Path, limit: int = -1) -> bytes:
    """What is in a file, `limit` bytes of it at most; OSError as `open_regular`."""
    with open_regular(path) as file:
        return file.read(limit)


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system can."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> int:
    """Force everything below a folder to the disk; returns the bytes in its files. Links are not followed.

    What vanishes meanwhile, since something still writes there, is no part of it.
    """
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    with open(path, 'rb' if os.name == 'posix' else 'rb+') as file:
                        os.fsync(file.fileno())
                    size += status.st_size
        if parent != str(folder):
            with suppress(FileNotFoundError):
                sync_folder(Path(parent))
    sync_folder(folder)
    return size


def tree_size(folder: Path) -> int:
    """Bytes in the files below a folder; 0 where it is not there."""
    paths = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(path).st_size for path in paths)


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a folder into one that is there. Links stay links: nothing outside is read. Pipes, sockets are left out."""
    with os.scandir(source) as entries:
        destination.mkdir()
        for entry in entries:
            target = destination / entry.name
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
            elif entry.is_dir():
                copy_tree(Path(entry.path), target)
            elif entry.is_file():
                copy_file(entry.path, target)
    shutil.copystat(source, destination, follow_symlinks=False)


def copy_file(source: str | os.PathLike[str], destination: str | os.PathLike[str]) -> None:
    """Copy a file inside the kernel: XFS and Btrfs share its blocks, NFS and Lustre servers copy by themselves."""
    try:
        with open(source, 'rb') as old, open(destination, 'wb') as new:
            while os.copy_file_range(old.fileno(), new.fileno(), 2**30):
                pass
            whole = new.tell() == os.fstat(old.fileno()).st_size
    except (AttributeError, OSError) as error:  # not on this system, or not between these two file systems
        if isinstance(error, OSError) and error.errno in (*REFUSED, errno.ENOENT):
            raise
        whole = False
    if not whole:
        shutil.copyfile(source, destination)
    shutil.copystat(source, destination)


def swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one instant, where the system can (Linux, most local file systems); else False."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2  # no wrapper in Python
    except (AttributeError, OSError, TypeError):
        return False
    at_working_directory, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h
    names = os.fsencode(one.absolute()), os.fsencode(other.absolute())
    return bool(renameat2(at_working_directory, names[0], at_working_directory, names[1], exchange) == 0)


def remove_tree(folder: Path) -> None:
    """Remove a folder, file or link if it is there; what cannot be removed now is left for the next time."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():  # a folder in it is read-only
        make_writable(folder)
        shutil.rmtree(folder, ignore_errors=True)


def make_writable(folder: Path) -> None:
    """Give ourselves all rights on a folder, which is no link, and on those in it."""
    with suppress(OSError):
        folder.chmod(0o700)
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                make_writable(Path(entry.path))
