"""`report_epoch` in a script: into the file, and nothing elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hpo4dl import report_epoch


def test_outside_of_a_race_it_does_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv('HPO4DL_RESULTS', raising=False)
    monkeypatch.chdir(tmp_path)
    report_epoch(1, 0.5)
    assert list(tmp_path.iterdir()) == []


def test_a_line_an_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('HPO4DL_RESULTS', str(tmp_path / 'results'))
    monkeypatch.delenv('RANK', raising=False)
    report_epoch(1, 0.5, loss=np.float32(0.25), note='größe')
    report_epoch(2, torch.tensor([0.75]), when=Path('x'))
    lines = [json.loads(line) for line in (tmp_path / 'results').read_text(encoding='utf-8').splitlines()]
    assert lines == [
        {'epoch': 1, 'metric': 0.5, 'loss': 0.25, 'note': 'größe'},
        {'epoch': 2, 'metric': 0.75, 'when': 'x'},
    ]


@pytest.mark.parametrize(('rank', 'n'), [('0', 1), ('1', 0)])
def test_of_several_processes_one_reports(rank: str, n: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('HPO4DL_RESULTS', str(tmp_path / 'results'))
    monkeypatch.setenv('RANK', rank)
    report_epoch(1, 0.5)
    assert len(list(tmp_path.iterdir())) == n
