r"""The append-only record of a run: one JSON object a line, the truth from which everything else can be rebuilt.

    {"event": "run", "schema": 1, "hpo4dl": "0.2.0", ...}                  the first line
    {"event": "start", "attempt": 4, "trial": 2, "previous_epoch": 1, "epoch": 2, ...}
    {"event": "result", "attempt": 4, "trial": 2, "epochs": [{"epoch": 2, "metric": 0.91}], "failed": null, ...}
    {"event": "stop", "reason": "..."}

A trial's first "start" carries its configuration. Each line ends with the CRC-32 of what stands before it, so that a
damaged line is noticed. An epoch counts from the moment its "result" is on the disk; `append` returns only then. A
last line without its newline is a write that a kill cut short: it was never acknowledged, and is cut off.

There is one writer, the tuner's process; a lock file, not an fcntl lock (which shared file systems do not honour),
keeps a second tuner out.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import JournalError, RunLockedError, StorageError
from .files import sync_folder

SCHEMA = 1
NAME = 'journal.jsonl'

logger = logging.getLogger(__name__)

Event = dict[str, Any]


class Journal:
    """A run's journal, open for appending. `read` first: it mends a torn tail.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def append(self, event: Event, sync: bool = True) -> None:
        """Write one line; with `sync`, return only when it is on the disk.

        Raises:
            StorageError: it could not be written; the journal is as it was before.
        """
        line = encode_line({**event, 'time': time.time()})
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                try:
                    written = 0
                    while written < len(line):
                        written += os.write(descriptor, line[written:])
                    if sync:
                        os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
            if size == 0:
                sync_folder(self.path.parent)
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written: {error}; what was reported before is safe') from error

    def read(self) -> list[Event]:
        """All whole lines, the torn one at the end cut off the file.

        Raises:
            JournalError: no journal, an unknown schema, or a damaged line (named).
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise JournalError(f'{self.path}: cannot be read: {error}') from error
        whole = content.rfind(b'\n') + 1
        events = list(self._events(content[:whole]))
        if not events:
            raise JournalError(f'{self.path}: empty: no run was recorded here')
        if whole < len(content):
            logger.warning('%s: the last line was cut short by a kill and is removed', self.path)
            os.truncate(self.path, whole)
        return events

    def _events(self, content: bytes) -> Iterator[Event]:
        for number, line in enumerate(content.split(b'\n')[:-1], 1):
            event = decode_line(line)
            if event is None:
                raise JournalError(f'{self.path}, line {number}: damaged (its checksum does not fit its content)')
            if number == 1 and event.get('schema') != SCHEMA:
                raise JournalError(
                    f'{self.path}: written with schema {event.get("schema")!r}, this hpo4dl reads schema {SCHEMA}'
                )
            yield event


def encode_line(event: Event) -> bytes:
    """The event as one line, its checksum last."""
    body = json.dumps(event, ensure_ascii=True, allow_nan=False)[:-1]
    return f'{body}, "crc": "{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def decode_line(line: bytes) -> Event | None:
    """The event in a line without its newline, None if the line is damaged."""
    body, _, crc = line.rpartition(b', "crc": ')
    if crc != b'"%08x"}' % zlib.crc32(body):
        return None
    event: Event = json.loads(body + b'}')
    return event


class Lock:
    """Keeps a second tuner out of a run's folder. A context manager.

    Args:
        folder: the run's folder.
        take_over: take the lock even from another host, whose process cannot be seen from here. The lock of a dead
            process of this host is taken over anyway.

    Raises:
        RunLockedError: when entered, if another tuner holds it; names its host and process.
    """

    def __init__(self, folder: Path, take_over: bool = False) -> None:
        self.path = folder / 'lock'
        self.take_over = take_over

    def __enter__(self) -> Lock:
        if self.path.exists():
            self._evict()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise RunLockedError(f'{self.path.parent}: another tuner has just started on it') from None
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written: {error}') from error
        with open(descriptor, 'w', encoding='utf-8') as file:
            json.dump({'host': socket.gethostname(), 'pid': os.getpid(), 'birth': birth(os.getpid())}, file)
        return self

    def __exit__(self, *exception: object) -> None:
        self.path.unlink(missing_ok=True)

    def _evict(self) -> None:
        """Remove the lock that is there, if it may be."""
        try:
            owner = json.loads(self.path.read_text(encoding='utf-8'))
            host, pid, born = str(owner['host']), int(owner['pid']), owner['birth']
        except (ValueError, KeyError, TypeError):  # killed while it wrote the lock: it had not begun
            host, pid, born = socket.gethostname(), 0, None
        here = host == socket.gethostname()
        if not self.take_over and not (here and (pid == 0 or birth(pid) != born)):
            remedy = '' if here else '; if it is dead, say so: Tuner.resume(..., take_over=True)'
            raise RunLockedError(f'{self.path.parent}: process {pid} on host {host} works on it{remedy}')
        logger.warning('%s: taking over the lock of process %d on host %s', self.path.parent, pid, host)
        self.path.unlink(missing_ok=True)


def birth(pid: int) -> str | None:
    """When a process of this host began, as the kernel counts; None if it is dead.

    Numbers of processes are used again, in containers at every start; number and birth together are not. Where the
    kernel does not tell, all living processes have the birth 'unknown'.
    """
    try:
        return Path(f'/proc/{pid}/stat').read_text(encoding='utf-8', errors='replace').rpartition(')')[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 'unknown'
