r"""The append-only record of a run: one JSON object a line, the truth from which everything else can be rebuilt.

    {"event": "run", "schema": 2, "run": "experiment_20261124-120000"}      the first line
    {"event": "start", "attempt": 4, "trial": 2, "previous_epoch": 1, "epoch": 2, ...}
    {"event": "result", "attempt": 4, "trial": 2, "epochs": [{"epoch": 2, "metric": 0.91}], "failed": null, ...}

ARCHITECTURE.md has all events, and what their fields mean. Each line ends with the CRC-32 of what stands before it, so
that a damaged line is noticed. An epoch counts from the moment its "result" is on the disk; `append` returns only then.
A last line without its newline is a write that a kill cut short: it was never acknowledged, and is cut off. There is
one writer, the tuner's process, which holds the `Lock`. Whoever else reads a journal changes nothing in it.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, JournalError, RunLockedError, StorageError
from ..files import open_regular, swap, sync_folder, write_text
from ..log import Log
from ..text import brief
from .events import Event, fault_of

SCHEMA = 2
READABLE = (1, SCHEMA)
"""Schemas that can be resumed: 1 has no "point"."""
NAME = 'journal.jsonl'
LONGEST = 2**30
"""Bytes of a line that is read: a journal that was received may have no end."""
ENCODER, DECODER = json.JSONEncoder(allow_nan=False, separators=(', ', ': ')), json.JSONDecoder()
"""Of our own: an objective function may replace those of `json`, or their defaults."""
NO_FOLLOW = getattr(os, 'O_NOFOLLOW', 0)
"""What is written to is never reached by a link, which may lead anywhere."""
NO_WAIT = getattr(os, 'O_NONBLOCK', 0)
"""To open a pipe waits for nobody."""

logger = Log(__name__)


class Journal:
    """The journal in a run's folder. Its one writer calls `take` before the first `append`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._torn: int | None = None
        self._taken: int | None = None
        self._file: os.stat_result | None = None
        """Which file was taken: its descriptor may be closed by the objective function, and be another file's then."""

    def take(self, check: Callable[[], None], anew: bool) -> None:
        """Open it for all that is to be appended, and mend its end, see `truncate_torn_tail`; `close` closes it.

        Whoever held the lock before may wake up, and write: into the file that it has open. So where the lock was
        taken over, we go on in a new file, `anew`, and look at the lock once more, with `check`, when ours is open.
        So we do where the file has another name, too: in a copy of the run that was made of hard links, say.
        """
        self.close()
        if self.path.is_symlink():
            raise JournalError(f'{self.path}: a symbolic link, which is not followed')
        try:
            self._taken = above_streams(os.open(self.path, os.O_RDWR | os.O_APPEND | NO_FOLLOW | NO_WAIT))
        except FileNotFoundError as error:
            raise JournalError(f'{self.path}: cannot be read: {error}') from error
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written: {error}') from error
        self._file = os.fstat(self._taken)
        check()
        is_journal = next(iter(self), None) is not None  # what is none stays as it is
        if is_journal and (anew or self._file.st_nlink > 1):
            try:
                self._renew(self._taken, check)
            except OSError as error:
                raise StorageError(f'{self.path}: cannot be written: {error}') from error
        self.truncate_torn_tail()

    def close(self) -> None:
        """Close what `take` opened."""
        if self._taken is not None and self._is_taken(self._taken):
            os.close(self._taken)
        self._taken = self._file = None

    def begin(self, event: Event) -> None:
        """Write the first line: a journal has it, or is not there; raises StorageError."""
        write_text(self.path, encode_line({**event, 'time': time.time()}).decode())

    def append(self, event: Event, sync: bool = True) -> Event:
        """Write one line, with `sync` to the disk, and return the event as it was written.

        Raises StorageError where it cannot be written, ArgumentError where it could not be read again; the journal is
        as it was before.
        """
        event = {**event, 'time': max(0.0, time.time())}
        fault = fault_of(event)
        if fault:
            raise ArgumentError('event', event, f'what can be read again: {fault}')
        line = encode_line(event)
        try:
            with self._writable() as descriptor:
                if self._torn is not None:
                    os.ftruncate(descriptor, self._torn)
                self._torn = os.fstat(descriptor).st_size
                try:
                    written = 0
                    while written < len(line):
                        written += os.write(descriptor, line[written:])
                    if sync:
                        os.fsync(descriptor)
                    if not os.path.samestat(os.stat(self.path), os.fstat(descriptor)):
                        raise FileNotFoundError('somebody has removed or replaced it')
                    self._torn = None
                finally:  # also after KeyboardInterrupt
                    if self._torn is not None:
                        os.ftruncate(descriptor, self._torn)
                        self._torn = None
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be written: {error}; what was reported before is safe') from error
        return event

    def __str__(self) -> str:
        return str(self.path)

    def __iter__(self) -> Iterator[Event]:
        """Yield all whole lines, one by one; the torn one at the end is left out.

        Raises JournalError: no journal, an unknown schema, or a damaged line (named).
        """
        for number, line in self._lines():
            event = parse_line(line)
            if event is None and line.endswith(b'\n'):
                fault = f'{self.path}, line {number}: damaged (its checksum does not fit its content)'
                raise JournalError(f'{fault}; Tuner.resume(..., salvage=True) goes on from the whole lines')
            if event is None:
                return
            check_event(event, number, self.path)
            yield event

    def truncate_torn_tail(self) -> None:
        """Cut off a last line that a kill cut short, of a journal whose other lines are whole.

        Raises JournalError as reading does, and where the journal is a link; StorageError: it cannot be written.
        """
        if self.path.is_symlink():
            raise JournalError(f'{self.path}: a symbolic link, which is not followed')
        line, start = b'', 0
        for _, line in self._lines():
            start += len(line)
        start -= len(line)
        if line.endswith(b'\n'):
            return
        if sum(1 for _ in self) == 0:  # the first line is written in one piece, so that this is no torn one
            raise JournalError(f'{self.path}: its first line is not that of a run')
        kept = next((body for body in (line, line[:-1]) if decode_line(body)), b'')  # its newline may be all that fails
        try:
            with self._writable() as descriptor:
                os.ftruncate(descriptor, start + len(kept))
                if kept:
                    os.write(descriptor, b'\n')
        except OSError as error:
            raise StorageError(f'{self.path}: cannot be mended: {error}') from error
        if not kept:
            logger.warning('%s: the last line was cut short by a kill and is removed', self.path)

    @contextmanager
    def _writable(self) -> Iterator[int]:
        """The descriptor that was taken, or one for the moment; OSError where that would be another file's."""
        if self._taken is not None and self._is_taken(self._taken):
            yield self._taken
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | NO_FOLLOW | NO_WAIT)
        try:
            if not self._is_taken(descriptor):
                raise FileNotFoundError('somebody has removed or replaced it')
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_taken(self, descriptor: int) -> bool:
        """Return whether it is one of the file that was taken, if one was."""
        try:
            return self._file is None or os.path.samestat(os.fstat(descriptor), self._file)
        except OSError:
            return False

    def _renew(self, old: int, check: Callable[[], None]) -> None:
        """Put a copy of the journal in its place, and write there from now on; raises RunLockedError, OSError."""
        beside = self.path.with_name(f'.{NAME}.{secrets.token_hex(8)}.new')
        new = above_streams(os.open(beside, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            os.fchmod(new, os.fstat(old).st_mode & 0o777)
            at = 0
            while content := os.pread(old, 2**20, at):
                at += os.write(new, content)
            os.fsync(new)
            check()
            if not swap(beside, self.path):
                os.replace(beside, self.path)
            elif not os.path.samestat(os.stat(beside), os.fstat(old)):  # another owner's: give it back
                swap(beside, self.path)
                raise RunLockedError(f'{self.path.parent}: another tuner has taken it over')
            sync_folder(self.path.parent)
        except BaseException:
            os.close(new)
            raise
        finally:
            beside.unlink(missing_ok=True)
        os.close(old)
        self._taken, self._file = new, os.fstat(new)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield all lines; the last, where it has NUL bytes, without its newline: part of it never reached the disk."""
        number, line = 0, b''
        try:
            with open_regular(self.path) as file:
                while following := file.readline(LONGEST):
                    if number:
                        yield number, line
                    if len(following) == LONGEST:
                        raise JournalError(f'{self.path}, line {number + 1}: damaged (longer than {LONGEST} bytes)')
                    number, line = number + 1, following
        except OSError as error:
            raise JournalError(f'{self.path}: cannot be read: {error}') from error
        if number == 0:
            raise JournalError(f'{self.path}: empty: no run was recorded here')
        yield number, line.removesuffix(b'\n') if b'\0' in line else line


def above_streams(descriptor: int) -> int:
    """Return the descriptor, or another of that file: where stdout or stderr were closed, libraries write to those."""
    if descriptor > 2:
        return descriptor
    try:
        return above_streams(os.dup(descriptor))
    finally:
        os.close(descriptor)


def encode_line(event: Event) -> bytes:
    """Return the event as one line, its checksum last."""
    body = ENCODER.encode(event)[:-1]
    return f'{body}, "crc": "{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def parse_line(line: bytes) -> Any:
    """Return what JSON is in a line, None if the line is damaged."""
    body, _, crc = line.removesuffix(b'\n').rpartition(b', "crc": ')
    if crc != b'"%08x"}' % zlib.crc32(body):
        return None
    try:
        return DECODER.decode((body + b'}').decode())
    except (ValueError, RecursionError):
        return None


def decode_line(line: bytes) -> Event | None:
    """Return the event in a line, None if the line is damaged, or holds none."""
    event = parse_line(line)
    return None if fault_of(event) else event


def check_event(event: Any, number: int, path: Path) -> None:
    """Raises JournalError unless it is what `append` would write, from which the tuner makes paths and decisions."""
    first = event if isinstance(event, dict) else {}
    if number == 1 and (first.get('event') != 'run' or first.get('schema') not in READABLE):
        found = first.get('schema')
        raise JournalError(f'{path}: written with schema {brief(found)}, this hpo4dl reads schema 1 and {SCHEMA}')
    fault = fault_of(event)
    if fault:
        remedy = 'Tuner.resume(..., salvage=True) goes on from the others'
        raise JournalError(f'{path}, line {number}: not an event of hpo4dl: {fault}; {remedy}')
