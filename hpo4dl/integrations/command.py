"""A training program, in whatever language, as an objective function: `command_objective(['python', 'train.py', ...])`.

A call starts the program once, without a shell, and reads its results while it runs: from lines of its output, or from
a file that it writes. docs/shell.md says what a program is told, and how it tells.
"""

from __future__ import annotations

import json
import math
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import check_count, check_list, check_number
from ..errors import ArgumentError, HPO4DLError
from ..execution.worker import parse_result
from ..failure_kinds import KINDS
from ..files import read_regular
from ..trial import Attempt, Configuration, Outcome, Trial
from .arguments import SPECIAL, environment, filled, placeholders, plain
from .program_output import BoundedLog, Lines, oom_kills, signal_name, telling_line

GUARD = Path(__file__).with_name('guard.py')
LOOK = 1.0
"""Seconds between two looks whether the program is still there."""
TAIL = 20
"""Lines of the log that a failure shows."""


class CommandError(HPO4DLError, RuntimeError):
    """A program did not train what it was asked for: the message says why, and has the last lines of its output."""


@dataclass(frozen=True)
class CommandObjective:
    """What `command_objective` returns: an objective function that can be sent to any worker."""

    command: tuple[str, ...]
    metric: str | None = None
    pattern: str | None = None
    first_epoch: int = 1
    time_limit: float | None = None
    grace: float = 10.0
    folder: str = field(default_factory=os.getcwd)
    """Where the program is started."""

    def __call__(
        self, configuration: Configuration, epoch: int, previous_epoch: int, checkpoint_path: str
    ) -> list[dict[str, Any]]:
        """Train as any objective function does; raise CommandError where the program fails."""
        with tempfile.TemporaryDirectory(prefix='hpo4dl_', ignore_cleanup_errors=True) as folder:
            trial, log = Trial(0, configuration, previous_epoch, epoch), os.path.join(folder, 'log')
            outcome = self.train_attempt(Attempt(0, trial, os.fspath(checkpoint_path), None, '', log=log))
        if outcome.failed is not None:
            raise CommandError(f'{outcome.failed}\n{outcome.traceback or ""}'.rstrip())
        return [{**outcome.info[e], 'epoch': e, 'metric': metric} for e, metric in outcome.metrics.items()]

    def train_attempt(self, attempt: Attempt) -> Outcome:
        """Run the program for one attempt; what it told counts even where it fails."""
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix='hpo4dl_', ignore_cleanup_errors=True) as folder:
            results, configuration_file = Path(folder, 'results.jsonl'), Path(folder, 'configuration.json')
            trial = attempt.trial
            told = {
                'epoch': trial.epoch,
                'previous_epoch': trial.previous_epoch,
                'checkpoint_path': attempt.folder,
                'trial': trial.id,
                'attempt': attempt.number,
                'configuration_file': str(configuration_file),
                'results': str(results),
            }
            if trial.previous_epoch > 0:
                told['resume_path'] = attempt.folder
            values = plain(trial.configuration)
            configuration_file.write_text(json.dumps(values), encoding='utf-8')
            variables = environment(values, told)
            lines = Lines(self.metric, self.pattern)
            with BoundedLog(attempt.log) as log:
                status = self._run(filled(self.command, values, told), variables, lines, log)
            if results.exists():
                lines.replace(read_regular(results).decode(errors='replace'))
        outcome = parse_result(lines.entries(trial.previous_epoch, self.first_epoch), trial)
        outcome.failed = status or lines.problem(trial.epoch) or outcome.failed
        outcome.seconds = time.perf_counter() - begin
        if outcome.failed is not None:
            outcome.traceback = f'{attempt.log}, its last lines:\n{log.last_lines(TAIL)}'
        return outcome

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ArgumentError where the command does not fit the space's hyperparameters."""
        reserved = [name for name in names if name.lower() in SPECIAL]
        if reserved:
            accepted = f'hyperparameters with other names than {", ".join(SPECIAL)}, which placeholders have'
            raise ArgumentError('configuration_space', reserved[0], accepted)
        for name in placeholders(self.command):
            if name not in names and name not in SPECIAL:
                accepted = f'one of the hyperparameters {list(names)}, or of {", ".join(SPECIAL)}'
                raise ArgumentError('placeholder', f'{{{name}}}', f'{accepted}; {{{{{name}}}}} is the text {{{name}}}')

    def _run(self, command: Sequence[str], variables: Mapping[str, str], lines: Lines, log: BoundedLog) -> str | None:
        """Run a command to its end; return why it failed, None if it did not."""
        kills = oom_kills()
        guarded = [sys.executable, '-I', '-S', str(GUARD), str(self.grace), *command]
        surroundings = {'PYTHONUNBUFFERED': '1', **os.environ, **variables}
        pipes: dict[str, Any] = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
        log.write(f'{self.folder}$ {" ".join(command)}\n'.encode(errors='backslashreplace'))
        try:
            process = subprocess.Popen(
                guarded, cwd=self.folder, env=surroundings, start_new_session=True, bufsize=0, **pipes
            )
        except (OSError, ValueError) as error:  # no such folder; a NUL in a value
            log.write(f'{error}\n'.encode())
            return f'wrong argument: {error}'
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            is_over = self._read(process, lines, log)
        finally:  # also after KeyboardInterrupt: all that the program started ends with its guard's lifeline
            process.stdin.close()
            process.wait()
            process.stdout.close()
        if is_over:
            return f'time limit: no end after {self.time_limit:g} seconds'
        return reason_of(process.returncode, log.tail(), oom_kills() > kills)

    def _read(self, process: subprocess.Popen[bytes], lines: Lines, log: BoundedLog) -> bool:
        """Read the output to its end; return whether the time limit was over before."""
        assert process.stdin is not None
        assert process.stdout is not None
        end = math.inf if self.time_limit is None else time.monotonic() + self.time_limit
        is_over = False
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                has_ended = process.poll() is not None
                if selector.select(LOOK if is_over else max(0.0, min(LOOK, end - time.monotonic()))):
                    block = os.read(process.stdout.fileno(), 65536)
                    if not block:
                        return is_over
                    log.write(block)
                    lines.feed(block)
                elif has_ended:  # what it left behind, beyond our reach, still has the pipe
                    return is_over
                if not is_over and time.monotonic() >= end:
                    is_over = True
                    process.stdin.close()


def command_objective(
    command: Sequence[str],
    metric: str | None = None,
    *,
    pattern: str | None = None,
    first_epoch: int = 1,
    time_limit: float | None = None,
    grace: float = 10.0,
) -> CommandObjective:
    """Return an objective function that runs a program: for `Tuner`, with any executor. docs/shell.md has more.

    Args:
        command: the program and its arguments, with placeholders such as '{lr}', '{epoch}', '{checkpoint_path}'.
        metric: its name in the lines of the output; default None: the only number beside the epoch.
        pattern: a regular expression with the groups `epoch` and `metric`; default None: lines such as
            'epoch=3 loss=0.2', or JSON.
        first_epoch: the number that the program gives its first epoch; default 1.
        time_limit: seconds that a call may take, default None: any; what was told until then counts.
        grace: seconds from SIGTERM to SIGKILL, where a call is ended; default 10.

    Raises:
        ArgumentError: an argument cannot be used.
    """
    accepted = "a list of texts, such as ['python', 'train.py', '--lr', '{lr}']"
    if isinstance(command, str) or not command or not all(isinstance(part, str) for part in command):
        raise ArgumentError('command', command, accepted)
    for part in check_list('command', list(command)):
        if re.search(r'\{(arguments|overrides)\}', part) and part not in ('{arguments}', '{overrides}'):
            raise ArgumentError('command', part, '{arguments} and {overrides} as arguments of their own')
    try:
        groups = {'epoch', 'metric'} if pattern is None else set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ArgumentError('pattern', pattern, f'a regular expression ({error})') from error
    if not {'epoch', 'metric'} <= groups:
        raise ArgumentError('pattern', pattern, 'a regular expression with (?P<epoch>...) and (?P<metric>...)')
    return CommandObjective(
        tuple(command),
        metric,
        pattern,
        check_count('first_epoch', first_epoch, least=0),
        None if time_limit is None else check_number('time_limit', time_limit, positive=True),
        check_number('grace', grace, positive=True),
    )


def reason_of(status: int, output: str, was_oom: bool) -> str | None:
    """Return why a program failed, of its exit status and the end of its output; None: it did not."""
    if status == 0:
        return None
    if status < 0:  # the guard itself
        status = 128 - status
    said = telling_line(output)
    if 128 < status <= 192:
        name = signal_name(status - 128)
        if name == 'SIGKILL' and was_oom:
            return "out of memory: killed by the kernel's out-of-memory killer"
        if re.search(KINDS['out of memory'], said):
            return f'out of memory: {said}'
        return f'killed: {name}'
    return f'exit status {status}: {said}'
