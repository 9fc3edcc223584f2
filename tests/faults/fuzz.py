"""Damage the files of a run in every way that comes to mind, and run every command on it.

`python tests/faults/fuzz.py --cases 2000` says how many of them ended in a traceback, a hang, or an escape sequence on
the terminal; `test_fuzz.py` does a few. Each case is a function of its number.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

if __name__ == '__main__':
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / 'helpers')]

from objectives import Quadratic
from races import tune

from hpo4dl import HPO4DLError, Tuner
from hpo4dl.files import remove_tree
from hpo4dl.tools.cli import main as command_line

VALUES: list[Any] = [
    None, True, -1, 0, 1, 1.5, 1e30, 1e308, -1e308, float('inf'), float('nan'), 2**53, 2**64, 10**400, '', 'x',
    '\x1b[31mred\x07', '\u2028</script>', '\ud800', 'x' * 10_000, '../../etc/passwd', '/dev/zero', [], {}, [[]], [None],
    {'x': 1}, [1, 'x', None], {'': {}}, {'x': float('nan')},
]  # fmt: skip
RAW = [b'', b'\0', b'\0' * 5000, b'[' * 100_000, b'\xff\xfe{}', b'\xef\xbb\xbf{}', b'{', b'null', b'[]', b'9' * 5000]
JSON_FILES = ['settings.json', 'hyperparameters.json', 'configuration_space.json', 'lock']
REQUEST = 'requests/00000000000000000001_0.json'
FILES = ['journal.jsonl', *JSON_FILES, REQUEST, 'requests']
SECONDS = 60
"""Longer is a hang."""
KILOBYTES = 10**6
"""More memory is read, or asked for, without a bound; four times as much is refused."""


def made(folder: Path) -> list[Path]:
    """Runs to be damaged: of two optimizers, one interrupted."""
    runs = []
    for name in ('asha', 'dyhpo'):
        tuner = tune(folder / name, Quadratic(dies_at=14), optimizer=name, max_budget=25, num_configurations=10)
        with contextlib.suppress(KeyboardInterrupt):
            tuner.run()
        owner = {'host': 'elsewhere', 'boot': 'x', 'namespace': 'y', 'pid': 1, 'birth': '1', 'token': 'z'}
        (tuner.run_folder / 'lock').write_text(json.dumps(owner))
        (tuner.run_folder / REQUEST).parent.mkdir(exist_ok=True)
        (tuner.run_folder / REQUEST).write_text('{"kind": "enqueue", "configuration": {"x": 1.5}}')
        runs.append(tuner.run_folder)
    return runs


def mutated(value: Any, rng: random.Random) -> Any:
    """The same, but for one place in it."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.85:
        value = copy.copy(value)
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if rng.random() < 0.15:
            del value[key]
        else:
            value[key] = mutated(value[key], rng)
        return value
    return rng.choice(VALUES)


def line_of(event: Any) -> bytes:
    """With the right checksum."""
    body = json.dumps(event)[:-1]
    return f'{body}, "crc": "{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def damage(run: Path, rng: random.Random) -> str:
    """Damage one file; says how."""
    name = rng.choice(FILES + ['journal.jsonl'] * 4)
    path, way = run / name, rng.random()
    if way < 0.1 or path.is_dir():
        remove_tree(path)
        kind = rng.choice(['fifo', 'folder', '/dev/zero', '/nowhere', 'gone'])
        if kind == 'fifo':
            os.mkfifo(path)
        elif kind == 'folder':
            path.mkdir()
        elif kind.startswith('/'):
            path.symlink_to(kind)
        return f'{name} is {kind}'
    content = path.read_bytes()
    if way < 0.25:
        raw = rng.choice(RAW)
        at = rng.choice([0, rng.randrange(len(content)), len(content)])
        path.write_bytes(raw if rng.random() < 0.5 else content[:at] + raw + content[at:])
        return f'{name} has {raw[:10]!r}'
    if name != 'journal.jsonl':
        path.write_text(json.dumps(mutated(json.loads(content), rng)))
        return f'{name} has another value'
    lines = content.splitlines(keepends=True)
    for _ in range(rng.choice([1, 1, 3])):
        index = rng.randrange(len(lines))
        try:
            event = json.loads(lines[index])
        except (ValueError, RecursionError):  # damaged already
            event = None
        if isinstance(event, dict):
            event.pop('crc', None)
        if way < 0.35:
            lines.insert(rng.randrange(len(lines)), lines.pop(index))
        elif way < 0.4:
            del lines[index]
        elif way < 0.45:
            lines.insert(index, rng.choice(RAW[:8]) + b'\n')
        else:
            lines[index] = line_of(mutated(event, rng)) if isinstance(event, dict) else b'\n'
    path.write_bytes(b''.join(lines))
    return f'{name} has other events'


COMMANDS = [
    ['report', 'RUN'], ['report', 'RUN', '--json'], ['plot', 'RUN', '--html', '-o', 'OUT'], ['compare', 'RUN', 'RUN'],
    ['explain', 'RUN'], ['replay', 'RUN'], ['export', 'RUN', '--to', 'csv'], ['export', 'RUN', '--to', 'json'],
    ['export', 'RUN', '--to', 'configspace'], ['export', 'RUN', '--to', 'deepcave', '-o', 'OUT'],
    ['plot', 'RUN', '-o', 'OUT.svg'], ['resume'], ['salvage'], ['finish'], ['list', 'PLACE'],
    ['enqueue', 'RUN', '--x', '1.5'], ['enqueue', 'RUN', '--x', '\x1b[31m'], ['stop', 'RUN'],
    ['stop', 'RUN', '--trial', '1'],
    ['report', 'RUN', '--failures'], ['compare', 'RUN', 'RUN', '-o', 'OUT.svg'], ['explain', 'RUN', '-o', 'OUT.svg'],
    ['space', '--space', 'RUN/configuration_space.json'],
]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f'it hangs: {SECONDS} s')

    before, limits = signal.signal(signal.SIGALRM, late), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped() + 4000 * KILOBYTES, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def mapped() -> int:
    """Bytes of address space that this process has, where Linux tells; the libraries of torch take some gigabytes."""
    try:
        return int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 2**40


def most_memory() -> int:
    """Kilobytes that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == 'darwin' else 1)


def tried(run: Path, command: list[str], place: Path) -> str | None:
    """What was wrong with what a command did; None: nothing."""
    memory = most_memory()
    out, names = Terminal(), {'RUN': str(run), 'OUT': str(place / 'out'), 'PLACE': str(place)}
    words = [re.sub('^(RUN|OUT|PLACE)', lambda found: names[found[0]], word) for word in command]
    try:
        with bounded(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            if words[0] in ('resume', 'salvage', 'finish'):
                salvage = words[0] == 'salvage'
                how = {'salvage': salvage, 'take_over': words[0] != 'resume'}
                tuner = Tuner.resume(run, Quadratic(), max_budget=27, progress=False, **how)
                tuner.finish(2) if words[0] == 'finish' else tuner.run()
            else:
                command_line(words)
    except HPO4DLError as error:
        out.write(f'hpo4dl: {error}')
    except (Exception, SystemExit):
        last = traceback.format_exc(limit=-1).splitlines()
        return f'{command[0]} {last[-1][:80]} {last[1].strip()[-60:] if len(last) > 1 else ""}'
    if most_memory() - memory > KILOBYTES:
        return f'{command[0]}: much memory'
    return f'{command}: an escape sequence' if '\x1b' in out.getvalue() or '\x07' in out.getvalue() else None


def cases(numbers: Iterable[int], seed: int = 0, commands: int = 3) -> tuple[int, Counter[str]]:
    """How many commands were run, and what was wrong with how many of them."""
    logging.getLogger('hpo4dl').setLevel(logging.CRITICAL)
    wrong: Counter[str] = Counter()
    n = 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        runs = made(place / 'whole')
        for number in numbers:
            rng = random.Random(f'{seed} {number}')
            original = rng.choice(runs)
            damaged = place / 'damaged'
            shutil.copytree(original, damaged, symlinks=True)
            how = damage(damaged, rng)
            for command in rng.sample(COMMANDS, commands):
                n += 1
                fault = tried(damaged, command, place)
                if fault:
                    wrong[f'{fault} ({how}, e.g. case {number})'] += 1
                shutil.rmtree(place / 'out', ignore_errors=True)
                (place / 'out').unlink(missing_ok=True)
            shutil.rmtree(damaged)
    return n, wrong


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cases', type=int, default=1000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    n, wrong = cases(range(options.first, options.first + options.cases), options.seed)
    for text, times in wrong.most_common():
        print(f'{times:>4} x {text}')
    print(f'{options.cases} damaged runs, {n} commands: {sum(wrong.values())} tracebacks, hangs or escape sequences')
    sys.exit(bool(wrong))
