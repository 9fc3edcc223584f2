"""What a program is told: placeholders, arguments, overrides, environment variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hpo4dl.integrations.arguments import as_override, environment, filled, placeholders

TOLD = {'epoch': 9, 'previous_epoch': 3, 'checkpoint_path': '/a b/c', 'trial': 7, 'attempt': 21}
VALUES: dict[str, Any] = {'lr': 0.001, 'width': 32, 'optimizer': 'sgd; rm -rf $HOME "x" *', 'amp': True}


@pytest.mark.parametrize(
    ('command', 'expected'),
    [
        (['--lr', '{lr}', '--width={width}'], ['--lr', '0.001', '--width=32']),
        (['{optimizer}'], ['sgd; rm -rf $HOME "x" *']),
        (['{epoch}/{previous_epoch}', '-d{checkpoint_path}'], ['9/3', '-d/a b/c']),
        (['{trial}-{attempt}'], ['7-21']),
        (['--momentum', '{momentum}', '--lr', '{lr}'], ['--lr', '0.001']),
        (['--momentum={momentum}', '-v', 'model.momentum={momentum}'], ['-v']),
        (['-m', '{momentum}', 'x'], ['x']),
        (['train.py', '{momentum}', 'x'], ['train.py', 'x']),
        (['--both', '{lr},{momentum}', 'x'], ['x']),
        (['--resume', '{resume_path}/last.ckpt', 'x'], ['x']),
        (['-v', 'model.momentum={momentum}'], ['-v']),
        (['--shape=3', '{momentum}'], ['--shape=3']),
        (['-1', '{momentum}'], ['-1']),
        (['{{lr}}', '${lr}', '{"a": {"b": 1}}', '{ x }', '{}'], ['{lr}', '${lr}', '{"a": {"b": 1}}', '{ x }', '{}']),
        (
            ['x', '{arguments}', 'y'],
            ['x', *'--lr 0.001 --width 32 --optimizer'.split(), VALUES['optimizer'], '--amp', 'True', 'y'],
        ),
        (['{overrides}'], ['lr=0.001', 'width=32', 'optimizer=\'sgd; rm -rf $HOME "x" *\'', 'amp=true']),
        (['{configuration}'], [json.dumps(VALUES)]),
    ],
)
def test_placeholders_are_filled_in(command: list[str], expected: list[str]) -> None:
    assert filled(command, VALUES, TOLD) == expected


def test_names_may_be_those_of_hydra_and_lightning() -> None:
    values = {'model.lr': 0.1, 'model/net': 'a', '+x': 1}
    assert filled(['{model.lr} {model/net} {+x}'], values, {}) == ['0.1 a 1']
    assert list(placeholders(['{model.lr} {model/net}', '{{no}} ${no}'])) == ['model.lr', 'model/net']


def test_the_same_as_environment_variables() -> None:
    found = environment({'lr': 0.1, 'model.net-x': 'a'}, TOLD)
    assert found == {
        'HPO4DL_LR': '0.1',
        'HPO4DL_MODEL_NET_X': 'a',
        'HPO4DL_EPOCH': '9',
        'HPO4DL_PREVIOUS_EPOCH': '3',
        'HPO4DL_CHECKPOINT_PATH': '/a b/c',
        'HPO4DL_TRIAL': '7',
        'HPO4DL_ATTEMPT': '21',
        'HPO4DL_CONFIGURATION': '{"lr": 0.1, "model.net-x": "a"}',
    }


@pytest.mark.parametrize(
    ('value', 'written'),
    [(1e-05, '1e-05'), (3, '3'), (True, 'true'), (None, 'null'), ('adam', 'adam'), ('a/b-c.d', 'a/b-c.d')],
)
def test_overrides_of_plain_values_are_not_quoted(value: Any, written: str) -> None:
    assert as_override(value) == written


TEXTS = ['3', '1e-3', 'true', 'Null', 'nan', '', 'a b', "it's", 'a\\', "a\\'b", 'a\\\\', '[1,2]', 'a=b', 'größe']


@pytest.mark.parametrize('value', TEXTS)
def test_hydra_reads_an_override_of_a_text_as_that_text(value: str) -> None:
    parser = pytest.importorskip('hydra.core.override_parser.overrides_parser').OverridesParser.create()
    override = parser.parse_override(f'x={as_override(value)}')
    assert override.get_value_element_as_str() == as_override(value)
    assert str(getattr(override.value(), 'text', override.value())) == value
