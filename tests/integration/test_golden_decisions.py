"""A change of decisions is seen here, at the first decision that differs; `decisions.py` says how one is accepted."""

from __future__ import annotations

import json

import pytest
from decisions import DECISIONS, FILE, RACES, decisions, sobol, versions


@pytest.mark.parametrize('name', RACES)
def test_decisions_are_those_in_the_file(name: str) -> None:
    stored = json.loads(FILE.read_text(encoding='utf-8'))
    if 'dyhpo' in name and sobol() != stored['sobol']:
        pytest.skip('this SciPy scrambles Sobol sequences otherwise than the one that the file was written with')
    expected = stored['decisions'][name]
    assert len(expected) == DECISIONS
    for number, (now, then) in enumerate(zip(decisions(*RACES[name]), expected), 1):
        if now != then:
            text = f'{name}: decision {number} is {now}; in {FILE.name} it is {then}.'
            if versions() != stored['versions']:
                text += f' The file was written with {stored["versions"]}, here are {versions()}: '
                text += 'if hpo4dl did not change, their floating point did.'
            pytest.fail(text)
