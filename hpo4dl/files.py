"""Files that are whole or absent: atomic writes, cheap copies of folders, and folders forced to the disk."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import StorageError

REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
"""What a file system says when the trouble is its own: full, read-only, broken, gone."""
LARGEST = 2**32
"""Bytes of a file that is read whole: a file of a run that was received may be sparse, and of any size."""
MANY_FILES = 100
"""From so many files on, all of a file system is forced to the disk at once."""


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
def storage_errors(folder: Path) -> Iterator[None]:
    """Makes a StorageError of what a file system refuses where nobody has said more of it: to look at a file, say."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f'{folder}: cannot be worked in: {error}; what was reported before is safe') from error


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


def remove_forgotten(folder: Path) -> None:
    """Remove the new files of `replacing`, and of locks, that kills left in a folder an hour ago, or earlier."""
    for path in folder.glob('.*'):
        with suppress(OSError):
            is_old = stat.S_ISREG(path.lstat().st_mode) and time.time() - path.lstat().st_mtime > 3600
            if is_old and re.fullmatch(r'\..+\.[0-9a-f]{16}\.new|\.lock\.[0-9a-f]{16}', path.name):
                path.unlink()


@contextmanager
def open_regular(path: Path, flags: int = os.O_RDONLY) -> Iterator[BinaryIO]:
    """Open a file to read it; OSError also of what is none, such as a pipe or a device, which may never end."""
    descriptor = os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))
    with open(descriptor, 'rb' if flags == os.O_RDONLY else 'rb+') as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, 'not a regular file', str(path))
        yield file


def read_regular(path: Path, limit: int = -1) -> bytes:
    """Return what is in a file, `limit` bytes at most; OSError as `open_regular`, and of one that no memory holds."""
    with open_regular(path) as file:
        if limit < 0 and os.fstat(file.fileno()).st_size > LARGEST:
            raise OSError(errno.EFBIG, f'larger than {LARGEST} bytes', str(path))
        return file.read(limit)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; OSError as `open_regular`, ValueError of what is no JSON, or nested too deeply."""
    try:
        return json.loads(read_regular(path))
    except RecursionError as error:
        raise ValueError('nested too deeply') from error


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system can."""
    if os.name == 'posix':
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all that lies below a folder, each folder before what is in it. Links are not followed.

    What vanishes meanwhile, since something still writes there, is no part of it; the folder itself must be there.
    It does not call itself: folders may be nested more deeply than calls may be.
    """
    folders = [os.fspath(folder)]
    gone: tuple[type[OSError], ...] = ()
    while folders:
        parent = folders.pop()
        with suppress(*gone), os.scandir(parent) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
        gone = (FileNotFoundError, NotADirectoryError)


def sync_tree(folder: Path) -> int:
    """Force everything below a folder to the disk; returns the bytes in its files. See `walk`."""
    size, files, folders = 0, [], []
    for entry in walk(folder):
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):
                size += entry.stat(follow_symlinks=False).st_size
                files.append(entry.path)
    if len(files) < MANY_FILES or not sync_file_system(folder):
        for path in files:
            with suppress(FileNotFoundError), open(path, 'rb' if os.name == 'posix' else 'rb+') as file:
                os.fsync(file.fileno())
        for below in reversed(folders):
            with suppress(FileNotFoundError):
                sync_folder(Path(below))
    sync_folder(folder)
    return size


def sync_file_system(folder: Path) -> bool:
    """Force all of a file system to the disk at once, where Linux can, since an fsync a file takes long; else False."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs  # no wrapper in Python
    except (AttributeError, OSError, TypeError):
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) == 0:
            return True
        if ctypes.get_errno() in REFUSED:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
        return False
    finally:
        os.close(descriptor)


def tree_size(folder: Path) -> int:
    """Bytes in the files below a folder; 0 where it is not there, or a link."""
    if folder.is_symlink() or not folder.is_dir():
        return 0
    files = (entry for entry in walk(folder) if not entry.is_dir(follow_symlinks=False))
    return sum(entry.stat(follow_symlinks=False).st_size for entry in files)


def copy_tree(source: Path, destination: Path) -> None:
    """Copy a folder to where nothing is yet. Links stay links: nothing outside is read. Pipes, sockets are left out."""
    folders = [(os.fspath(source), os.fspath(destination))]
    os.scandir(source).close()  # where there is none, nothing is made
    destination.mkdir()
    for entry in walk(source):
        target = os.path.join(destination, os.path.relpath(entry.path, source))
        with suppress(FileNotFoundError):
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), target)
            elif entry.is_dir():
                os.mkdir(target)
                folders.append((entry.path, target))
            elif entry.is_file():
                copy_file(entry.path, target)
    for old, new in reversed(folders):  # a read-only folder takes nothing any more
        with suppress(FileNotFoundError):
            shutil.copystat(old, new, follow_symlinks=False)


def copy_file(source: str | os.PathLike[str], destination: str | os.PathLike[str]) -> None:
    """Copy a file inside the kernel: XFS and Btrfs share its blocks, NFS and Lustre servers copy by themselves.

    Holes stay holes.
    """
    with open(source, 'rb', buffering=0) as old, open(destination, 'wb', buffering=0) as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        for begin, end in parts_with_data(old.fileno(), size):
            copy_part(old.fileno(), new.fileno(), begin, end)
    shutil.copystat(source, destination)


def parts_with_data(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data, from and to; all of it where the system does not tell holes."""
    at = 0
    while at < size:
        begin, end = at, size
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
            end = os.lseek(file, begin, os.SEEK_HOLE)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENXIO:  # there is but a hole
                return
        yield begin, end
        at = end


def copy_part(old: int, new: int, begin: int, end: int) -> None:
    """Copy what one file has from `begin` to `end` to the same place in another one."""
    for file in (old, new):
        os.lseek(file, begin, os.SEEK_SET)
    left = end - begin
    try:
        while left and (n := os.copy_file_range(old, new, min(left, 2**30))):
            left -= n
    except (AttributeError, OSError) as error:  # not on this system, or not between these two file systems
        if isinstance(error, OSError) and error.errno in REFUSED:
            raise
    for file in (old, new):
        os.lseek(file, end - left, os.SEEK_SET)
    while left and (content := os.read(old, min(left, 2**20))):
        left -= len(content)
        while content:
            content = content[os.write(new, content) :]


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
    """Remove a folder, file, pipe or link if it is there; what cannot be removed now is left for the next time."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.is_dir():  # a folder in it is read-only
            make_writable(folder)
            shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        with suppress(OSError):
            for entry in reversed(list(walk(folder))):
                os.rmdir(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
            folder.rmdir()


def make_writable(folder: Path) -> None:
    """Give ourselves all rights on a folder, which is no link, and on those in it."""
    with suppress(OSError):
        folder.chmod(0o700)
        for entry in walk(folder):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)
