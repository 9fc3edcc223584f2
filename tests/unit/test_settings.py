"""Settings: each field's bad values, and settings.json as it is read."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo4dl import ArgumentError, JournalError
from hpo4dl.settings import Settings

GOOD: dict[str, Any] = {
    'max_epochs': 27,
    'max_budget': 100,
    'optimizer': 'asha',
    'minimize': True,
    'num_configurations': 30,
    'seed': 0,
    'device': None,
    'storage_path': None,
    'time_limit': 2.5,
    'target': -1.0,
    'initial_configurations': [{'x': 1}],
    'candidates': None,
    'keep_checkpoints': 'alive',
    'checkpoints': 'in-place',
    'max_disk': 10**6,
    'retry': 2,
    'trial_timeout': 60.0,
    'stop_when_gain_below': 0.125,
    'metric_name': 'validation loss',
    'cost': 'epochs',
}

BAD: dict[str, list[Any]] = {
    'max_epochs': [0, -1, 1.0, True, '9', None, [9], 2**53],
    'max_budget': [0, -1, 1.5, False, '9'],
    'optimizer': ['hyper', '', 3, 'DyHPO'],
    'minimize': [0, 1, 'False', None],
    'num_configurations': [0, 1.0, None, 10**7 + 1],
    'seed': [-1, 0.5, True, '0'],
    'device': ['gpu', 3, ''],
    'storage_path': ['', 3, b'', []],
    'time_limit': [0, -1.0, math.inf, math.nan, '5', True],
    'target': [math.inf, math.nan, '0', False],
    'initial_configurations': [None, {'x': 1}, [3], ({'x': 1},), 'x'],
    'candidates': [{'x': 1}, [3], 'x'],
    'keep_checkpoints': ['some', None, True, ''],
    'checkpoints': ['move', None],
    'max_disk': [0, -5, '20', '20 XB', 1.5, True],
    'retry': [-1, 1.0, None, True],
    'trial_timeout': [0, math.inf, '1'],
    'stop_when_gain_below': [0, -0.1, math.nan, 'x'],
    'metric_name': ['', ' ', None, 3, 'two\nlines', 'x' * 101],
    'cost': ['dollars', None, ''],
}


def test_every_field_has_bad_values() -> None:
    names = {field.name for field in fields(Settings)}
    assert names == set(GOOD) == set(BAD)


def test_good_ones_are_taken_as_they_are() -> None:
    assert asdict(Settings.checked(GOOD)) == GOOD


@pytest.mark.parametrize(('name', 'value'), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_are_refused_by_the_name_of_their_field(name: str, value: object) -> None:
    with pytest.raises(ArgumentError) as raised:
        Settings.checked({**GOOD, name: value})
    assert raised.value.argument == name
    assert raised.value.value is value


@pytest.mark.parametrize(
    'name',
    [
        'max_budget',
        'optimizer',
        'device',
        'storage_path',
        'time_limit',
        'target',
        'candidates',
        'max_disk',
        'trial_timeout',
        'stop_when_gain_below',
    ],
)
def test_what_may_be_left_open(name: str) -> None:
    assert getattr(Settings.checked({**GOOD, name: None}), name) is None


def test_values_are_made_what_json_can_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    numpys = {
        'max_epochs': np.int64(9),
        'minimize': np.bool_(False),
        'target': np.float32(0.5),
        'time_limit': 3,
        'max_disk': '20 MB',
        'storage_path': Path('deep') / '..' / 'disk',
    }
    settings = Settings.checked({**GOOD, **numpys})
    expected = {'max_epochs': 9, 'minimize': False, 'target': 0.5, 'time_limit': 3.0, 'max_disk': 20_000_000}
    expected['storage_path'] = os.path.join(os.getcwd(), 'disk')
    assert json.loads(json.dumps(asdict(settings))) == {**GOOD, **expected}
    assert settings.minimize is False


def test_a_budget_of_anything_but_epochs_need_not_be_whole() -> None:
    for cost in ('seconds', 'reported'):
        assert Settings.checked({**GOOD, 'cost': cost, 'max_budget': 0.5}).max_budget == 0.5
        for bad in (0, -0.5, math.inf, True, '9'):
            with pytest.raises(ArgumentError, match='max_budget'):
                Settings.checked({**GOOD, 'cost': cost, 'max_budget': bad})
    assert Settings.checked(GOOD).replaced({'max_budget': 7}).max_budget == 7
    with pytest.raises(ArgumentError, match='a whole number'):
        Settings.checked(GOOD).replaced({'max_budget': 7.5})


def test_a_seed_that_is_left_open_is_drawn() -> None:
    seeds = {Settings.checked({**GOOD, 'seed': None}).seed for _ in range(3)}
    assert len(seeds) == 3
    assert all(isinstance(seed, int) and seed >= 0 for seed in seeds)


def test_what_is_given_replaces_and_none_does_not() -> None:
    settings = Settings.checked(GOOD)
    other = settings.replaced({'max_budget': 200, 'time_limit': None, 'retry': 0, 'max_disk': '1kB', 'target': 0})
    assert asdict(other) == {**GOOD, 'max_budget': 200, 'retry': 0, 'max_disk': 1000, 'target': 0.0}
    assert asdict(settings) == GOOD
    assert settings.replaced({}) == settings
    with pytest.raises(ArgumentError, match='retry'):
        settings.replaced({'retry': -1})


def stored(folder: Path, settings: Any) -> Path:
    (folder / 'settings.json').write_text(json.dumps({'settings': settings}))
    return folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    settings = Settings.checked(GOOD)
    assert Settings.read(stored(tmp_path, asdict(settings))) == settings


def test_settings_of_a_run_of_schema_1_have_defaults(tmp_path: Path) -> None:
    new = ('checkpoints', 'max_disk', 'retry', 'trial_timeout', 'stop_when_gain_below')
    read = Settings.read(stored(tmp_path, {name: value for name, value in GOOD.items() if name not in new}))
    assert [getattr(read, name) for name in new] == ['copy', None, 0, None, None]


@pytest.mark.parametrize('name', BAD)
def test_bad_values_in_the_file_are_a_fault_of_the_run(tmp_path: Path, name: str) -> None:
    bad = next(value for value in BAD[name] if value is not None and value not in ((), b'') and value != ({'x': 1},))
    with pytest.raises(JournalError, match=rf'settings\.json: .*{name}'):
        Settings.read(stored(tmp_path, {**GOOD, name: bad}))


@pytest.mark.parametrize('name', ['max_epochs', 'keep_checkpoints', 'seed'])
def test_a_setting_that_is_missing_is_a_fault_of_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(JournalError, match=name):
        Settings.read(stored(tmp_path, {key: value for key, value in GOOD.items() if key != name}))


def test_settings_that_are_not_known_are_those_of_a_newer_hpo4dl(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"newer hpo4dl.*\['dollars', 'quiet'\]"):
        Settings.read(stored(tmp_path, {**GOOD, 'quiet': 1, 'dollars': 2}))


@pytest.mark.parametrize('settings', [None, 7, 'text', [1, 2]])
def test_settings_of_another_kind(tmp_path: Path, settings: object) -> None:
    with pytest.raises(JournalError, match=r'settings\.json'):
        Settings.read(stored(tmp_path, settings))


@pytest.mark.parametrize('text', [None, '', '{', '[]', '7', '{}', '\xff'])
def test_a_file_that_holds_no_settings(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / 'settings.json').write_text(text, encoding='latin-1')
    with pytest.raises(JournalError, match=r'settings\.json: cannot be read'):
        Settings.read(tmp_path)
