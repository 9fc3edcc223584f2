"""Copy this package into another code base, so that it can be checked there that nobody has changed it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import ArgumentError, HPO4DLError, StorageError

PACKAGE = Path(__file__).parents[1]
SUMS, STAMP = 'SHA256SUMS', 'VENDORED'
PERIPHERY = ('analysis', 'integrations', 'narration', 'tools')
"""Sub-packages that tuning and resuming do not need: a core copy has a file of the same name that says so."""

LACKS = (
    'analysis/, integrations/, narration/ and tools/: no report, table, plots, page, export, explain or replay; no '
    'salvage, no warm start; no checks of objective functions and executors; no Slurm, trackers or save_checkpoint; no '
    'command line'
)
STUB = f'''"""Not in this copy of the package: it is a core copy, which `hpo4dl vendor --core` made."""

from .errors import MissingPartError

raise MissingPartError(
    f'{{__name__}}: this is a core copy of hpo4dl '
    'without {LACKS}'
)
'''
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import hpo4dl
from ConfigSpace import ConfigurationSpace
assert hpo4dl.__file__.startswith(sys.argv[1]), hpo4dl.__file__
tuner = hpo4dl.Tuner(
    lambda c, epoch, previous_epoch, path: {'epoch': epoch, 'metric': (c['x'] - 2) ** 2 + 1 / epoch},
    ConfigurationSpace({'x': (-5.0, 10.0)}),
    minimize=True, max_budget=15, max_epochs=3, seed=0, output_path=sys.argv[2], progress=False,
)
assert -5 <= tuner.run()['configuration']['x'] <= 10
"""


def vendor(destination: Path, core: bool = False) -> str:
    """Copy the package to DEST/hpo4dl with its license, a version stamp and SHA256SUMS, and tune with the copy.

    An earlier copy is replaced, unless files in it were changed or added. `sha256sum -c SHA256SUMS` in the copy tells
    whether it is still what was copied.

    Args:
        destination: DEST.
        core: copy only what tunes and resumes. What is missing then raises MissingPartError where it is called for.

    Returns:
        What was copied, as a line for people.

    Raises:
        ArgumentError: something else lies there, or a copy that was changed.
        HPO4DLError: the copy does not tune.
        StorageError: the copy cannot be written.
    """
    copy = destination.absolute() / 'hpo4dl'
    if copy == PACKAGE:
        raise ArgumentError('destination', str(destination), 'a folder other than that of this very package')
    try:
        is_there = copy.exists()
    except (OSError, ValueError) as error:  # too long; a NUL in it
        raise StorageError(f'{copy}: cannot be looked at: {error}') from error
    if is_there:
        changed = changed_files(copy)
        if changed:
            raise ArgumentError('destination', str(destination), f'no changed copy: {", ".join(changed[:5])}')
    version = importlib.import_module(str(__package__).rpartition('.')[0]).__version__
    left_out = PERIPHERY if core else ()

    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix='.hpo4dl.', dir=copy.parent))  # removed at the end, so no name of others'
    except OSError as error:
        raise StorageError(f'{copy}: cannot be written: {error}') from error
    new = beside / 'hpo4dl'
    try:
        patterns = ('__pycache__', '*.pyc', '.*', SUMS, STAMP, *left_out)
        shutil.copytree(PACKAGE, new, ignore=shutil.ignore_patterns(*patterns))
        for name in left_out:
            (new / f'{name}.py').write_text(STUB, encoding='utf-8')
        (new / 'LICENSE').write_text(license_text(), encoding='utf-8')
        (new / STAMP).write_text(f'hpo4dl {version}{" core" if core else ""}\n', encoding='utf-8')
        sums = [f'{digest}  {name}\n' for name, digest in digests(new).items()]
        (new / SUMS).write_text(''.join(sums), encoding='utf-8')
        shutil.rmtree(copy, ignore_errors=True)
        new.rename(copy)
    except OSError as error:
        raise StorageError(f'{copy}: cannot be written: {error}') from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-B', '-c', CHECK, str(copy.parent), folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise HPO4DLError(f'{copy}: copied, but it does not tune: {done.stderr.strip()}')
    said = f'{copy}: hpo4dl {version}{" core" if core else ""}, {len(sums)} files, checked by tuning with it'
    return f'{said}; without {LACKS}' if core else said


def changed_files(copy: Path) -> list[str]:
    """Return the names of the files that were changed, added or removed since the copy was made."""
    try:
        lines = (copy / SUMS).read_text(encoding='utf-8').splitlines()
    except OSError:
        return [f'{copy} is no copy made by this command']
    expected = {name: digest for digest, _, name in (line.partition('  ') for line in lines)}
    found = digests(copy)
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by its name, but for the list itself and compiled files."""
    files = sorted(p for p in folder.rglob('*') if p.is_file() and p.name != SUMS and p.suffix != '.pyc')
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def license_text() -> str:
    """Return the license: it lies beside the package in a clone, in it in a copy, in the metadata when installed."""
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / 'LICENSE').is_file():
            return (folder / 'LICENSE').read_text(encoding='utf-8')
    try:
        found = importlib.metadata.distribution('hpo4dl')
        text = found.read_text('licenses/LICENSE') or found.read_text('LICENSE')
    except importlib.metadata.PackageNotFoundError:
        text = None
    if not text:
        raise HPO4DLError(f'the license of hpo4dl is not beside {PACKAGE}, so it cannot be copied')
    return text
