"""Looking at a run starts at once: neither the package nor the command line imports anything heavy for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hpo4dl

ROOT = Path(__file__).parents[2]
RUN = str(ROOT / 'tests' / 'data' / 'run_of_schema_1')
HEAVY = ['ConfigSpace', 'matplotlib', 'numpy', 'optuna', 'scipy', 'torch']
CHECK = f'print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)'


def heavy(code: str) -> list[str]:
    """What a new process has imported of `HEAVY` after `code`."""
    command = [sys.executable, '-c', f'import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}\n{CHECK}']
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr.split()


@pytest.mark.parametrize(
    'arguments',
    [
        ['--help'],
        ['report', RUN],
        ['report', RUN, '--json'],
        ['compare', RUN, RUN],
        ['export', RUN, '--to', 'csv'],
        ['export', RUN, '--to', 'json'],
    ],
)
def test_commands_that_only_look_import_nothing_heavy(arguments: list[str]) -> None:
    call = f'try:\n    main({arguments})\nexcept SystemExit:\n    pass'
    assert heavy(f'from hpo4dl.tools.cli import main\n{call}') == []


def test_the_package_imports_what_is_asked_for() -> None:
    assert heavy('import hpo4dl') == []
    assert heavy('import hpo4dl; hpo4dl.HPO4DLError, hpo4dl.__version__, dir(hpo4dl)') == []
    assert 'torch' in heavy('from hpo4dl import Tuner')
    assert 'torch' in heavy('import hpo4dl; hpo4dl.tuner.Tuner')


def test_every_public_name_is_there() -> None:
    for name in hpo4dl.__all__:
        found = getattr(hpo4dl, name)
        assert found.__name__ == name
        assert found.__module__.startswith('hpo4dl.')
    assert set(hpo4dl.__all__) <= set(dir(hpo4dl))
    with pytest.raises(AttributeError, match="module 'hpo4dl' has no attribute 'nothing'"):
        hpo4dl.nothing  # noqa: B018
    subpackages = {path.parent.name for path in (ROOT / 'hpo4dl').glob('*/__init__.py')}
    assert not subpackages & set(hpo4dl.__all__), 'a name would hide a sub-package'
