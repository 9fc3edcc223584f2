"""The examples for Lightning and Transformers, with the real packages. `tox -e frameworks` runs it."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo4dl import check_objective

pytestmark = pytest.mark.filterwarnings('ignore')  # the frameworks' own are not ours to mend

ROOT = Path(__file__).parents[2]
EXAMPLES = {'lightning_digits': 'lightning', 'transformers_text': 'transformers'}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(EXAMPLES[request.param], reason=f'needs {EXAMPLES[request.param]}')
    return request.param


def test_training_on_from_a_checkpoint_continues_the_same_training(example: str) -> None:
    spec = importlib.util.spec_from_file_location(example, ROOT / 'examples' / f'{example}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check = check_objective(module.objective_function, module.search_space(), epochs=3)
    assert check.ok, str(check)
    assert check.at_once == check.in_two
    assert list(check.at_once) == [1, 2, 3, 4, 5, 6]
    assert len(set(check.at_once.values())) > 1, 'nothing was learned, so nothing was tested'
    assert [check.weights, check.optimizer, check.scheduler, check.random_state] == [True] * 4


def test_it_tunes(example: str, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / 'examples' / f'{example}.py', '--max-budget=3', '--output-dir', tmp_path]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'HOME': str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert re.search(r'^validation accuracy 0\.\d{3} after \d epochs$', done.stdout, re.MULTILINE)
