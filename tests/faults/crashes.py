"""Every state that POSIX allows the disk to be in after a power cut, and what a resume makes of it.

`python tests/faults/crashes.py` tries all of them for some races, `test_crashes.py` a few. What a file system may have
forgotten changes only when something is forced to the disk, so a state is taken before each fsync of a race:

- strict: a file has what it had at its last fsync, and a folder the entries that it had at its own last one;
- in order, as of ext4 and XFS: any fsync keeps all entries of all folders, but the data of that file alone.

Whatever the race had told its callbacks before the cut must be there after it: not trained again, and decided on as in
the race that nothing befell.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == '__main__':
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / 'helpers')]

from objectives import Quadratic
from races import tune
from runs import events_of, results_of

from hpo4dl import HPO4DLError, Tuner
from hpo4dl.records import lock

Told = set[tuple[int, int, float]]
"""Trial, epoch and metric of everything that the callbacks were told."""
Tree = dict[str, bytes | None]
"""By path, what is in a file; None: a folder."""


@dataclass
class Disk:
    """What is on the disk below a folder, of which each file and folder is known by its inode."""

    root: Path
    data: dict[int, bytes] = field(default_factory=dict)
    """As it was when the file was forced to the disk."""
    entries: dict[int, dict[str, int]] = field(default_factory=dict)
    """As they were when the folder was."""
    in_order: dict[int, dict[str, int]] = field(default_factory=dict)
    """Of all folders, as they were when anything was."""
    held: dict[int, int] = field(default_factory=dict)
    """Descriptors by inode, so that no number is used again."""

    def hold(self, path: str | Path) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        inode = os.fstat(descriptor).st_ino
        if inode in self.held:
            os.close(descriptor)
        else:
            self.held[inode] = descriptor
        return inode

    def listed(self, folder: str | Path) -> dict[str, int]:
        return {name: self.hold(Path(folder) / name) for name in os.listdir(folder)}

    def synced(self, descriptor: int) -> None:
        """Something was forced to the disk."""
        path = Path(f'/proc/self/fd/{descriptor}')
        inode = self.hold(os.readlink(path))
        if path.is_dir():
            self.entries[inode] = self.listed(path)
        else:
            self.data[inode] = path.read_bytes()
        self.in_order = {self.hold(parent): self.listed(parent) for parent, _, _ in os.walk(self.root)}

    def left(self, strict: bool) -> Tree:
        """What a power cut may leave."""
        entries = self.entries if strict else self.in_order
        found: Tree = {}

        def walk(inode: int, path: str) -> None:
            for name, below in entries.get(inode, {}).items():
                is_folder = os.path.isdir(f'/proc/self/fd/{self.held[below]}') or below in self.in_order
                found[f'{path}{name}'] = None if is_folder else self.data.get(below, b'')
                walk(below, f'{path}{name}/')

        walk(self.hold(self.root), '')
        return found


@contextlib.contextmanager
def watched(disk: Disk, states: list[tuple[str, Tree, Told]], told: Told) -> Iterator[None]:
    """Take the states before each fsync, and note what it does."""
    fsync = os.fsync
    seen: set[str] = set()

    def noted(descriptor: int) -> None:
        for kind in ('strict', 'in order'):
            tree = disk.left(kind == 'strict')
            if repr((tree, sorted(told))) not in seen:
                seen.add(repr((tree, sorted(told))))
                states.append((kind, tree, set(told)))
        fsync(descriptor)
        disk.synced(descriptor)

    os.fsync = noted
    try:
        yield
    finally:
        os.fsync = fsync


def states_of(folder: Path, **arguments) -> tuple[Path, list[tuple[str, Tree, Told]]]:
    """A race, and all states that a power cut during it may leave."""
    told: Told = set()
    states: list[tuple[str, Tree, Told]] = []
    folder.mkdir(parents=True)
    disk = Disk(folder)

    def tell(event) -> None:
        told.update((event.trial.id, epoch, metric) for epoch, metric in event.metrics.items())

    with watched(disk, states, told):
        tuner = tune(folder, Quadratic(), callbacks=[tell], **arguments)
        tuner.run()
    states += [('strict', disk.left(True), set(told)), ('in order', disk.left(False), set(told))]
    for descriptor in disk.held.values():
        os.close(descriptor)
    return tuner.run_folder, states


def decisions(run: Path) -> list[tuple[int, int, int]]:
    starts = events_of(run, 'start')
    return list(dict.fromkeys((e['trial'], e['previous_epoch'], e['epoch']) for e in starts))


def tried(place: Path, tree: Tree, told: Told, whole: Path) -> tuple[str, str | None]:
    """What became of one state, and what was lost, if something was."""
    for path, content in tree.items():
        if content is None:
            (place / path).mkdir(parents=True, exist_ok=True)
        else:
            (place / path).write_bytes(content)
    runs = [run for run in place.glob('*') if (run / 'journal.jsonl').exists() and (run / 'settings.json').exists()]
    if not runs or not (runs[0] / 'journal.jsonl').read_bytes().endswith(b'\n'):
        return 'nothing was begun', f'{len(told)} epochs' if told else None
    objective = Quadratic()
    try:
        Tuner.resume(runs[0], objective, progress=False, take_over=True).run()
    except (HPO4DLError, AssertionError) as error:
        return type(error).__name__, str(error)
    missing = told - set(results_of(runs[0]))
    if missing:
        return 'went on', f'{sorted(missing)} are gone'
    reached = {}
    for trial, epoch, _ in told:
        reached[trial] = max(epoch, reached.get(trial, 0))
    trials = {e['configuration']['x']: e['trial'] for e in events_of(runs[0], 'start') if 'configuration' in e}
    again = [call for call in objective.calls if call[1] < reached.get(trials[call[0]], 0)]
    if again:
        return 'went on', f'{again} are trained again'
    if decisions(runs[0]) != decisions(whole):
        return 'went on', 'to other decisions'
    best = min(results_of(runs[0]), key=lambda entry: entry[2])
    copy = runs[0] / 'best_trial' / 'epochs'
    if not copy.exists() or int(copy.read_text()) < best[1]:
        return 'went on', 'best_trial is gone, or an older one'
    return 'went on as the whole race', None


def all_states(place: Path, every: int = 1, first: int = 0, **arguments) -> tuple[Counter[str], list[str]]:
    """How often what became of the states of a race, and what was lost."""
    whole, states = states_of(place / 'whole', **arguments)
    outcomes: Counter[str] = Counter()
    lost = []
    for n, (kind, tree, told) in list(enumerate(states))[first::every]:
        what, loss = tried(place / str(n), tree, told, whole)
        outcomes[f'{kind}: {what}'] += 1
        lost += [f'state {n}, {kind}: {what}: {loss}'] if loss else []
    return outcomes, lost


RACES = {
    'asha': {'max_budget': 20},
    'asha, best': {'max_budget': 14, 'keep_checkpoints': 'best'},
    'random': {'optimizer': 'random', 'max_budget': 12, 'max_epochs': 3},
    'hyperband, quota': {'optimizer': 'hyperband', 'max_budget': 20, 'max_disk': 20},
}

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--every', type=int, default=1, help='try every N-th state alone')
    options = parser.parse_args()
    lock.SETTLING = 0.0
    n_lost = 0
    for name, arguments in RACES.items():
        with tempfile.TemporaryDirectory() as folder:
            outcomes, lost = all_states(Path(folder), options.every, **arguments)
        print(f'{name}: {sum(outcomes.values())} states, lost {len(lost)}; {dict(outcomes)}', flush=True)
        for text in lost:
            print('    lost:', text[:300])
        n_lost += len(lost)
    sys.exit(bool(n_lost))
