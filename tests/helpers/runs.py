"""Folders of runs for the tests of what reads them: tuned ones, and ones written line by line as the tuner does."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer, OrdinalHyperparameter

from hpo4dl import Tuner
from hpo4dl.records.journal import encode_line

HOSTILE = [
    '</script><script>document.title = "broken in"</script>',
    '<img src=x onerror=\'document.title = "broken in"\'>',
    'quotes " \' ` and $x^2$ $',
    'lines\nand\ttabs\r\x1b[31m\x07\u2028\u202e',
    '../../etc/passwd\\',
    'größe 学习率 🙂',
    '__proto__',
    '=1+1',
    'x' * 10_000,
    ' ',
]


def space() -> ConfigurationSpace:
    """One hyperparameter of each kind."""
    space = ConfigurationSpace()
    momentum = Float('momentum', (0.0, 0.99))
    optimizer = Categorical('optimizer', ['sgd', 'adam'])
    others = [Float('lr', (1e-5, 1e-1), log=True), Integer('width', (16, 512), log=True)]
    space.add([optimizer, momentum, *others, OrdinalHyperparameter('size', ['s', 'm', 'l'])])
    space.add(EqualsCondition(momentum, optimizer, 'sgd'))
    return space


def objective(configuration, epoch, previous_epoch, checkpoint_path):
    """Best at lr = 1e-3; fails where lr is large."""
    if configuration['lr'] > 0.03:
        raise RuntimeError('out of memory')
    loss = abs(math.log10(configuration['lr']) + 3) / 4 + 0.1 * (configuration['optimizer'] == 'sgd')
    return [{'epoch': i, 'metric': loss + 1 / i, 'half': i / 2} for i in range(previous_epoch + 1, epoch + 1)]


def tuned(folder: Path, **arguments) -> Path:
    """The folder of a run that ended."""
    settings = {'max_epochs': 9, 'max_budget': 100, 'minimize': True, 'seed': 0, 'optimizer': 'asha', **arguments}
    tuner = Tuner(objective, space(), output_path=folder, progress=False, **settings)
    tuner.run()
    return tuner.run_folder


def written(
    folder: Path,
    curves: Sequence[tuple[dict, Sequence[float], str | None]],
    minimize: bool = True,
    max_epochs: int = 9,
    start: float = 1e9,
    stop: bool = True,
    hyperparameters: Sequence[dict] = (),
) -> Path:
    """A run of trials (configuration, metrics, failed), one call an epoch, two seconds each, one after the other."""
    folder.mkdir(parents=True)
    settings = {'max_epochs': max_epochs, 'max_budget': None, 'optimizer': 'dyhpo', 'minimize': minimize, 'seed': 0}
    (folder / 'settings.json').write_text(json.dumps({'settings': settings, 'environment': {'host': 'h'}}))
    (folder / 'hyperparameters.json').write_text(json.dumps(list(hyperparameters)))
    events = [{'event': 'run', 'schema': 1, 'run': folder.name, 'time': start}]
    attempt = 0
    for trial, (configuration, metrics, failed) in enumerate(curves):
        calls = list(enumerate(metrics)) + ([(len(metrics), None)] if failed else [])
        for epoch, metric in calls:
            begin = {'event': 'start', 'attempt': attempt, 'trial': trial, 'previous_epoch': epoch, 'epoch': epoch + 1}
            if epoch == 0:
                begin['configuration'] = configuration
            epochs = [] if metric is None else [{'epoch': epoch + 1, 'metric': metric, 'info': {}}]
            end = {'event': 'result', 'attempt': attempt, 'trial': trial, 'epochs': epochs, 'traceback': None}
            end |= {'failed': failed if metric is None else None, 'seconds': 1.5, 'overhead': 0.5}
            events += [{**begin, 'time': start + 2 * attempt + 0.5}, {**end, 'time': start + 2 * attempt + 2}]
            attempt += 1
    if stop:
        events.append({'event': 'stop', 'reason': 'time_limit: over', 'time': start + 2 * attempt})
    (folder / 'journal.jsonl').write_bytes(b''.join(map(encode_line, events)))
    return folder


def hostile(folder: Path) -> Path:
    """A run whose names, values and failures are hostile."""
    n = len(HOSTILE)
    configurations = [
        {name: float(i + j) if j % 2 else HOSTILE[(i + j) % n] for j, name in enumerate(HOSTILE)} for i in range(n + 2)
    ]
    curves = [(configuration, [0.5, 0.4 + 0.1 * i], None) for i, configuration in enumerate(configurations)]
    return written(folder, [*curves, (configurations[0], [], HOSTILE[0])])


def large(folder: Path, trials: int = 5000) -> Path:
    """A run of many trials, maximized, some of them diverged and some failed."""
    rng = np.random.default_rng(0)
    curves = []
    for _ in range(trials):
        lr, epochs = 10 ** rng.uniform(-5, -1), np.arange(1, 1 + min(50, rng.geometric(0.4)))
        metrics = (0.9 - 0.1 * abs(np.log10(lr) + 3)) * (1 - 0.8 / epochs**0.7) + rng.normal(0, 0.01, len(epochs))
        metrics[rng.random(len(epochs)) < 0.001] = -1e34
        choices = {'batch_size': int(rng.choice([32, 64, 128])), 'activation': str(rng.choice(['relu', 'gelu']))}
        curves.append(({'lr': lr, **choices}, metrics.tolist(), 'out of memory' if rng.random() < 0.05 else None))
    told = [{'name': 'lr', 'type': 'UniformFloat', 'lower': 1e-5, 'upper': 0.1, 'log': True}]
    return written(folder, curves, minimize=False, max_epochs=50, hyperparameters=told)


def events_of(run: Path, kind: str | None = None) -> list[dict]:
    """The journal's events, read without hpo4dl."""
    events = map(json.loads, (run / 'journal.jsonl').read_text(encoding='utf-8').splitlines())
    return [event for event in events if kind in (None, event['event'])]


def results_of(run: Path) -> list[tuple[int, int, float]]:
    """Trial, epoch and metric of everything acknowledged."""
    return [(r['trial'], e['epoch'], e['metric']) for r in events_of(run, 'result') for e in r['epochs']]


def content(folder: Path) -> dict[str, str]:
    """Every file below the folder by its digest."""
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
