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


def vendor(destination: Path) -> str:
    """Copy the package to DEST/hpo4dl with its licence, a version stamp and SHA256SUMS, and tune with the copy.

    An earlier copy is replaced, unless files in it were changed or added. `sha256sum -c SHA256SUMS` in the copy tells
    whether it is still what was copied.

    Raises:
        ArgumentError: something else lies there, or a copy that was changed.
        HPO4DLError: the copy does not tune.
        StorageError: the copy cannot be written.
    """
    copy = destination.absolute() / 'hpo4dl'
    if copy == PACKAGE:
        raise ArgumentError('destination', str(destination), 'a folder other than that of this very package')
    if copy.exists():
        changed = changes(copy)
        if changed:
            raise ArgumentError('destination', str(destination), f'no changed copy: {", ".join(changed[:5])}')
    version = importlib.import_module(str(__package__).rpartition('.')[0]).__version__

    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix='.hpo4dl.', dir=copy.parent))  # removed at the end, so no name of others'
    except OSError as error:
        raise StorageError(f'{copy}: cannot be written: {error}') from error
    new = beside / 'hpo4dl'
    try:
        shutil.copytree(PACKAGE, new, ignore=shutil.ignore_patterns('__pycache__', '*.pyc', '.*', SUMS, STAMP))
        (new / 'LICENSE').write_text(licence(), encoding='utf-8')
        (new / STAMP).write_text(f'hpo4dl {version}\n', encoding='utf-8')
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
    return f'{copy}: hpo4dl {version}, {len(sums)} files, checked by tuning with it'


def changes(copy: Path) -> list[str]:
    """What makes a folder other than the copy it was: files changed, added or removed since, by name."""
    try:
        lines = (copy / SUMS).read_text(encoding='utf-8').splitlines()
    except OSError:
        return [f'{copy} is no copy made by this command']
    expected = {name: digest for digest, _, name in (line.partition('  ') for line in lines)}
    found = digests(copy)
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file but the list itself and compiled ones, by name."""
    files = sorted(p for p in folder.rglob('*') if p.is_file() and p.name != SUMS and p.suffix != '.pyc')
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def licence() -> str:
    """The text of the licence: beside the package in a clone, in it in a copy, in the metadata when installed."""
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / 'LICENSE').is_file():
            return (folder / 'LICENSE').read_text(encoding='utf-8')
    try:
        found = importlib.metadata.distribution('hpo4dl')
        text = found.read_text('licenses/LICENSE') or found.read_text('LICENSE')
    except importlib.metadata.PackageNotFoundError:
        text = None
    if not text:
        raise HPO4DLError(f'the licence of hpo4dl is not beside {PACKAGE}, so it cannot be copied')
    return text
