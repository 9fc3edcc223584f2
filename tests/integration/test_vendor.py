"""A vendored copy: whole, stamped, checked, and replaced only as long as nobody changed it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hpo4dl
from hpo4dl import ArgumentError, HPO4DLError
from hpo4dl.tools import vendor as module
from hpo4dl.tools.vendor import vendor

ROOT = Path(__file__).parents[2]


def test_a_copy_that_sha256sum_checks(tmp_path: Path) -> None:
    said = vendor(tmp_path / 'third_party')
    copy = tmp_path / 'third_party' / 'hpo4dl'
    assert 'checked by tuning with it' in said
    assert (copy / 'VENDORED').read_text() == f'hpo4dl {hpo4dl.__version__}\n'
    assert (copy / 'LICENSE').read_text() == (ROOT / 'LICENSE').read_text()
    files = {p.relative_to(ROOT / 'hpo4dl') for p in (ROOT / 'hpo4dl').rglob('*') if '__pycache__' not in p.parts}
    added = {Path('VENDORED'), Path('LICENSE'), Path('SHA256SUMS')}
    assert {p.relative_to(copy) for p in copy.rglob('*')} == files | added
    subprocess.run(['sha256sum', '--check', '--strict', '--quiet', 'SHA256SUMS'], cwd=copy, check=True)


@pytest.fixture
def no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is not tuned with, which takes seconds and is tested above."""
    monkeypatch.setattr(module, 'CHECK', '')


@pytest.mark.usefixtures('no_check')
def test_a_changed_copy_is_kept(tmp_path: Path) -> None:
    copy = tmp_path / 'hpo4dl'
    vendor(tmp_path)
    (copy / '__pycache__').mkdir()
    (copy / '__pycache__' / 'gp.pyc').touch()
    vendor(tmp_path)  # an unchanged one is replaced
    for name, text in [('gp.py', '# mine'), ('mine.py', ''), ('VENDORED', 'hpo4dl 0.0.1')]:
        before = (copy / name).read_text() if (copy / name).exists() else None
        (copy / name).write_text(text)
        with pytest.raises(ArgumentError, match=name):
            vendor(tmp_path)
        assert (copy / name).read_text() == text
        if before is None:
            (copy / name).unlink()
        else:
            (copy / name).write_text(before)
    vendor(tmp_path)


def test_what_is_no_copy_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'hpo4dl').mkdir()
    (tmp_path / 'hpo4dl' / 'thesis.tex').touch()
    with pytest.raises(ArgumentError, match='no copy made by this command'):
        vendor(tmp_path)
    assert (tmp_path / 'hpo4dl' / 'thesis.tex').exists()
    with pytest.raises(ArgumentError, match='this very package'):
        vendor(ROOT)
    with pytest.raises(HPO4DLError, match='cannot be written'):
        vendor(Path('/dev/null/below'))


def test_a_copy_that_does_not_tune_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'CHECK', 'raise SystemExit("broken")')
    with pytest.raises(HPO4DLError, match='does not tune: broken'):
        vendor(tmp_path)


TUNE = """
import logging, sys
from concurrent.futures import ThreadPoolExecutor
import ConfigSpace
from outer.tuning import Tuner
sys.modules['hpo4dl'] = None

def train(configuration, epoch, previous_epoch, checkpoint_path):
    return [{'epoch': i, 'metric': (configuration['x'] - 2) ** 2 + 1 / i} for i in range(previous_epoch + 1, epoch + 1)]

if __name__ == '__main__':
    logging.basicConfig(level=logging.INFO)
    space = ConfigSpace.ConfigurationSpace({'x': (-5.0, 10.0)})
    settings = {'minimize': True, 'max_epochs': 3, 'seed': 0, 'progress': True}
    tuner = Tuner(train, space, max_budget=10, output_path=sys.argv[1], **settings)
    tuner.run()
    more = Tuner.resume(tuner.run_folder, train, max_budget=20, executor=ThreadPoolExecutor(2), num_workers=2)
    assert -5 <= more.run()['configuration']['x'] <= 10
    assert more.epochs_spent == 20
    processes = Tuner(train, space, max_budget=10, output_path=sys.argv[1], num_workers=2, optimizer='asha', **settings)
    processes.run()
    assert processes.epochs_spent == 10
    try:
        Tuner(train, space, max_budget=10, output_path=sys.argv[1], warm_start=tuner.run_folder, **settings)
    except Exception as error:
        print(error)
"""
MISSING = """
import outer.tuning as package
for name in package.__all__:
    try:
        getattr(package, name)
    except package.MissingPartError as error:
        print(name, error)
for module in ('integrations.slurm', 'integrations.trackers', 'analysis.run'):
    try:
        __import__(f'outer.tuning.{module}')
    except ImportError as error:
        print(module, error)
"""


@pytest.fixture(scope='module')
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a core copy, under another name: `outer.tuning`."""
    folder = tmp_path_factory.mktemp('core')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'CHECK', '')
        said = vendor(folder, core=True)
    assert 'hpo4dl 0.2.0 core' in said
    assert 'no report' in said
    assert (folder / 'hpo4dl' / 'VENDORED').read_text() == f'hpo4dl {hpo4dl.__version__} core\n'
    (folder / 'outer').mkdir()
    (folder / 'outer' / '__init__.py').touch()
    shutil.move(folder / 'hpo4dl', folder / 'outer' / 'tuning')
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-B', '-W', 'error', *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def test_a_core_copy_tunes_resumes_and_has_workers(core: Path, tmp_path: Path) -> None:
    (core / 'tune.py').write_text(TUNE)
    done = python(core, 'tune.py', str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert 'this is a core copy of hpo4dl' in done.stdout
    assert 'Traceback' not in done.stderr
    assert done.stderr.count('hpo4dl: to go on: Tuner.resume(') == 3  # it has no command line
    assert len(list(tmp_path.iterdir())) == 2
    assert len(list(tmp_path.rglob('hpo4dl_results.csv'))) == 2


def test_a_core_copy_is_rings_1_and_2(core: Path) -> None:
    copy = core / 'outer' / 'tuning'
    folders = {path.name for path in copy.iterdir() if path.is_dir()}
    assert folders == {'execution', 'optimizers', 'race', 'records', 'space', 'surrogate'}
    assert module.changed_files(copy) == []


def test_a_core_copy_is_small(core: Path) -> None:
    """Whoever vendors it is to be able to read it: lines that are not blank. It is to shrink on, and must not grow."""
    copy = core / 'outer' / 'tuning'
    lines = [line for path in copy.rglob('*.py') for line in path.read_text(encoding='utf-8').splitlines()]
    assert sum(bool(line.strip()) for line in lines) <= 7045


def test_what_a_core_copy_lacks_is_one_clear_error(core: Path) -> None:
    done = python(core, '-c', MISSING)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(' ', 1) for line in done.stdout.splitlines())
    lacks = {
        'ObjectiveCheck',
        'Run',
        'WarmStart',
        'read_run',
        'check_executor',
        'check_objective',
        'load_checkpoint',
        'replay',
    }
    lacks |= {
        'read_run',
        'command_objective',
        'report_epoch',
        'save_checkpoint',
        'warm_start',
        'integrations.slurm',
        'integrations.trackers',
        'analysis.run',
    }
    assert set(said) == lacks
    assert all('this is a core copy of hpo4dl without analysis/' in text for text in said.values())
    done = python(core, '-m', 'outer.tuning', 'report', 'run')
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.startswith('hpo4dl: outer.tuning.tools: this is a core copy of hpo4dl without')
    assert done.stderr.count('\n') == 1
