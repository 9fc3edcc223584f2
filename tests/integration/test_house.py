"""What can rot without any function being wrong: imports, the package as built, what the documents promise."""

from __future__ import annotations

import ast
import email
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'hpo4dl'
RUN_TIME_DEPENDENCIES = {'ConfigSpace', 'numpy', 'scipy', 'torch'}

SUFFIXES = {'.py', '.typed', '.npz', '.html'}

# Each module imports only from lines above its own: the package can be read from top to bottom, one idea at a time.
READING_ORDER = """
    errors
    files
    records.identity integrations.torch_checkpoint
    checks trial
    space.distributions
    space.transforms
    space.conditions space.serialization
    space.finite
    space.unit_cube
    surrogate.kernels surrogate.gp surrogate.adam surrogate.curve_encoder optimizers.acquisition
    optimizers.output_transform
    surrogate.model
    optimizers.base
    optimizers.random_search optimizers.hyperband
    optimizers.dyhpo
    records.run_folder
    optimizers.registry
    records.journal execution.signals execution.worker
    records.checkpoints execution.engines integrations.slurm progress records.state
    records.csv_table records.salvage analysis.replay tools.executor_check
    analysis.report
    analysis.explain integrations.trackers
    tools.objective_check tools.warm_start
    tuner
    __init__
    analysis.plots analysis.export analysis.page tools.vendor
    tools.cli
    __main__
"""

# What the extras bring, imported inside functions of these modules alone.
OPTIONAL = {
    'analysis.plots': {'matplotlib'},
    'analysis.export': {'optuna', 'pyarrow'},
    'progress': {'tqdm'},
    'integrations.slurm': {'submitit'},
}

TUNE = """
import importlib, sys
sys.modules['hpo4dl'] = None
package = importlib.import_module('outer.tuning')
import ConfigSpace
tuner = package.Tuner(
    objective_function=lambda c, epoch, previous_epoch, path: {'epoch': epoch, 'metric': -((c['x'] - 2) ** 2)},
    configuration_space=ConfigSpace.ConfigurationSpace({'x': (-5.0, 10.0)}),
    max_budget=15, max_epochs=3, seed=0, output_path=sys.argv[1],
)
incumbent = tuner.run()
assert -5 <= incumbent['configuration']['x'] <= 10, incumbent
assert sys.modules['hpo4dl'] is None
"""


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding='utf-8')


def imports(path: Path) -> list[tuple[int, str]]:
    """Every import of a file, wherever it stands, as (number of leading dots, module)."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.level, node.module)] if node.module else [(node.level, alias.name) for alias in node.names]
    return found


MODULES = {'.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path for path in sorted(PACKAGE.rglob('*.py'))}


@pytest.mark.parametrize('module', [module for module in MODULES if not module.endswith('.__init__')])
def test_imports_go_up_the_reading_order_only(module: str) -> None:
    above = lines_above(module)
    for dots, imported in imports(MODULES[module]):
        if dots:
            wing = module.split('.')[:-dots]
            assert dots <= len(module.split('.'))
            assert '.'.join([*wing, imported]) in above, f'{module} imports {imported}'
        else:
            allowed = RUN_TIME_DEPENDENCIES | OPTIONAL.get(module, set())
            assert imported.partition('.')[0] in sys.stdlib_module_names | allowed


def lines_above(module: str) -> set[str]:
    above: set[str] = set()
    for line in READING_ORDER.split('\n'):
        if module in line.split():
            return above
        above.update(line.split())
    raise AssertionError(f'{module} has no place in the reading order')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy, where torch, numpy, scipy and ConfigSpace cannot be imported."""
    copy = tmp_path_factory.mktemp('build')
    for name in ['setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE']:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(PACKAGE, copy / 'hpo4dl', ignore=shutil.ignore_patterns('__pycache__'))
    build = f'import sys; sys.modules.update(dict.fromkeys({RUN_TIME_DEPENDENCIES}))\n'
    build += 'from setuptools import build_meta; build_meta.build_wheel(".")'
    subprocess.run([sys.executable, '-c', build], cwd=copy, check=True, capture_output=True)
    return zipfile.ZipFile(next(copy.glob('*.whl')))


def test_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob('*') if path.suffix in SUFFIXES}
    assert files == {name for name in wheel.namelist() if '.dist-info/' not in name}
    assert 'hpo4dl/py.typed' in files


def test_wheel_requires_four_packages_and_carries_the_newest_version(wheel: zipfile.ZipFile) -> None:
    dist_info = next(name for name in wheel.namelist() if name.endswith('METADATA'))
    metadata = email.message_from_bytes(wheel.read(dist_info))
    required = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
    assert {re.match(r'\w+', line)[0] for line in required} == RUN_TIME_DEPENDENCIES
    newest = re.search(r'^## \[([^]]+)]', text('CHANGELOG.md'), re.MULTILINE)[1]
    assert metadata['Version'] == newest


def test_vendored_copy_tunes_under_another_name(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / 'outer' / 'tuning', ignore=shutil.ignore_patterns('__pycache__'))
    (tmp_path / 'outer' / '__init__.py').touch()
    command = [sys.executable, '-W', 'error', '-c', TUNE, tmp_path / 'runs']
    subprocess.run(command, cwd=tmp_path, check=True, timeout=600)


def test_ci_runs_the_commands_of_the_readme() -> None:
    """`.ci/run` takes them from there, by their beginning; they must be the two that it expects, tests last."""
    script = text('.ci/run')
    beginning = re.search(r"grep '\^([^']+)' README.md", script)[1]
    readme = text('README.md').splitlines()
    digits, tests = [line for line in readme if line.startswith(beginning)]
    assert digits.endswith('.venv/bin/python examples/digits.py')
    assert tests.endswith('.venv/bin/python -m pytest')


def test_oldest_versions_claimed_are_the_ones_tested() -> None:
    claimed = set(re.findall(r'^    (\w+) >= ([\d.]+)$', text('setup.cfg'), re.MULTILINE))
    tested = dict(re.findall(r'^    (\w+) == ([\d.]+)$', text('tox.ini'), re.MULTILINE))
    assert set(tested) == RUN_TIME_DEPENDENCIES
    assert {(name, version) for name, version in claimed if name in RUN_TIME_DEPENDENCIES} == set(tested.items())


def test_every_example_has_its_line() -> None:
    described = set(re.findall(r'^\| \[([^]]+)]', text('examples/README.md'), re.MULTILINE))
    examples = {path.name for path in (ROOT / 'examples').glob('*.py')}
    assert examples == {name for name in described if re.fullmatch(r'\w+\.py', name)}
