"""The lock file of a run's folder: one tuner at a time.

It is a file, not an fcntl lock, which shared file systems do not honor. It names the host and process of its owner.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

from ..errors import RunLockedError, StorageError
from ..files import write_text

SETTLING = 0.1
"""Seconds to wait before checking that a lock that was taken over is still ours."""

logger = logging.getLogger(__name__)


class Lock:
    """Keeps a second tuner out of a run's folder: a context manager.

    Entering it raises RunLockedError, which names the owner's host and process, if another tuner holds it. The lock of
    a dead process of this host is taken over; with `take_over` even one of another host, whose processes we cannot see.
    """

    def __init__(self, folder: Path, take_over: bool = False) -> None:
        self.path = folder / 'lock'
        self.take_over = take_over
        own = {'host': socket.gethostname(), 'pid': os.getpid(), 'birth': process_start_time(os.getpid())}
        self._own = json.dumps({**own, 'token': uuid.uuid4().hex})

    def __enter__(self) -> Lock:
        try:
            with open(self.path, 'x', encoding='utf-8') as file:
                file.write(self._own)
            return self
        except FileExistsError:
            self._refuse_if_held()
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written: {error}') from error
        write_text(self.path, self._own)
        time.sleep(SETTLING)  # of two that take it over in the same instant, the last one has it
        self.check()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._read() == self._own:
            with suppress(OSError):  # of a folder that became read-only: what ended the run is told, not this
                self.path.unlink()

    def check(self) -> None:
        """Raises RunLockedError if the lock was taken from us, as may happen with `take_over`; StorageError if gone."""
        owner = self._read()
        if not owner:
            raise StorageError(f'{self.path}: is gone, or cannot be read; what was reported before is safe')
        if owner != self._own:
            raise RunLockedError(f'{self.path.parent}: another tuner has taken it over: {owner}')

    def _refuse_if_held(self) -> None:
        try:
            owner = json.loads(self._read())
            host, pid, born = str(owner['host']), int(owner['pid']), owner['birth']
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            # Killed while it wrote the lock: it had not begun.
            host, pid, born = socket.gethostname(), 0, None
        here = host == socket.gethostname()
        if not self.take_over and not (here and (pid == 0 or process_start_time(pid) != born)):
            remedy = 'end it first' if here else 'if it is dead, say so: Tuner.resume(..., take_over=True)'
            raise RunLockedError(f'{self.path.parent}: process {pid} on host {host} works on it; {remedy}')
        logger.warning('%s: taking over the lock of process %d on host %s', self.path.parent, pid, host)

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding='utf-8', errors='replace')
        except OSError:
            return ''


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
