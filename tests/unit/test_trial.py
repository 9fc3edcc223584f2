"""The words that all parts share: trials compare by what they are, and what is handed out is a copy."""

from __future__ import annotations

import pickle
import threading
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from hpo4dl import Trial
from hpo4dl.trial import Attempt, Outcome, copied


def test_a_trial_is_its_step_whatever_its_point() -> None:
    one, other = Trial(1, {'x': 2}, 0, 3, np.array([0.5])), Trial(1, {'x': 2}, 0, 3, np.array([np.nan]))
    assert one == other
    assert one != Trial(1, {'x': 2}, 0, 4)
    assert 'point' not in repr(one)
    with pytest.raises(FrozenInstanceError):
        one.epoch = 4


def test_what_goes_to_workers_and_back_can_be_pickled() -> None:
    attempt = Attempt(3, Trial(1, {'x': 2}, 0, 3, np.array([0.5])), 'folder', None, 'began')
    outcome = Outcome({1: 0.5}, {1: {'lr': 0.1}}, 'crash', 'trace', 1.5, 20)
    for value in (attempt, outcome):
        assert pickle.loads(pickle.dumps(value)) == value


def test_outcomes_share_nothing() -> None:
    one, other = Outcome(), Outcome()
    one.metrics[1] = 0.5
    one.info[1] = {}
    assert other == Outcome({}, {})


def test_a_configuration_is_the_receivers_own() -> None:
    original = {
        'list': [1, [2]],
        'dict': {'a': [1]},
        'set': {1},
        'tuple': ([1],),
        'bytes': bytearray(b'a'),
        'array': np.zeros(2),
        'number': 0.1,
        'text': 'a',
        'nothing': None,
    }
    received = copied(original)
    assert received is not original
    received['list'][1].append(3)
    received['dict']['a'].append(2)
    received['set'].add(2)
    received['tuple'][0].append(2)
    received['bytes'].extend(b'b')
    received['array'][0] = 1.0
    received['new'] = 1
    assert original['list'] == [1, [2]]
    assert original['dict'] == {'a': [1]}
    assert original['set'] == {1}
    assert original['tuple'] == ([1],)
    assert original['bytes'] == b'a'
    assert original['array'].tolist() == [0.0, 0.0]
    assert 'new' not in original
    assert list(original) == list(copied(original))


def test_what_cannot_be_copied_is_handed_out_itself() -> None:
    locks, function = [threading.Lock()], test_outcomes_share_nothing
    received = copied({'locks': locks, 'function': function})
    assert received['locks'] is locks
    assert received['function'] is function


def test_types_are_kept() -> None:
    assert type(copied({'x': np.float64(0.5)})['x']) is np.float64
    assert copied({'x': (1, 2)}) == {'x': (1, 2)}
    assert copied({}) == {}
