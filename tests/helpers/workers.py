"""Races with workers: an objective function that they can import, and what a journal must say of any such race."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ConfigSpace import ConfigurationSpace

from hpo4dl import Tuner, replay


def trained(configuration, epoch, previous_epoch, checkpoint_path):
    """Fails where the checkpoint is not at `previous_epoch`."""
    file = Path(checkpoint_path) / 'epochs'
    assert int(file.read_text() if file.exists() else 0) == previous_epoch
    file.write_text(str(epoch))
    told = {'pid': os.getpid(), 'cuda': os.environ.get('CUDA_VISIBLE_DEVICES')}
    loss = (configuration['x'] - 2) ** 2
    return [{'epoch': i, 'metric': loss + 1 / i, **told} for i in range(previous_epoch + 1, epoch + 1)]


def tuner_of(folder: Path, objective, **arguments) -> Tuner:
    settings = {'max_epochs': 9, 'max_budget': 40, 'minimize': True, 'seed': 0, 'num_configurations': 30}
    settings |= {'optimizer': 'asha', 'output_path': folder, 'progress': False, **arguments}
    return Tuner(objective, ConfigurationSpace({'x': (-5.0, 10.0)}), **settings)


def events(tuner: Tuner, kind: str) -> list[dict]:
    lines = (tuner.run_folder / 'journal.jsonl').read_text(encoding='utf-8').splitlines()
    return [event for event in map(json.loads, lines) if event['event'] == kind]


def check_consistent(tuner: Tuner, budget: int) -> None:
    """No trial runs twice at once, epochs are contiguous, the budget holds, and every decision can be taken again."""
    running, reached, spent = {}, {}, 0
    for line in (tuner.run_folder / 'journal.jsonl').read_text(encoding='utf-8').splitlines():
        event = json.loads(line)
        if event['event'] == 'start':
            assert event['trial'] not in running
            assert event['previous_epoch'] == reached.setdefault(event['trial'], 0)
            running[event['trial']] = event
            in_flight = sum(start['epoch'] - start['previous_epoch'] for start in running.values())
            assert spent + in_flight <= budget
        elif event['event'] == 'lost':
            del running[event['trial']]
        elif event['event'] == 'result':
            start = running.pop(event['trial'])
            spent += start['epoch'] - start['previous_epoch']
            for entry in event['epochs']:
                assert entry['epoch'] == reached[event['trial']] + 1
                reached[event['trial']] += 1
    assert not running
    assert spent == tuner.epochs_spent
    assert replay(tuner.run_folder) == len({(s['trial'], s['previous_epoch']) for s in events(tuner, 'start')})


def is_running(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
