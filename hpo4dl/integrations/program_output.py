"""What a program says: the results in its lines, a log of bounded length, and the one line that tells why it failed."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..failure_kinds import KINDS

NUMBER = r'[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)'
PAIR = re.compile(rf'([A-Za-z_][\w./-]*)["\']?\s*[=:]\s*["\']?({NUMBER})(?![\w.]*[\w])', re.IGNORECASE)
"""`epoch=3`, `accuracy: 0.91`, `'eval_loss': '0.69'`."""
EPOCH = re.compile(r'\bepoch\s*[\[(#]?\s*(\d+)(?!\w|\.\d)', re.IGNORECASE)
"""`Epoch 3/10`, `Epoch [3/10]`, beside such pairs."""
LONGEST_LINE = 1_000_000
MAX_LOG = 256_000
"""Bytes of a log: where it gets longer, what is between its first and its last quarter goes."""
ERROR = re.compile(r'^(?:\[rank\d+\]:\s*)?((?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt)\b.*)$')
SAYS_NOTHING = 'ChildFailedError'
"""What torchrun says below its child's own error."""


class Lines:
    """Collects the results in a program's lines, the last one of an epoch.

    Args:
        metric: its name; None: the only number beside the epoch.
        pattern: a regular expression with the groups `epoch` and `metric`, instead.
    """

    def __init__(self, metric: str | None, pattern: str | None) -> None:
        self.metric = metric
        self._pattern = None if pattern is None else re.compile(pattern)
        self._found: dict[float, dict[str, Any]] = {}
        self._ambiguous: list[str] = []
        """Names of the numbers of a line of which none is the metric."""
        self._rest = b''

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the output."""
        *whole, self._rest = re.split(rb'[\r\n]', self._rest + block)
        self._rest = self._rest[:LONGEST_LINE]
        for line in whole:
            self._take(line.decode(errors='replace'))

    def replace(self, text: str) -> None:
        """Take what a program wrote into its file of results, in the place of all that its output has."""
        if text.strip():
            self._found, self._rest = {}, b''
            for line in text.splitlines():
                self._take(line, 'metric')

    def entries(self, previous_epoch: int, first_epoch: int) -> list[dict[str, Any]]:
        """Return the results, as an objective function returns them; epochs that were trained before are left out."""
        if self._rest:
            self._take(self._rest.decode(errors='replace'))
            self._rest = b''
        shifted = {epoch - first_epoch + 1: entry for epoch, entry in self._found.items()}
        return [{**shifted[e], 'epoch': int(e)} for e in sorted(shifted) if e > previous_epoch]

    def problem(self, epoch: int) -> str | None:
        """Return why there is no result at all; None if there is one."""
        if self._found:
            return None
        if self._ambiguous:
            return f'no result: which of {", ".join(self._ambiguous)} is the metric? (--metric NAME)'
        form = f'"epoch={epoch} {self.metric or "accuracy"}=0.91"'
        where = f'no line of its output is like {form} (--pattern reads others), and HPO4DL_RESULTS has none'
        return f'no result: it ended well, but {where}'

    def _take(self, line: str, other_name: str = '') -> None:
        """Take one line; the metric has its name there, or the other one."""
        pairs = self._pairs(line)
        if pairs is None:
            return
        epoch = as_float(pairs.pop('epoch'))
        if epoch is None or not epoch.is_integer() or epoch < 0:
            return
        named = next((name for name in (self.metric, other_name) if name in pairs), None)
        if named is None and self.metric is None and len(pairs) == 1:
            (named,) = pairs
        if named is not None:
            metric = pairs.pop(named) if named == self.metric else pairs[named]  # its name tells, where nobody gave it
            self._found[epoch] = {**pairs, 'metric': metric}
        elif self.metric is None and len(pairs) > 1:
            self._ambiguous = self._ambiguous or list(pairs)

    def _pairs(self, line: str) -> dict[str, Any] | None:
        """Return what the line says, by name; None if it says nothing of an epoch."""
        if self._pattern is not None and not line.startswith('{'):
            match, name = self._pattern.search(line), self.metric or 'metric'
            return None if match is None else {'epoch': match['epoch'], name: number(match['metric'])}
        if line.startswith('{'):
            with suppress(ValueError):
                content = json.loads(line)
                return content if isinstance(content, dict) and 'epoch' in content else None
        pairs = {name if name.lower() != 'epoch' else 'epoch': number(text) for name, text in PAIR.findall(line)}
        if pairs and 'epoch' not in pairs and (match := EPOCH.search(line)):
            pairs['epoch'] = number(match[1])
        return pairs if 'epoch' in pairs else None


def number(text: str) -> Any:
    """Return a number that is written like this; the text where it is none."""
    found = as_float(text)
    return text if found is None else int(text) if re.fullmatch(r'[-+]?\d{1,18}', text) else found


def as_float(value: Any) -> float | None:
    """Return a number, or a text, as a number; None: it is none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


class BoundedLog:
    """A file with what a program printed, its beginning and its end where that is long."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._file: IO[bytes] | None = None
        self._memory = b''
        """The end of it, of which failures are told."""

    def __enter__(self) -> BoundedLog:
        with suppress(OSError):  # a log that cannot be written is no reason not to train
            if self._path.parent.is_symlink():  # in a run that was received, it may lead anywhere
                return self
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)  # it may be another name of another's file, or a pipe
            self._file = open(self._path, 'w+b', buffering=0, opener=_without_following)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, block: bytes) -> None:
        self._memory = (self._memory + block)[-MAX_LOG // 4 :]
        if self._file is None:
            return
        with suppress(OSError):
            if self._file.write(block) is not None and self._file.tell() > MAX_LOG:
                self._file.seek(0)
                first = self._file.read(MAX_LOG // 4)
                self._file.seek(0)
                self._file.truncate()
                self._file.write(first + b'\n... (the middle is left out) ...\n' + self._memory)

    def tail(self) -> str:
        """Return the end of what was written."""
        return self._memory.decode(errors='replace')

    def last_lines(self, n: int) -> str:
        """Return the last lines, long ones cut."""
        lines = [line for line in re.split(r'[\r\n]+', self.tail()) if line.strip()]
        return '\n'.join(line[:500] for line in lines[-n:])


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | getattr(os, 'O_NOFOLLOW', 0), 0o666)


def telling_line(output: str) -> str:
    """Return the line that tells best why a program failed: memory was out, else the last error, else the last line."""
    printed: list[str] = [line.strip() for line in re.split(r'[\r\n]+', output) if line.strip()]
    lines = printed[1:]  # the first one is the command
    for line in reversed(lines):
        if re.search(KINDS['out of memory'], line, re.IGNORECASE):
            return line[:500]
    for line in reversed(lines):
        match = ERROR.match(line)
        if match and SAYS_NOTHING not in line:
            return str(match[1])[:500]
    for line in reversed(lines):
        if re.search(r'\berror: ', line, re.IGNORECASE):
            return line[:500]
    return lines[-1][:500] if lines else 'it printed nothing'


def signal_name(number: int) -> str:
    """SIGSEGV and the like."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def oom_kills() -> int:
    """Return how many processes the kernel has killed so far because memory was out; 0 where it does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return int(re.findall(r'^oom_kill (\d+)$', Path('/proc/vmstat').read_text(), re.MULTILINE)[0])
    return 0
