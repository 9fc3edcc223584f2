"""The runs of older versions in `tests/data`: what they tuned, and how the later two were made.

`PYTHONPATH=OLD_HPO4DL python tests/helpers/old_runs.py DEST` makes them: two workers; calls that are lost after they
began, and before; trials that fail; checkpoints that are evicted; a tuner that dies in mid-race, and is resumed.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer

from hpo4dl import Tuner

DATA = Path(__file__).parents[1] / 'data'


def space() -> ConfigurationSpace:
    space = ConfigurationSpace()
    layers, lr = Integer('layers', (1, 5)), Float('lr', (1e-4, 1.0), log=True)
    optimizer, momentum = Categorical('optimizer', ['sgd', 'adam']), Float('momentum', (0.0, 0.9))
    space.add([lr, optimizer, momentum, layers, EqualsCondition(momentum, optimizer, 'sgd')])
    return space


def train(configuration, epoch, previous_epoch, checkpoint_path):
    """Fails where the checkpoint is not at `previous_epoch`; leaves ten bytes."""
    file = Path(checkpoint_path) / 'epochs'
    assert int(file.read_text() if file.exists() else 0) == previous_epoch
    file.write_text(f'{epoch:10d}')
    loss = configuration['lr'] + configuration['layers']
    epochs = range(previous_epoch + 1, epoch + 1)
    return [{'epoch': i, 'metric': loss + configuration.get('momentum', 0.5) / i} for i in epochs]


def train_or_fail(configuration, epoch, previous_epoch, checkpoint_path):
    """`train`, which diverges where the learning rate is large, at the second epoch."""
    results = train(configuration, epoch, previous_epoch, checkpoint_path)
    if configuration['lr'] > 0.3 and epoch > 1:
        raise FloatingPointError('the loss is not finite')
    return results


class Flaky:
    """Loses every fifth call after it was made, and every seventh before; dies at the `dies_at`-th."""

    def __init__(self, threads: ThreadPoolExecutor, dies_at: int = -1) -> None:
        self.threads = threads
        self.dies_at = dies_at
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()

    def submit(self, function, *arguments):
        return self.threads.submit(self.made, next(self.numbers), function, *arguments)

    def made(self, number, function, *arguments):
        if number == self.dies_at:
            os._exit(9)
        if number % 7 == 0:
            raise ConnectionError('the engine is away')
        with self.lock:
            result = function(*arguments)
        if number % 5 == 0:
            raise ConnectionError('the engine lost the result')
        return result


def make(folder: Path, optimizer: str, max_budget: int, seed: int) -> Path:
    """A run that dies in mid-race and is resumed."""
    child = os.fork()
    if child == 0:
        with ThreadPoolExecutor(2) as threads:
            arguments = {'optimizer': optimizer, 'minimize': True, 'seed': seed, 'num_configurations': 30}
            arguments |= {'max_disk': 90, 'retry': 1, 'num_workers': 2, 'executor': Flaky(threads, dies_at=30)}
            Tuner(train_or_fail, space(), 9, max_budget, folder, progress=False, **arguments).run()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (run,) = folder.iterdir()
    with ThreadPoolExecutor(2) as threads:
        Tuner.resume(run, train_or_fail, executor=Flaky(threads), num_workers=2, progress=False).run()
    return run


def contents(run: Path) -> dict[str, int]:
    """How often a run has what makes it worth keeping."""
    events = [json.loads(line) for line in (run / 'journal.jsonl').read_text(encoding='utf-8').splitlines()]
    begun = [event['attempt'] for event in events if event['event'] == 'start']
    ended = [event['attempt'] for event in events if event['event'] in ('result', 'lost')]
    return {
        'evicted': sum(event['event'] == 'evict' for event in events),
        'trained again': sum('acknowledged' in event for event in events),
        'lost, counts': sum(event.get('counts') is True for event in events),
        'lost, innocent': sum(event.get('counts') is False for event in events),
        'failed': sum(bool(event.get('failed')) for event in events),
        'cut by the budget': sum('wanted' in event for event in events),
        'killed': len(set(begun) - set(ended)),
    }


if __name__ == '__main__':
    place = Path(sys.argv[1])
    for name, budget in (('dyhpo', 80), ('asha', 70)):
        for draw in itertools.count():
            made = make(place / f'{name}_{draw}', name, budget, draw)
            found = contents(made)
            if name == 'dyhpo':  # its steps are of one epoch
                del found['cut by the budget']
            if all(found.values()):
                break
        print(made.rename(place / f'{name}_run_of_schema_1'), found)
