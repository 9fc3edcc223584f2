"""The README's code and the examples run, and do what they say."""

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

from hpo4dl import Tuner, check_objective

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / 'examples'


def python_blocks() -> list[str]:
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    return re.findall(r'^```python\n(.*?)^```$', readme, re.MULTILINE | re.DOTALL)


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


def test_quickstart_is_what_the_readme_shows() -> None:
    assert (EXAMPLES / 'quickstart.py').read_text(encoding='utf-8') in python_blocks()


def test_objective_function_of_the_readme_restores_everything() -> None:
    (block,) = (block for block in python_blocks() if 'load_checkpoint' in block)
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    check = check_objective(namespace['objective_function'], ConfigurationSpace({'lr': (0.1, 0.5)}))
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


def run_block(marker: str, names: dict[str, Any], **replaced: str) -> dict[str, Any]:
    """Executes the README's block with `marker` in it."""
    (source,) = [block for block in python_blocks() if marker in block]
    for old, new in replaced.items():
        assert old in source
        source = source.replace(old, new)
    exec(source, names)
    return names


def test_the_checkpoints_resume_and_ask_and_tell_of_the_readme_work(empty_folder: Path) -> None:
    names = run_block('save_checkpoint(', {})
    objective_function = names['objective_function']
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

    configspace = ConfigurationSpace({'lr': (0.001, 0.5)})
    tuner = Tuner(objective_function, configspace, 3, 8, 'out', minimize=True, num_configurations=10)
    first = tuner.run()
    names = {'Tuner': Tuner, 'objective_function': objective_function}
    folders = {'hpo4dl_results/experiment_20261124-120000': str(tuner.run_folder)}
    assert run_block('Tuner.resume', names, **folders)['incumbent'] == first

    names = run_block('optimizer.ask()', {'configspace': configspace})
    assert names['optimizer'].curves[0].epochs == [1]


def test_the_readme_explains_every_parameter_of_the_tuner() -> None:
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    table = readme.partition('## Parameters of `Tuner`')[2].partition('\n## ')[0]
    explained = re.findall(r'\w+', ' '.join(re.findall(r'^\| (`.*?`) \|', table, re.MULTILINE)))
    assert sorted(explained) == sorted(inspect.signature(Tuner).parameters)


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
    assert len({result['metric'] for result in expected}) > 1, 'nothing was learnt, so nothing was tested'


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
