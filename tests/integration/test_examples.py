"""The code in the documents and the examples runs, and does what they say."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ConfigSpace import ConfigurationSpace

import hpo4dl
from hpo4dl import Tuner, check_objective

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / 'examples'


DOCUMENTS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
RUN = 'hpo4dl_results/experiment_20261124-120000'
"""The run that the documents speak of."""


def python_blocks(document: Path) -> list[str]:
    """What is fenced as `python`; code for other libraries is fenced as `py`, and not run."""
    text = document.read_text(encoding='utf-8')
    return re.findall(r'^```python\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and the user's home, is an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    return tmp_path


@pytest.fixture(scope='module')
def digits() -> ModuleType:
    pytest.importorskip('sklearn')
    spec = importlib.util.spec_from_file_location('digits', EXAMPLES / 'digits.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quickstart_is_what_the_documents_show() -> None:
    assert (EXAMPLES / 'quickstart.py').read_text(encoding='utf-8') in python_blocks(ROOT / 'docs' / 'coming-from.md')


def test_no_document_installs_the_other_program_of_that_name() -> None:
    """On PyPI, hpo4dl is 0.1.0, by other people."""
    files = [*ROOT.rglob('*.md'), *ROOT.glob('hpo4dl/**/*.py'), *ROOT.glob('examples/**/*.py')]
    for file in files:
        if not any(part.startswith('.') for part in file.relative_to(ROOT).parts):
            assert not re.search(r'pip install[^`\n]*[ "\']hpo4dl\b', file.read_text(encoding='utf-8')), file


def test_the_script_of_the_front_page_is_raced_as_typed_there(empty_folder: Path) -> None:
    """Paused, resumed with no further word, and nothing failed but what diverged."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    (block,) = re.findall(r'^```bash\n(?:(?!```).*\n)*?(hpo4dl run (?:.*\n)*?)```$', text, re.MULTILINE)
    block = block.replace('examples/train.py', str(EXAMPLES / 'train.py')).replace('--max-budget 40', '--max-budget 3')
    block = block.replace('--minimize', '--minimize --seed 0 --optimizer asha').replace(
        '--max-budget 60', '--max-budget 6'
    )
    block = re.sub(r'^hpo4dl ', 'python -m hpo4dl ', block, flags=re.MULTILINE).replace('python ', f'{sys.executable} ')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '80'}
    done = subprocess.run(['sh', '-ec', block], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    run = hpo4dl.read_run('last')
    assert run.epochs_spent == 6
    assert {trial.failed for trial in run.trials.values() if 'nan' not in str(trial.failed)} == {None}
    assert any(len(trial.metrics) > 1 for trial in run.trials.values()), 'nothing went on, so nothing was tested'


def documented_objective() -> Any:
    """The objective function with checkpoints that docs/objective.md shows."""
    (block,) = (block for block in python_blocks(ROOT / 'docs' / 'objective.md') if 'load_checkpoint' in block)
    names: dict[str, Any] = {}
    exec(block, names)
    return names['objective_function']


def test_documented_objective_function_restores_everything() -> None:
    check = check_objective(documented_objective(), ConfigurationSpace({'lr': (0.1, 0.5)}))
    assert check.ok, str(check)
    assert check.at_once == check.in_two


def test_quickstart_finds_the_minimum_with_a_quarter_of_its_budget(empty_folder: Path) -> None:
    source = (EXAMPLES / 'quickstart.py').read_text(encoding='utf-8')
    assert 'max_budget=1000,' in source
    names: dict[str, Any] = {}
    exec(source.replace('max_budget=1000,', 'max_budget=250,'), names)
    incumbent = names['incumbent']
    assert incumbent['configuration']['x'] == pytest.approx(2, abs=0.05)
    assert incumbent['metric'] == pytest.approx((incumbent['configuration']['x'] - 2) ** 2)


def test_documented_checkpoints_go_on_as_if_never_stopped(empty_folder: Path) -> None:
    objective_function = documented_objective()
    curves = []
    for steps in ([4], [1, 2, 4]):
        checkpoint_path = Path(f'checkpoint_{len(steps)}')
        checkpoint_path.mkdir()
        torch.manual_seed(0)
        curve: list[dict[str, Any]] = []
        for previous_epoch, epoch in zip([0, *steps], steps):
            curve += objective_function({'lr': 0.1}, epoch, previous_epoch, str(checkpoint_path))
        curves.append(curve)
    assert curves[0] == curves[1]
    assert [result['epoch'] for result in curves[0]] == [1, 2, 3, 4]
    assert curves[0][-1]['metric'] < curves[0][0]['metric']


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda document: document.stem)
def test_code_in_the_documents_runs(empty_folder: Path, document: Path) -> None:
    """Block after block as typed; where the page says so, with what docs/objective.md defines, and a run of it."""
    quickstart = (EXAMPLES / 'quickstart.py').read_text(encoding='utf-8')
    blocks = [block for block in python_blocks(document) if block != quickstart]
    names: dict[str, Any] = {'__name__': '__main__'}
    given = {'objective_function': documented_objective(), 'configspace': ConfigurationSpace({'lr': (0.001, 0.5)})}
    if 'are those of [the page on the objective function](objective.md)' in document.read_text(encoding='utf-8'):
        names |= given
    first = None
    if any(RUN in block for block in blocks):
        settings: dict[str, Any] = {'minimize': True, 'num_configurations': 10, 'progress': False}
        tuner = Tuner(*given.values(), 3, 8, 'hpo4dl_results', **settings)
        first = tuner.run()
        tuner.run_folder.rename(RUN)
    for block in blocks:
        exec(block, names)
    if document.name == 'README.md':
        assert names['tuner'].epochs_spent == 100
        assert names['incumbent'].metric < 0.1, 'of a variance of 0.13'
    elif document.stem == 'first-steps':
        assert names['incumbent'].metric < 0.1
        with torch.no_grad():
            error = ((names['best'](names['INPUTS'][400:]) - names['TARGETS'][400:]) ** 2).mean().item()
        assert error == pytest.approx(names['incumbent'].metric, rel=0.2), 'the weights are those of that call'
    elif document.name == 'resume.md':
        assert names['incumbent'] == names['best']  # what was finished is known to the run that goes on
        assert names['best'].metric <= first.metric
    elif document.name == 'method.md':
        assert names['optimizer'].curves[0].epochs == [1]


# The parameters of `Tuner` in hpo4dl 0.1.0 on PyPI, in its order, with its defaults; three had none.
PUBLISHED = {
    'objective_function': inspect.Parameter.empty,
    'configuration_space': inspect.Parameter.empty,
    'max_epochs': inspect.Parameter.empty,
    'max_budget': None,
    'output_path': 'hpo4dl_results',
    'optimizer': 'dyhpo',
    'minimize': False,
    'num_configurations': 1000,
    'seed': None,
    'device': None,
    'storage_path': None,
}


def test_code_for_the_published_tuner_runs(empty_folder: Path) -> None:
    parameters = list(inspect.signature(Tuner).parameters.values())
    published, ours = parameters[: len(PUBLISHED)], parameters[len(PUBLISHED) :]
    assert {p.name: p.default for p in published} == PUBLISHED
    assert [p.name for p in published] == list(PUBLISHED)
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in published)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is not p.empty for p in ours)

    def objective_function(configuration, epoch, previous_epoch, checkpoint_path):
        return {'epoch': epoch, 'metric': configuration['x']}

    space = ConfigurationSpace({'x': (0.0, 1.0)})
    tuner = Tuner(objective_function, space, 3, 9, Path('out'), 'hyperband', True, 10, 1, 'cpu', Path('store'))
    incumbent = tuner.run()
    (run,) = Path('out').iterdir()
    rows = list(csv.DictReader((run / 'hpo4dl_results.csv').read_text(encoding='utf-8').splitlines()))
    # '' is the row number, as pandas wrote it; the columns, in the order of 0.1.0
    assert list(rows[0]) == [
        '', 'epoch', 'metric', 'configuration_id', 'configuration', 'time', 'overhead_time', 'total_time', 'best_metric'
    ]  # fmt: skip
    assert min(float(row['metric']) for row in rows) == incumbent['metric'] == float(rows[-1]['best_metric'])
    assert (run / 'best_trial').is_dir()
    assert Path('store', run.name).is_dir()

    # Only Hyperband did without a budget: it went once round its brackets.
    tuner = Tuner(objective_function, space, 3, None, 'out', 'hyperband')
    tuner.run()
    assert tuner.epochs_spent == 3 * 1 + 1 * 2 + 2 * 3


@pytest.mark.parametrize('optimizer', ['sgd', 'adam', 'rmsprop'])
def test_digits_three_epochs_and_three_more_are_six(digits: ModuleType, tmp_path: Path, optimizer: str) -> None:
    configuration = {
        'learning_rate': 0.01,
        'weight_decay': 1e-4,
        'width': 16,
        'num_layers': 2,
        'dropout': 0.2,
        'optimizer': optimizer,
        'momentum': 0.9,
    }
    at_once, in_two = tmp_path / 'at_once', tmp_path / 'in_two'
    at_once.mkdir()
    in_two.mkdir()
    expected = digits.objective_function(configuration, 6, 0, str(at_once))
    first = digits.objective_function(configuration, 3, 0, str(in_two))
    torch.rand(7)  # what happens between two calls does not matter
    assert first + digits.objective_function(configuration, 6, 3, str(in_two)) == expected
    models = [torch.load(folder / digits.CHECKPOINT, weights_only=True)['model'] for folder in (at_once, in_two)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert len({result['metric'] for result in expected}) > 1, 'nothing was learned, so nothing was tested'


def test_digits_restores_all_that_it_trains_with(digits: ModuleType) -> None:
    configuration = {'learning_rate': 0.1, 'optimizer': 'sgd', 'momentum': 0.9, 'dropout': 0.2}
    configuration |= {'weight_decay': 1e-4, 'width': 16, 'num_layers': 2}
    check = check_objective(digits.objective_function, digits.search_space(), configuration=configuration)
    assert check.ok, str(check)
    assert check.repeatable


def test_digits_splits_are_disjoint_and_in_proportion(digits: ModuleType) -> None:
    sizes = {split: len(labels) for split, (_, labels) in digits.DATA.items()}
    assert sizes == {'train': 800, 'validation': 400, 'test': 597}
    everything = torch.cat([images for images, _ in digits.DATA.values()])
    assert len(torch.unique(everything, dim=0)) == 1797
    for _, labels in digits.DATA.values():
        counts = torch.bincount(labels, minlength=10) / len(labels)
        assert counts.min() > 0.09
        assert counts.max() < 0.11


def test_digits_momentum_belongs_to_sgd_alone(digits: ModuleType) -> None:
    sampled = [dict(configuration) for configuration in digits.search_space().sample_configuration(50)]
    assert {configuration['optimizer'] for configuration in sampled} == {'sgd', 'adam', 'rmsprop'}
    assert all(('momentum' in c) == (c['optimizer'] == 'sgd') for c in sampled)


def test_digits_ends_with_the_comparison(digits: ModuleType, empty_folder: Path) -> None:
    command = [sys.executable, '-W', 'error', EXAMPLES / 'digits.py', '--max-budget=5', '--max-epochs=2', '--seeds=1']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert re.search(r'^seed 0, +dyhpo: 5 epochs in', done.stdout, re.MULTILINE)
    assert re.search(r'^  dyhpo +0\.\d{3}\n  random +0\.\d{3}\n\Z', done.stdout, re.MULTILINE)


def test_ask_and_tell_lowers_the_loss(empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, 'argv', ['ask_and_tell.py', '--max-budget=15'])
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(EXAMPLES / 'ask_and_tell.py'), run_name='__main__')
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r'epochs: loss (\S+),', out)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.65, 'a coin has 0.69'
    assert re.search(r'^\d+ configurations raced; trial \d+ reached', out, re.MULTILINE)
