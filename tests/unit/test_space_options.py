"""The options that declare a space, against the dictionary that they stand for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from hpo4dl.space.declaration import as_space
from hpo4dl.tools.cli import main
from hpo4dl.tools.run_command import add_space, space_of, written
from hpo4dl.tools.space_files import read_declaration

TYPED = [
    *'--float lr 1e-5 1e-1 --log --default 0.001 --int layers -1 4 --choice optimizer sgd adam 1.10 32'.split(),
    *'--ordinal size s m l --constant data digits --float momentum 0 0.99'.split(),
    *['--when', 'momentum: optimizer == sgd and layers > 1'],
]
DECLARED = {
    'lr': {'float': [1e-5, 1e-1], 'log': True, 'default': 0.001},
    'layers': {'int': [-1, 4]},
    'optimizer': {'choice': ['sgd', 'adam', '1.10', 32]},
    'size': {'ordinal': ['s', 'm', 'l']},
    'data': {'constant': 'digits'},
    'momentum': {'float': [0.0, 0.99], 'when': 'optimizer == sgd and layers > 1'},
}


def parsed(typed: list[str]) -> Any:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_space(parser)
    return space_of(parser.parse_args(typed))


def test_options_are_the_dictionary() -> None:
    assert parsed(TYPED) == DECLARED
    assert as_space(DECLARED)


def test_two_parsers_do_not_share_what_was_typed() -> None:
    assert list(parsed(['--int', 'a', '1', '2'])) == ['a']
    assert list(parsed(['--int', 'b', '1', '2'])) == ['b']


def test_it_is_written_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tomllib = pytest.importorskip('tomllib')
    assert main(['space', *TYPED]) == 0
    toml = capsys.readouterr().out
    assert tomllib.loads(toml) == DECLARED
    (tmp_path / 'space.toml').write_text(toml)
    assert main(['space', '--space', str(tmp_path / 'space.toml'), '-o', str(tmp_path / 'space.json')]) == 0
    assert json.loads((tmp_path / 'space.json').read_text()) == DECLARED == read_declaration(tmp_path / 'space.json')
    assert parsed(['--space', str(tmp_path / 'space.json')]) == as_space(DECLARED)


def test_a_python_object_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'my_own_space.py').write_text(f'space = {DECLARED!r}')
    assert parsed(['--space', 'my_own_space:space']) == DECLARED


@pytest.mark.parametrize(
    ('typed', 'says'),
    [
        (['--log'], 'stands behind'),
        (['--choice', 'a', 'x', '--log'], 'stands behind'),
        (['--default', '3'], 'stands behind'),
        (['--int', 'a', '1', 'x'], "'x'"),
        (['--float', 'a', '1', 'x'], "'x'"),
        (['--choice', 'a'], 'NAME VALUE'),
        (['--int', 'a', '1', '2', '--int', 'a', '1', '2'], 'declared before'),
        (['--when', 'a: b == 1'], 'declared before it'),
        (['--int', 'a', '1', '2', '--when', 'a'], 'NAME: CONDITION'),
    ],
)
def test_what_is_typed_wrong_is_refused(typed: list[str], says: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=says):
        parsed(typed)


def test_one_space_is_needed_and_one_is_enough(capsys: pytest.CaptureFixture) -> None:
    for typed in ([], ['--space', 'x.toml', '--int', 'a', '1', '2']):
        assert main(['space', *typed]) == 1
        assert 'either --space, or --float' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'value'), [('32', 32), ('-3', -3), ('0.1', 0.1), ('1e-05', 1e-05), ('1e-5', '1e-5'), ('1.10', '1.10')]
)
def test_values_are_numbers_where_python_writes_them_so(text: str, value: object) -> None:
    assert written(text) == value
    assert type(written(text)) is type(value)


@pytest.mark.parametrize('text', ['nan', 'inf', 'true', '007', '1_000', 'x', '', ' 3'])
def test_other_values_stay_what_is_typed(text: str) -> None:
    assert written(text) == text
