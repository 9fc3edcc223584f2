"""Whatever the space, the objective function, its faults, the budget and the workers: what must always hold."""

from __future__ import annotations

import json
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zlib import crc32

import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    Integer,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo4dl import EveryTrialFailedError, HPO4DLError, Tuner, replay
from hpo4dl.space.unit_cube import Space

FAULTS = ['none', 'raises', 'nan', 'short', 'again', 'future', 'text', 'exits', 'nothing']


@st.composite
def spaces(draw) -> ConfigurationSpace:
    """Up to five hyperparameters; a condition and a forbidden clause where they can be had."""
    space = ConfigurationSpace()
    parts = [Float('x', (-5.0, 10.0)), Categorical('kind', ['a', 'b', 'c'])]
    parts += [Integer('n', (1, 4)), Float('lr', (1e-5, 1.0), log=True)][: draw(st.integers(0, 2))]
    if draw(st.booleans()):
        parts[0] = Integer('x', (0, 5))
    space.add(parts)
    by_name = {part.name: part for part in parts}
    if 'lr' in by_name and draw(st.booleans()):
        space.add(EqualsCondition(by_name['lr'], by_name['kind'], draw(st.sampled_from('abc'))))
    if 'n' in by_name and draw(st.booleans()):
        one, other = ForbiddenEqualsClause(by_name['kind'], 'a'), ForbiddenEqualsClause(by_name['n'], 4)
        space.add(ForbiddenAndConjunction(one, other))
    return space


class Faulty:
    """Fails in one way or another at some of its calls, always in the same way at the same call."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults

    def __call__(self, configuration, epoch, previous_epoch, checkpoint_path):
        file = Path(checkpoint_path) / 'epochs'
        assert int(file.read_text() if file.exists() else 0) == previous_epoch
        file.write_text(str(epoch))
        metric = configuration['x'] + ord(configuration['kind']) % 7 + configuration.get('lr', 0.5)
        entries = [{'epoch': i, 'metric': metric + 1 / i} for i in range(previous_epoch + 1, epoch + 1)]
        fault = self.faults[crc32(repr((sorted(configuration.items()), previous_epoch)).encode()) % len(self.faults)]
        if fault == 'raises':
            raise ValueError('as it was told')
        if fault == 'exits':
            raise SystemExit
        if fault == 'nothing':
            return None
        if fault == 'short':
            return entries[:-1]
        if fault == 'again':
            return entries + entries[:1]
        if fault == 'future':
            return [*entries, {'epoch': epoch + 1, 'metric': 0.0}]
        if fault in ('nan', 'text'):
            entries[-1]['metric'] = math.nan if fault == 'nan' else 'good'
        return entries


def check(run: Path, space: ConfigurationSpace, budget: int, minimize: bool, incumbent: dict | None) -> None:
    legal = Space(space)
    running, reached, failed, spent = {}, {}, set(), 0
    best = None
    for line in (run / 'journal.jsonl').read_text(encoding='utf-8').splitlines():
        event = json.loads(line)
        trial = event.get('trial')
        if event['event'] == 'start':
            assert trial not in failed
            assert event['previous_epoch'] == reached.setdefault(trial, 0)
            if 'configuration' in event:
                assert legal.is_legal(legal.to_unit(legal.restore(event['configuration'])))
            running[trial] = event
            assert spent + sum(start['epoch'] - start['previous_epoch'] for start in running.values()) <= budget
        elif event['event'] == 'result':
            start = running.pop(trial)
            spent += start['epoch'] - start['previous_epoch']
            for entry in event['epochs']:
                assert entry['epoch'] == reached[trial] + 1
                reached[trial] += 1
                better = best is None or (entry['metric'] < best if minimize else entry['metric'] > best)
                best = entry['metric'] if better else best
            if event['failed']:
                failed.add(trial)
    assert (None if incumbent is None else incumbent['metric']) == best


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    space=spaces(),
    faults=st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4).map(lambda faults: ['none', *faults]),
    budget=st.integers(1, 30),
    max_epochs=st.integers(1, 9),
    minimize=st.booleans(),
    optimizer=st.sampled_from(['hyperband', 'asha', 'random', 'dyhpo']),
    num_workers=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    cut=st.floats(0, 1),
)
def test_what_always_holds(space, faults, budget, max_epochs, minimize, optimizer, num_workers, seed, cut) -> None:
    budget = min(budget, 12) if optimizer == 'dyhpo' else budget
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(num_workers) as threads:
        workers = {'executor': threads, 'num_workers': num_workers} if num_workers > 1 else {}
        arguments = {'max_epochs': max_epochs, 'max_budget': budget, 'minimize': minimize, 'optimizer': optimizer}
        arguments |= {'seed': seed, 'num_configurations': 20, 'output_path': folder, 'progress': False, **workers}
        tuner = Tuner(Faulty(faults), space, **arguments)
        incumbent = raced(tuner)
        run = tuner.run_folder
        check(run, space, budget, minimize, incumbent)
        replay(run, configuration_space=space)

        # Resume from a prefix of the journal: as if the tuner had been killed there. What the rest of it acknowledged
        # is trained again, so checkpoints that later calls replaced are trained again from their start.
        lines = (run / 'journal.jsonl').read_bytes().splitlines(keepends=True)
        (run / 'journal.jsonl').write_bytes(b''.join(lines[: 1 + int(cut * (len(lines) - 1))]))
        again = Tuner.resume(run, Faulty(faults), configuration_space=space, progress=False, salvage=True, **workers)
        incumbent = raced(again)
        assert again.epochs_spent <= budget
        replay(run, configuration_space=space)


def raced(tuner: Tuner) -> dict | None:
    try:
        return tuner.run()
    except EveryTrialFailedError:
        return None


def test_the_checks_can_fail(tmp_path: Path) -> None:
    space = ConfigurationSpace({'x': (0.0, 1.0)})

    def objective(configuration, epoch, previous_epoch, checkpoint_path):
        return {'epoch': epoch, 'metric': configuration['x']}

    tuner = Tuner(objective, space, 1, 5, output_path=tmp_path, optimizer='random', seed=0, progress=False)
    incumbent = tuner.run()
    check(tuner.run_folder, space, 5, False, incumbent)
    for wrong in [(space, 4, False, incumbent), (space, 5, True, incumbent), (space, 5, False, None)]:
        with pytest.raises(AssertionError):
            check(tuner.run_folder, *wrong)
    with pytest.raises((AssertionError, HPO4DLError)):
        check(tuner.run_folder, ConfigurationSpace({'x': (2.0, 3.0)}), 5, False, incumbent)
