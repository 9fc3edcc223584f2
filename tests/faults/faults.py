"""Do harm to runs and count what is lost: `python tests/faults/faults.py` does all of it, `test_faults.py` a little.

It prints a line a fault: what was done, how often, what was lost, how it was reported. Lost is every epoch that the
journal had acknowledged and that was trained again or is missing at the end, every decision that is not that of the
uninterrupted run, and every look at `best_trial/` that did not see it whole.

Runs live in forked processes, so that hpo4dl is imported once; everything is killed with SIGKILL.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from ConfigSpace import ConfigurationSpace

import hpo4dl
from hpo4dl import Tuner, replay

NAMES = ['dyhpo', 'hyperband', 'asha', 'random']
BUDGETS = {'dyhpo': 20, 'hyperband': 30, 'asha': 30, 'random': 30}
LENGTH = 20_000
"""Bytes of a checkpoint, written in pieces, so that a kill can leave a part."""


@dataclass
class Line:
    """What became of one kind of fault."""

    fault: str
    times: int = 0
    lost: list[str] = field(default_factory=list)
    reported: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        said = '; '.join(f'{n} x {text}' for text, n in self.reported.most_common(4))
        return f'{self.fault:<62} {self.times:>6} times   lost {len(self.lost)}   {said}'


def whole(folder: Path | int) -> int | None:
    """The epoch in a checkpoint; None if it is torn. A folder may be an open descriptor."""
    name = 'weights' if isinstance(folder, int) else folder / 'weights'
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder if isinstance(folder, int) else None)
    with open(descriptor, 'rb') as file:
        content = file.read()
    epoch, _, rest = content.partition(b' ')
    return int(epoch) if content and len(rest) == LENGTH and set(rest) == {120} else None


def train(configuration, epoch, previous_epoch, checkpoint_path):
    """Adds a line a call to a file below the runs; its save is not atomic on purpose."""
    folder = Path(checkpoint_path)
    calls = folder.parents[4] / 'calls'
    started = whole(folder) if previous_epoch else 0 if not list(folder.iterdir()) else None
    with open(calls, 'a') as file:
        file.write(json.dumps([os.getppid(), configuration['x'], previous_epoch, epoch, started]) + '\n')
    with open(folder / 'weights', 'wb', buffering=0) as file:
        file.write(b'%d ' % epoch)
        for _ in range(4):
            file.write(b'x' * (LENGTH // 4))
    loss = (configuration['x'] - 2) ** 2
    return [{'epoch': i, 'metric': loss + 1 / i} for i in range(previous_epoch + 1, epoch + 1)]


def make(folder: Path, name: str, seed: int, **arguments) -> Tuner:
    settings = {'max_epochs': 9, 'max_budget': BUDGETS[name], 'minimize': True}
    settings |= {'num_configurations': 20, **arguments}
    space = ConfigurationSpace({'x': (-5.0, 10.0)})
    folder.mkdir(parents=True, exist_ok=True)
    return Tuner(train, space, optimizer=name, seed=seed, output_path=folder / 'runs', progress=False, **settings)


def forked(act: Callable[[], object], log: Path | None = None) -> int:
    """Act in a child; returns its process number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        torch.set_num_threads(1)  # the parent's OpenMP threads are not here, and would be waited for
        if log is not None:
            logging.basicConfig(filename=log, level=logging.WARNING, force=True)
        act()
        os._exit(0)
    except BaseException as error:
        if log is not None:
            logging.error('%s: %s', type(error).__name__, error)
        os._exit(1)


def journal_of(run: Path) -> list[dict]:
    """The whole lines, read without hpo4dl."""
    content = (run / 'journal.jsonl').read_bytes()
    return [json.loads(line) for line in content[: content.rfind(b'\n') + 1].splitlines()]


def acknowledged(run: Path) -> dict[int, int]:
    """By trial, the last epoch in the journal."""
    reached: dict[int, int] = {}
    for event in journal_of(run):
        if event['event'] == 'result' and event['epochs']:
            reached[event['trial']] = event['epochs'][-1]['epoch']
    return reached


def decisions(run: Path) -> list[tuple[int, int, int]]:
    """(trial, from, to) in their order, each once."""
    starts = [event for event in journal_of(run) if event['event'] == 'start']
    return list(dict.fromkeys((s['trial'], s['previous_epoch'], s['epoch']) for s in starts))


def only_run(folder: Path) -> Path:
    (run,) = (folder / 'runs').iterdir()
    return run


def check_best(run: Path, line: Line) -> None:
    best = run / 'best_trial'
    if best.exists() and (not (best / 'weights').exists() or whole(best) is None):
        line.lost.append(f'{best} is torn')


def killed_runs(folder: Path, name: str, kills: int, seed: int, sabotage: bool) -> Line:
    """Start a run, kill it, resume it, until `kills` were made; what is ended is begun anew with another seed.

    Args:
        sabotage: False: a kill at a random instant. True: a kill at a random file operation, a write cut in half.
    """
    what = 'at a file operation, writes cut in half' if sabotage else 'at a random instant'
    line = Line(f'{name}: SIGKILL {what}')
    rng = random.Random(f'{name} {kills} {seed} {sabotage}')
    n_runs = 0
    while line.times < kills:
        n_runs += 1
        place = folder / f'{name}_{n_runs}'
        reference, seconds, operations = uninterrupted(place / 'whole', name, seed + n_runs)
        how = {'operations': operations} if sabotage else {'seconds': seconds}
        line.times += run_with_kills(place / 'cut', name, seed + n_runs, reference, rng, line, **how)
    return line


def uninterrupted(folder: Path, name: str, seed: int) -> tuple[list[tuple[int, int, int]], float, int]:
    """Its decisions, its time and its number of file operations."""

    def act() -> None:
        with sabotaged(None) as count:
            make(folder, name, seed).run()
        (folder / 'count').write_text(str(count[0]))

    begin = time.monotonic()
    assert os.waitpid(forked(act), 0)[1] == 0
    seconds = time.monotonic() - begin
    return decisions(only_run(folder)), seconds, int((folder / 'count').read_text())


def run_with_kills(
    folder: Path,
    name: str,
    seed: int,
    reference: list[tuple[int, int, int]],
    rng: random.Random,
    line: Line,
    seconds: float | None = None,
    operations: int | None = None,
) -> int:
    """One run from its start to its end, killed time and again; returns the number of kills."""
    kills = 0
    trials: dict[float, int] = {}
    before: dict[int, int] = {}
    n_calls = 0
    log = folder / 'log'
    folder.mkdir(parents=True)
    while True:
        gentle = kills > 40  # it shall end some time
        at = None if operations is None or gentle else rng.randint(1, max(2, operations // 3))

        def act(at: int | None = at) -> None:
            with sabotaged(at):
                begun = [run for run in (folder / 'runs').glob('*') if (run / 'journal.jsonl').exists()]
                (Tuner.resume(begun[0], train, progress=False) if begun else make(folder, name, seed)).run()

        pid = forked(act, log)
        if seconds is not None and not gentle:
            time.sleep(rng.uniform(0, seconds))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        killed = os.WIFSIGNALED(status)
        kills += killed
        runs = [run for run in (folder / 'runs').glob('*') if (run / 'journal.jsonl').exists()]
        for run in set((folder / 'runs').glob('*')) - set(runs):  # killed before there was a run
            subprocess.run(['rm', '-r', run], check=True)
        if not runs:
            continue
        (run,) = runs
        check_best(run, line)
        starts = [event for event in journal_of(run) if event['event'] == 'start']
        trials |= {start['configuration']['x']: start['trial'] for start in starts if 'configuration' in start}
        calls = (folder / 'calls').read_text().splitlines() if (folder / 'calls').exists() else []
        for _, x, previous_epoch, epoch, started in map(json.loads, calls[n_calls:]):
            if started != previous_epoch:
                line.lost.append(f'{run}: x={x} started with a checkpoint of {started}, not {previous_epoch}')
            if x in trials and previous_epoch < before.get(trials[x], 0):
                line.lost.append(f'{run}: trial {trials[x]}: epoch {epoch} was acknowledged and is trained again')
        n_calls = len(calls)
        after = acknowledged(run)
        line.lost += [f'{run}: trial {i} is back at {after.get(i)}' for i, e in before.items() if after.get(i, 0) < e]
        before = after
        if not killed:
            break
    said = log.read_text() if log.exists() else ''
    line.reported['resumed'] += kills
    line.reported['cut short by a kill and is removed'] += said.count('cut short by a kill and is removed')
    line.reported['taking over the lock'] += said.count('taking over the lock')
    line.lost += [f'{run}: {text}' for text in said.splitlines() if text.startswith('ERROR')]
    if decisions(run) != reference:
        line.lost.append(f'{run}: decisions differ from the uninterrupted run')
    return kills


@contextlib.contextmanager
def sabotaged(at: int | None) -> Iterator[list[int]]:
    """Count operations on files; at the `at`-th, kill this process, in the middle of it where it can be cut."""
    count = [0]
    original = {n: getattr(os, n) for n in ('write', 'fsync', 'rename', 'replace', 'mkdir', 'unlink', 'rmdir', 'link')}
    original['open'], original['ftruncate'] = os.open, os.ftruncate
    if hasattr(os, 'copy_file_range'):
        original['copy_file_range'] = os.copy_file_range
    rng = random.Random(at)

    def wrapped(name: str, function):
        def operation(*arguments, **keywords):
            count[0] += 1
            if count[0] == at:
                if name == 'write':
                    function(arguments[0], arguments[1][: rng.randint(0, len(arguments[1]))])
                elif name == 'copy_file_range':
                    function(arguments[0], arguments[1], rng.randint(1, LENGTH))
                elif rng.random() < 0.5:
                    function(*arguments, **keywords)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return operation

    for name, function in original.items():
        setattr(os, name, wrapped(name, function))
    try:
        yield count
    finally:
        for name, function in original.items():
            setattr(os, name, function)


def looked_at(folder: Path, looks: int, seed: int) -> Line:
    """Look at `best_trial` all the time, while ever better trials are published."""
    line = Line('a look at best_trial/ while it is replaced')
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            for best in (folder / 'runs').glob('*/best_trial'):
                try:
                    descriptor = os.open(best, os.O_RDONLY)
                except FileNotFoundError:
                    line.lost.append('best_trial was absent')
                    continue
                try:
                    line.times += 1
                    if whole(descriptor) is None:
                        line.lost.append('best_trial was torn')
                except FileNotFoundError:
                    line.reported['replaced while it was read'] += 1
                finally:
                    os.close(descriptor)

    thread = threading.Thread(target=look)
    thread.start()
    while line.times < looks:
        seed += 1
        os.waitpid(forked(lambda seed=seed: make(folder / str(seed), 'random', seed, max_budget=90).run()), 0)
        os.waitpid(forked(lambda seed=seed: make(folder, 'random', seed, max_budget=90).run()), 0)
    end.set()
    thread.join()
    return line


def finished(folder: Path, seed: int = 0, **arguments) -> Path:
    """The folder of a run that has ended."""
    assert os.waitpid(forked(lambda: make(folder, 'asha', seed, **arguments).run()), 0)[1] == 0
    return only_run(folder)


def read_again(run: Path, line: Line, expected: list[dict]) -> None:
    """Resume a run whose journal was damaged; an error must name file and line, and salvage loses only the damaged."""

    def count(folder: Path) -> set[tuple[int, int]]:
        return {(e['trial'], x['epoch']) for e in journal_of(folder) if e['event'] == 'result' for x in e['epochs']}

    content = (run / 'journal.jsonl').read_bytes()
    wanted = {(e['trial'], x['epoch']) for e in expected if e['event'] == 'result' for x in e['epochs']}
    line.times += 1
    tuner = Tuner.resume(run, train, progress=False)
    try:
        tuner.run()
        kept = content[: content.rfind(b'\n') + 1]
        if not (run / 'journal.jsonl').read_bytes().startswith(kept) or wanted - count(run):
            line.lost.append(f'{run}: whole lines were changed')
        line.reported['went on'] += 1
    except hpo4dl.JournalError as error:
        line.reported[f'JournalError: {clean(str(error), run)}'] += 1
        if (run / 'journal.jsonl').read_bytes() != content:
            line.lost.append('the journal was changed although it cannot be read')
        if 'journal' not in str(error):
            line.lost.append(f'{error} does not name the file')
    for path in run.glob('journal*'):
        path.unlink()


def clean(text: str, run: Path) -> str:
    text = text.replace(str(run) + '/', '')
    return ''.join('N' if c.isdigit() else c for c in text.partition(';')[0]).replace('NN', 'N').replace('NN', 'N')


def torn_tails(folder: Path, every: int = 1) -> Line:
    """The journal cut at every byte of its last records."""
    line = Line('the journal is cut within its last three lines, at every byte')
    run = finished(folder, max_budget=12)
    content = (run / 'journal.jsonl').read_bytes()
    lines = content.splitlines(keepends=True)
    first = len(content) - sum(map(len, lines[-3:]))
    for size in range(first, len(content), every):
        (run / 'journal.jsonl').write_bytes(content[:size])
        kept = [json.loads(text) for text in content[: content.rfind(b'\n', 0, size) + 1].splitlines()]
        read_again(run, line, kept)
    return line


def flipped_bits(folder: Path, flips: int, seed: int) -> Line:
    """One bit of the journal is wrong."""
    line = Line('a bit of the journal is flipped')
    run = finished(folder, max_budget=12)
    content = (run / 'journal.jsonl').read_bytes()
    everything = [json.loads(text) for text in content.splitlines()]
    rng = random.Random(seed)
    for _ in range(flips):
        at = rng.randrange(len(content) * 8)
        damaged = bytearray(content)
        damaged[at // 8] ^= 1 << (at % 8)
        (run / 'journal.jsonl').write_bytes(damaged)
        read_again(run, line, everything)
    return line


def full_disk(folder: Path, seed: int) -> Line | None:
    """A run on a file system of 300 kB, which is made larger after each error; None where none can be mounted."""
    line = Line('the disk is full, and made larger after each error')
    folder.mkdir(parents=True)
    size = 300
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={size}k', 'tmpfs', folder]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        return None
    try:
        log = Path(tempfile.mkdtemp()) / 'log'

        def act() -> None:
            runs = list((folder / 'runs').glob('*'))
            (Tuner.resume(runs[0], train, progress=False) if runs else make(folder, 'asha', seed, max_budget=60)).run()

        reached: dict[int, int] = {}
        while os.waitpid(forked(act, log), 0)[1] != 0:
            line.times += 1
            run = only_run(folder)
            now = acknowledged(run)
            line.lost += [f'trial {i} is back' for i, epoch in reached.items() if now.get(i, 0) < epoch]
            reached = now
            check_best(run, line)
            said = log.read_text().splitlines()[-1]
            if 'StorageError' not in said:
                line.lost.append(said)
            line.reported['StorageError: ' + ('No space left' if 'No space' in said else said)] += 1
            size += 60
            subprocess.run(['mount', '-o', f'remount,size={size}k', folder], check=True)
        reference, _, _ = uninterrupted_with(folder.with_name('whole'), seed)
        if decisions(only_run(folder)) != reference:
            line.lost.append('decisions differ from the uninterrupted run')
    finally:
        subprocess.run(['umount', folder], check=True)
    return line


def uninterrupted_with(folder: Path, seed: int):
    assert os.waitpid(forked(lambda: make(folder, 'asha', seed, max_budget=60).run()), 0)[1] == 0
    return decisions(only_run(folder)), 0.0, 0


def refused_writes(folder: Path, times: int, seed: int) -> Line:
    """A write, sync or rename is refused, by every error that a file system has for it."""
    line = Line('a file operation is refused (ENOSPC, EROFS, EIO)')
    reference, _, operations = uninterrupted(folder / 'whole', 'asha', seed)
    rng = random.Random(seed)
    n = 0
    while line.times < times:
        n += 1
        place, log = folder / str(n), folder / f'{n}.log'

        def act(at: int, number: int, place: Path = place) -> None:
            with refusing(at, number):
                runs = [run for run in (place / 'runs').glob('*') if (run / 'journal.jsonl').exists()]
                (Tuner.resume(runs[0], train, progress=False) if runs else make(place, 'asha', seed)).run()

        while True:
            at, number = rng.randint(1, operations), rng.choice([errno.ENOSPC, errno.EROFS, errno.EIO])
            failed = os.waitpid(forked(lambda at=at, number=number: act(at, number), log), 0)[1] != 0
            runs = [run for run in (place / 'runs').glob('*') if (run / 'journal.jsonl').exists()]
            if not runs:
                line.reported['no run was made'] += 1
                subprocess.run(['rm', '-rf', place], check=True)
                continue
            check_best(runs[0], line)
            if not failed:
                break
            line.times += 1
            said = log.read_text().splitlines()[-1]
            kind = said.partition('ERROR:root:')[2].partition(':')[0]
            line.reported[kind] += 1
            if kind not in ('StorageError', 'ArgumentError'):
                line.lost.append(said)
        if decisions(runs[0]) != reference:
            line.lost.append(f'{runs[0]}: decisions differ from the uninterrupted run')
    return line


@contextlib.contextmanager
def refusing(at: int, number: int) -> Iterator[None]:
    """The `at`-th operation on a file, counted over all, and every later one of its kind, fails."""
    count = [0]
    broken: list[str] = []
    names = ['write', 'fsync', 'rename', 'replace', 'mkdir', 'symlink', 'copy_file_range']
    original = {name: getattr(os, name) for name in names if hasattr(os, name)}

    def wrapped(name: str, function):
        def operation(*arguments, **keywords):
            count[0] += 1
            if count[0] == at:
                broken.append(name)
            if name in broken:
                raise OSError(number, os.strerror(number))
            return function(*arguments, **keywords)

        return operation

    for name, function in original.items():
        setattr(os, name, wrapped(name, function))
    try:
        yield
    finally:
        for name, function in original.items():
            setattr(os, name, function)


def two_at_once(folder: Path, times: int, seed: int) -> Line:
    """Several tuners resume one run in the same instant; it is killed under them, too."""
    line = Line('four tuners on one run in the same instant, after a kill')
    for n in range(times):
        place, log = folder / str(n), folder / f'{n}.log'
        pid = forked(lambda place=place, n=n: make(place, 'asha', seed + n, max_budget=60).run())
        wait_for(lambda place=place: any((place / 'runs').glob('*/lock')))
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        run = only_run(place)
        start = time.monotonic() + 0.3

        def act(run: Path = run, start: float = start) -> None:
            tuner = Tuner.resume(run, train, progress=False)
            time.sleep(max(0.0, start - time.monotonic()))
            tuner.run()

        pids = [forked(act, log) for _ in range(4)]
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        line.times += 1
        if statuses.count(0) == 0:  # one that comes late may find the race over, and end well, too
            line.lost.append('none of four went on')
        if statuses.count(0) + log.read_text().count('RunLockedError') < 4:
            line.lost.append(log.read_text())
        line.reported['RunLockedError'] += log.read_text().count('RunLockedError')
        epochs = [(e['trial'], x['epoch']) for e in journal_of(run) if e['event'] == 'result' for x in e['epochs']]
        if len(epochs) != len(set(epochs)):
            line.lost.append(f'{run}: an epoch stands twice in the journal')
        try:
            os.waitpid(forked(lambda run=run: Tuner.resume(run, train, progress=False).run()), 0)
            replay(run)
        except hpo4dl.HPO4DLError as error:
            line.lost.append(str(error))
    return line


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def slow(*arguments):
    time.sleep(0.05)
    return train(*arguments)


def fork_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(3, get_context('fork'))


def killed_workers(folder: Path, kills: int, seed: int) -> Line:
    """A worker of a pool is killed every few calls, while the tuner lives."""
    line = Line('a worker process is killed in a pool that can be made anew')
    while line.times < kills:
        seed += 1
        place = folder / str(seed)

        def act(place: Path = place, seed: int = seed) -> None:
            make(place, 'asha', seed, max_budget=60, executor=fork_pool, num_workers=3, retry=1000).run()

        folder.mkdir(exist_ok=True)
        log = folder / f'{seed}.log'
        pid = forked(act, log)
        rng, ended = random.Random(seed), (0, 0)
        while ended == (0, 0):
            time.sleep(rng.uniform(0.1, 0.6))
            children = subprocess.run(['pgrep', '-P', str(pid)], capture_output=True, text=True).stdout.split()
            if children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(rng.choice(children)), signal.SIGKILL)
                    line.times += 1
            ended = os.waitpid(pid, os.WNOHANG)
        run = only_run(place)
        if ended[1] != 0:  # on a busy machine, none of several workers may live until it begins
            said = log.read_text().splitlines()[-1]
            line.reported['the race ended, and was resumed'] += 1
            line.lost += [] if 'ExecutorError: workers die before they begin' in said else [said]
            os.waitpid(forked(lambda run=run: Tuner.resume(run, train, progress=False).run(), log), 0)
        line.reported['lost calls, made again'] += sum(event['event'] == 'lost' for event in journal_of(run))
        line.lost += [f'{run}: {e["failed"]}' for e in journal_of(run) if e['event'] == 'result' and e['failed']]
        if sum(acknowledged(run).values()) != 60:
            line.lost.append(f'{run}: {sum(acknowledged(run).values())} epochs of 60')
        replay(run)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=100, help='kills of each optimizer and kind; default 100')
    parser.add_argument('--only', default='', help='faults with this in their name, such as kill, asha, bits, full')
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    n, seed = arguments.kills, arguments.seed
    lost = 0
    logging.getLogger('hpo4dl').addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        kinds: dict[str, Callable[[], Line | None]] = {
            f'kill-{how}-{o}': partial(killed_runs, place / f'{o}-{how}', o, n, seed, how == 'operation')
            for o in NAMES
            for how in ('instant', 'operation')
        }
        kinds |= {
            'looks': lambda: looked_at(place / 'looks', 100 * n, seed),
            'torn': lambda: torn_tails(place / 'torn'),
            'bits': lambda: flipped_bits(place / 'bits', 5 * n, seed),
            'full': lambda: full_disk(place / 'full', seed),
            'refused': lambda: refused_writes(place / 'refused', n, seed),
            'two': lambda: two_at_once(place / 'two', max(1, n // 5), seed),
            'workers': lambda: killed_workers(place / 'workers', n, seed),
        }
        for kind, act in kinds.items():
            if arguments.only in kind:
                line = act()
                print(line or 'the disk is full: not done, as no tmpfs can be mounted here', flush=True)
                for text in line.lost if line else ():
                    print('    lost:', text, flush=True)
                lost += len(line.lost) if line else 0
    sys.exit(f'{lost} lost' if lost else 0)


if __name__ == '__main__':
    main()
