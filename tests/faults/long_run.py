"""A run of 20,000 epochs: what it costs at its start and at its end. `python tests/faults/long_run.py asha random`."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ConfigSpace import ConfigurationSpace

from hpo4dl import Tuner
from hpo4dl.records.journal import Journal


def train(configuration, epoch, previous_epoch, checkpoint_path):
    loss = (configuration['x'] - 2) ** 2
    return [{'epoch': i, 'metric': loss + 1 / i} for i in range(previous_epoch + 1, epoch + 1)]


def megabytes() -> float:
    """Resident now."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def measure(name: str, epochs: int, folder: Path) -> None:
    marks: list[tuple[int, float, float]] = []

    def mark(event) -> None:
        if not marks or event.epochs_spent >= marks[-1][0] + epochs // 10:
            marks.append((event.epochs_spent, time.process_time(), megabytes()))

    space = ConfigurationSpace({'x': (-5.0, 10.0), 'y': (0.0, 1.0)})
    arguments = {'max_epochs': 27, 'max_budget': epochs, 'optimizer': name, 'minimize': True, 'seed': 0}
    tuner = Tuner(train, space, output_path=folder, progress=False, callbacks=[mark], **arguments)
    tuner.run()
    for (n, then, _), (m, now, memory) in zip(marks, marks[1:]):
        print(f'{name}: epochs {n:>6} to {m:>6}: {1000 * (now - then) / (m - n):.2f} CPU ms an epoch, {memory:.0f} MB')
    journal = Journal(tuner.run_folder)
    begin = time.process_time()
    for _ in range(200):
        journal.append({'event': 'note'}, sync=False)
    print(f'{name}: {1000 * (time.process_time() - begin) / 200:.3f} CPU ms an append at the end')
    begin = time.process_time()
    Tuner.resume(tuner.run_folder, train, progress=False).run()
    print(f'{name}: resumed in {time.process_time() - begin:.2f} CPU s', flush=True)


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as place:
        for optimizer in sys.argv[1:] or ['asha', 'random']:
            measure(optimizer, 20_000, Path(place))
