"""The lock file of a run's folder: one tuner at a time.

It is a file, not an fcntl lock, which shared file systems do not honor. It names its owner: host, boot, process, that
process's namespace and birth, and a random token.

    lock                        the owner's
    .lock.DIGEST                whoever may replace or remove a lock file of these very bytes, for a moment

A lock is made whole, in one instant, where there is none. To replace that of a dead owner, or to remove one's own, is
up to the one process that holds a lock on it, which is made and replaced in the same way: so that of several tuners
that take over a run at once, exactly one has it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import RunLockedError, StorageError
from ..files import open_regular, read_regular, remove_forgotten, write_text
from ..log import Log
from ..text import escape

SETTLING = 0.1
"""Seconds to wait before checking that a lock that was taken over is still ours."""
MAX_BYTES = 10_000
"""More is no lock of ours."""

logger = Log(__name__)


class Lock:
    """Keeps a second tuner out of a run's folder: a context manager.

    Entering it raises RunLockedError, which names the owner's host and process, if another tuner holds it. The lock of
    a dead process of this host is taken over; with `take_over` even one of another host, whose processes we cannot see.
    Another boot, or another namespace of processes (a container's), is another host, though it may have the same name.
    """

    def __init__(self, folder: Path, take_over: bool = False) -> None:
        self.path = folder / 'lock'
        self.take_over = take_over
        self.taken_over = False
        """Whether it was another tuner's, which may not know that it has lost it."""
        self._own = json.dumps({**this_process(), 'token': secrets.token_hex(16)})
        self._file: tuple[int, ...] = ()
        """Which file it is, where it cannot be read: too many files are open, say."""

    def __enter__(self) -> Lock:
        try:
            self.taken_over = not self._take(self.path)
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written: {error}') from error
        if self.taken_over:
            time.sleep(SETTLING)  # where there are no links, of two in the same instant the last one has it
            self.check()
        remove_forgotten(self.path.parent)
        with suppress(OSError):
            self._file = which_file(self.path)
        return self

    def __exit__(self, *exception: object) -> None:
        # Of a lock that is being taken over, or cannot be written: what ended the run is told, not this.
        for _ in range(2):  # the file system may have refused the first time
            with suppress(OSError, StorageError, RunLockedError):
                there = self._read(self.path)
                if not there and which_file(self.path) == self._file:
                    self.path.unlink()
                elif there == self._own:
                    try:
                        with self._sole_right(self.path, self._own):
                            self.path.unlink()
                    except (OSError, StorageError):  # the folder has become read-only: an empty lock is nobody's
                        with open_regular(self.path, os.O_RDWR) as file:
                            if file.read().decode(errors='replace') == self._own:
                                file.truncate(0)

    def check(self) -> None:
        """Raises RunLockedError if the lock was taken from us, as may happen with `take_over`; StorageError if gone."""
        try:
            owner = read_regular(self.path, MAX_BYTES).decode(errors='replace')
        except OSError as error:
            safe = 'what was reported before is safe'
            raise StorageError(f'{self.path}: is gone, or cannot be read: {error}; {safe}') from error
        if owner != self._own:
            raise RunLockedError(f'{self.path.parent}: another tuner has taken it over: {escape(owner)}')

    def _take(self, path: Path) -> bool:
        """Make a lock file, and return True; or replace the one that is there, and return False; or refuse."""
        if make_whole(path, self._own) or (not os.path.lexists(path) and make_whole(path, self._own)):
            return True  # the latter where its owner has just removed it
        there = self._read(path)
        self._refuse_if_held(there)
        with self._sole_right(path, there):
            write_text(path, self._own)
        return False

    @contextmanager
    def _sole_right(self, path: Path, there: str) -> Iterator[None]:
        """The right to replace or remove a lock file as long as it holds `there`; raises RunLockedError."""
        beside = path.with_name(f'.lock.{digest(path, there)}')
        self._take(beside)
        try:
            if self._read(path) != there:
                raise RunLockedError(f'{path.parent}: another tuner takes it over at this moment')
            yield
        finally:
            if self._read(beside) == self._own:
                with suppress(OSError):  # nobody will ask for it again
                    beside.unlink()

    def _refuse_if_held(self, there: str) -> None:
        own = this_process()
        try:
            owner = json.loads(there)
            host, pid, born = str(owner['host']), int(owner['pid']), owner['birth']
            here = all(owner.get(key, own[key]) == own[key] for key in ('host', 'boot', 'namespace'))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            # Killed while it wrote the lock: it had not begun.
            host, pid, born, here = socket.gethostname(), 0, None, True
        told = f'process {pid} on host {escape(host[:100])}'
        if not self.take_over and not (here and (pid == 0 or process_start_time(pid) != born)):
            if host == own['host'] and not here:
                told += ' (before a reboot, in another container, or on a host of the same name)'
            remedy = 'end it first' if here else 'if it is dead, say so: Tuner.resume(..., take_over=True)'
            if here and pid == own['pid']:
                remedy = 'it is this very one: end its other tuner; if there is none: Tuner.resume(..., take_over=True)'
            raise RunLockedError(f'{self.path.parent}: {told} works on it; {remedy}')
        logger.warning('%s: taking over the lock of %s', self.path.parent, told)

    @staticmethod
    def _read(path: Path) -> str:
        try:
            return read_regular(path, MAX_BYTES).decode(errors='replace')
        except OSError:
            return ''


def which_file(path: Path) -> tuple[int, ...]:
    """Return what tells a file from all others, without opening it."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns


def digest(path: Path, there: str) -> str:
    """Return what tells a lock file with this content from all others; of the same content, too."""
    return hashlib.sha256(f'{path.name}\n{there}'.encode(errors='backslashreplace')).hexdigest()[:16]


def make_whole(path: Path, text: str) -> bool:
    """Make a file in one instant, with all that is in it; False: something is there."""
    new = path.with_name(f'.lock.{secrets.token_hex(8)}.new')
    try:
        with open(new, 'x', encoding='utf-8') as file:
            file.write(text)
        try:
            os.link(new, path, follow_symlinks=False)
            return True
        except FileExistsError:
            return os.stat(new).st_nlink == 2  # NFS may have lost the answer to a request that it made again
        except OSError as error:  # a file system without links
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL):
                raise
        try:
            with open(path, 'x', encoding='utf-8') as file:
                file.write(text)
            return True
        except FileExistsError:
            return False
    finally:
        with suppress(OSError):  # the lock itself counts
            new.unlink()


def this_process() -> dict[str, str | int | None]:
    """Return what tells this process from all others, those in other containers, and before a reboot, included."""
    pid = os.getpid()
    boot = namespace = None
    with suppress(OSError):
        boot = Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()
        namespace = os.readlink('/proc/self/ns/pid')
    birth = process_start_time(pid)
    return {'host': socket.gethostname(), 'boot': boot, 'namespace': namespace, 'pid': pid, 'birth': birth}


def process_start_time(pid: int) -> str | None:
    """When a process of this host began, as the kernel counts; None if it is dead.

    Numbers of processes are used again, in containers at every start; number and birth together are not. Where the
    kernel does not tell, all living processes have the birth 'unknown'.
    """
    try:
        stat = Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace').rpartition(')')[2].split()
        return None if stat[0] in 'ZX' else stat[19]  # a zombie is dead, though nobody took note
    except OSError:
        pass
    if sys.platform == 'win32':  # where signal 0 is a Ctrl-C, to ourselves, too
        return 'unknown'
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OverflowError:
        return None  # no process has such a number
    except PermissionError:
        pass
    return 'unknown'
