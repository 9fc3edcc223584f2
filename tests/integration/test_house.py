"""What can rot without any function being wrong: imports, the package as built, what the documents promise."""

from __future__ import annotations

import ast
import email
import graphlib
import inspect
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

import hpo4dl
from hpo4dl import Tuner
from hpo4dl.optimizers.base import BaseOptimizer
from hpo4dl.tools.vendor import PERIPHERY

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / 'hpo4dl'
RUN_TIME_DEPENDENCIES = {'ConfigSpace', 'numpy', 'scipy', 'torch'}

SUFFIXES = {'.py', '.typed', '.html', '.npz'}

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


class Rules:
    """The import rules of ARCHITECTURE.md: its table of wings, and the list below it."""

    def __init__(self) -> None:
        document = text('ARCHITECTURE.md')
        rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in document.splitlines() if line[:3] == '| `']
        self.allowed = {names(wing)[0]: {names(wing)[0], *names(may)} for wing, _, _, may in rows}
        self.ring = {names(wing)[0]: int(ring) for wing, ring, _, _ in rows}
        self.wings = {name.removesuffix('.py'): names(wing)[0] for wing, _, what, _ in rows for name in names(what)}
        one_line = ' '.join(document.split())
        module, late = re.search(r'inside functions,[^:]*: `(\S+)\.py` imports ([^.]*)\.', one_line).groups()
        self.late = {module: set(names(late))}
        (torch,) = re.findall(r'torch is imported in ([^,]*(?:, `[^`]+`)*), nowhere else', one_line)
        self.optional = {'torch': names(torch)}
        for package, file in re.findall(r'(\w+) in (`[^`]+\.py`)', one_line):
            self.optional.setdefault(package, []).extend(names(file))

    def wing(self, module: str) -> str:
        return module.partition('.')[0] if '.' in module else self.wings[module]

    def may_import(self, module: str, package: str) -> bool:
        """Whether a module may import a package that is not ours."""
        places = self.optional.get(package)
        if places is None:
            return package in sys.stdlib_module_names | RUN_TIME_DEPENDENCIES
        return self.wing(module) in places or module.replace('.', '/') + '.py' in places


def names(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r'`([^`]+)`', cell)


def imports(module: str) -> list[tuple[str, bool, bool]]:
    """Every import of a module: its target, whether that is ours, and whether it runs when the module is imported."""
    found = []

    def visit(node: ast.AST, at_top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, False, at_top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                wing = module.split('.')[: -child.level]
                assert child.level <= len(module.split('.'))
                targets = [child.module] if child.module else [alias.name for alias in child.names]
                found.extend(('.'.join([*wing, t]) if child.level else t, bool(child.level), at_top) for t in targets)
            for_types = isinstance(child, ast.If) and ast.unparse(child.test) == 'TYPE_CHECKING'
            visit(child, at_top and not for_types and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    visit(ast.parse(MODULES[module].read_text(encoding='utf-8')), True)
    return found


MODULES = {
    '.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path
    for path in sorted(PACKAGE.rglob('*.py'))
    if path.parent == PACKAGE or path.name != '__init__.py'
}
RULES = Rules()


def test_every_module_has_its_wing() -> None:
    assert {module for module in MODULES if '.' not in module} == set(RULES.wings)
    assert {module.partition('.')[0] for module in MODULES if '.' in module} <= set(RULES.allowed)
    for wing, allowed in RULES.allowed.items():
        assert allowed <= set(RULES.allowed)
        assert RULES.ring[wing] == 3 or all(RULES.ring[other] < 3 for other in allowed)
    assert {wing for wing, ring in RULES.ring.items() if ring == 3} == set(PERIPHERY)
    assert not RULES.allowed['records'] & {'surrogate', 'optimizers'}
    assert {file for files in RULES.optional.values() for file in files if '/' in file} <= {
        module.replace('.', '/') + '.py' for module in MODULES
    }


@pytest.mark.parametrize('module', MODULES)
def test_a_module_imports_what_its_wing_may(module: str) -> None:
    for target, ours, at_top in imports(module):
        if not ours:
            assert RULES.may_import(module, target.partition('.')[0]), f'{module} imports {target}'
            continue
        assert target in MODULES, f'{module} imports {target}'
        late = set() if at_top else RULES.late.get(module, set())
        assert RULES.wing(target) in RULES.allowed[RULES.wing(module)] | late, f'{module} imports {target}'


def test_no_class_of_the_core_is_a_house() -> None:
    """Some 200 lines, blank ones and the documentation of the class left out, are what a reader keeps in mind."""
    for module, path in MODULES.items():
        source = path.read_text(encoding='utf-8')
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)) if RULES.ring[RULES.wing(module)] < 3 else ():
            if isinstance(node, ast.ClassDef):
                length = sum(bool(line.strip()) for line in lines[node.lineno - 1 : node.end_lineno])
                length -= len((ast.get_docstring(node) or '').splitlines())
                assert length <= 220, f'{module}.{node.name}: {length} lines'


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: {t for t, ours, at_top in imports(module) if ours and at_top} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


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
    required = text('setup.cfg').partition('extras_require')[0]
    claimed = dict(re.findall(r'^\s+(\w+) >= ([\d.]+)$', required, re.MULTILINE))
    tested = dict(re.findall(r'^    (\w+) == ([\d.]+)$', text('tox.ini'), re.MULTILINE))
    assert set(tested) == RUN_TIME_DEPENDENCIES
    assert {name: Version(v) for name, v in claimed.items()} == {name: Version(v) for name, v in tested.items()}


def test_every_example_has_its_line() -> None:
    described = set(re.findall(r'^\| \[([^]]+)]', text('examples/README.md'), re.MULTILINE))
    examples = {path.name for path in (ROOT / 'examples').glob('*.py')}
    assert examples == {name for name in described if re.fullmatch(r'\w+\.py', name)}


DOCUMENTS = [
    file for folder in ('.', 'docs', 'examples', 'examples/benchmarks') for file in ROOT.glob(f'{folder}/*.md')
]


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_links_of_a_document_lead_somewhere(document: Path) -> None:
    """To a file of the repository, and where a heading is named, to one of that document."""
    prose = re.sub(r'^```.*?^```$', '', document.read_text(encoding='utf-8'), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r'\]\((?!https?:)([^)\s]+)\)', prose):
        name, _, heading = target.partition('#')
        file = document.parent / name if name else document
        assert file.exists(), target
        if heading:
            headings = re.findall(r'^#+ (.*)$', file.read_text(encoding='utf-8'), re.MULTILINE)
            assert heading in {re.sub(r'[^\w -]', '', text).lower().replace(' ', '-') for text in headings}, target


def test_the_front_page_is_one_page() -> None:
    assert len(text('README.md').splitlines()) <= 130


def test_pages_made_from_docstrings_are_what_these_say() -> None:
    make = runpy.run_path(str(ROOT / 'docs' / 'make_reference.py'))
    for name, page in make['pages']().items():
        assert text(f'docs/{name}') == page, 'run `python docs/make_reference.py`'


def test_reference_has_every_public_name_and_its_arguments() -> None:
    make = runpy.run_path(str(ROOT / 'docs' / 'make_reference.py'))
    assert {*hpo4dl.__all__} <= {*re.findall('^### (.*)$', text('docs/reference.md'), re.MULTILINE)}
    entries = [entry[0] if isinstance(entry, tuple) else entry for part in make['SECTIONS'].values() for entry in part]
    functions = [Tuner.resume, Tuner.finish, *(entry for entry in entries if make['arguments'](entry))]
    assert len(functions) > 15
    for function in functions:
        named = [name for names in make['arguments'](function) for name in names.split(', ')]
        known = {*inspect.signature(function).parameters} - {'self'}
        shared = {*inspect.signature(BaseOptimizer).parameters} if 'race' in known else {*()}
        assert sorted(named) == sorted(known - {'race'} | shared), function


def test_linters_are_pinned_once() -> None:
    """To the same versions in setup.cfg, which `.ci/run` reads, and in tox.ini."""
    pinned = [set(re.findall(r'(?:ruff|mypy) == [\d.]+', text(file))) for file in ('setup.cfg', 'tox.ini')]
    assert pinned[0] == pinned[1]
    assert len(pinned[0]) == 2


def test_citation_is_of_this_version() -> None:
    assert re.search(r'^version: (.*)$', text('CITATION.cff'), re.MULTILINE)[1] == hpo4dl.__version__


def test_the_reading_order_has_every_file_of_ring_1() -> None:
    order = text('ARCHITECTURE.md').partition('## Read these files in this order')[2].partition('Then ring 2')[0]
    ring_1 = [path.name for module, path in MODULES.items() if RULES.ring[RULES.wing(module)] == 1]
    assert sorted(re.findall(r'`(\w+\.py)`', order)) == sorted(ring_1)
