"""A run's folder: made, described for people and for `Tuner.resume`, and read again."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from ..errors import ArgumentError, JournalError
from ..files import read_json, read_regular, sync_folder, write_text
from ..log import Log
from ..space.serialization import describe, read_space, write_space
from .identity import Identity, mark

logger = Log(__name__)


def make_run_folder(
    output_path: str | os.PathLike[str], storage_path: str | None, called: str | None = None
) -> tuple[Path, Identity]:
    """Make a folder below `output_path`, and one of the same name below `storage_path`; two runs never share one."""
    if called is not None and not (isinstance(called, str) and re.fullmatch(r'\w[\w.+-]{0,99}', called)):
        raise ArgumentError('name', called, 'letters, digits, and any of _ . + - after the first; 100 at most')
    name = f'{called or "experiment"}_{datetime.now():%Y%m%d-%H%M%S}'
    paths = [('storage_path', storage_path), ('output_path', os.fspath(output_path))]
    for n in range(1, 10_000):
        made: list[Path] = []
        for argument, path in paths:
            try:
                if path is not None:
                    folder = Path(path) / (name if n == 1 else f'{name}_{n}')
                    folder.mkdir(parents=True)
                    made.append(folder)
            except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
                if isinstance(error, FileExistsError) and folder.exists():
                    break
                raise ArgumentError(argument, path, f'a folder that can be written ({error})') from error
        else:
            folder, identity = folder.resolve(), Identity.new(folder.name)
            for new in made:
                with suppress(PermissionError):  # of a folder that may be written but not read
                    sync_folder(new.parent)
            if storage_path is not None:
                mark(made[0], identity, folder)
            return folder, identity
        for folder in made:
            folder.rmdir()
    raise ArgumentError('output_path', os.fspath(output_path), 'a folder without 10,000 runs of the same second')


def write_run(
    folder: Path, identity: Identity, settings: Mapping[str, Any], configuration_space: ConfigurationSpace
) -> None:
    """Write what a run was started with, for people and for `Tuner.resume`."""
    names = ('numpy', 'scipy', 'torch', 'ConfigSpace')
    versions = {name: sys.modules[name].__version__ for name in names if hasattr(sys.modules.get(name), '__version__')}
    environment = {'python': platform.python_version(), 'host': platform.node(), 'started': datetime.now().isoformat()}
    environment['hpo4dl'] = sys.modules[str(__package__).rpartition('.')[0]].__version__
    stored = {'identity': asdict(identity), 'settings': dict(settings), 'environment': {**environment, **versions}}
    write_text(folder / 'settings.json', json.dumps(stored, indent=2))
    write_text(folder / 'hyperparameters.json', json.dumps(describe(configuration_space), indent=2))
    try:
        write_text(folder / 'configuration_space.json', write_space(configuration_space))
    except ArgumentError as error:
        logger.warning('to resume this run, configuration_space= will be needed: %s', error)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings that `write_run` wrote, unchecked."""
    path = folder / 'settings.json'
    try:
        return dict(read_json(path)['settings'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalError(f'{path}: cannot be read, so there is no run to resume: {error!r}') from error


def read_configuration_space(folder: Path, given: ConfigurationSpace | None = None) -> ConfigurationSpace:
    """Read the configuration space that `write_run` wrote; where it cannot be read, it is the one given."""
    path = folder / 'configuration_space.json'
    try:
        space = read_space(read_regular(path).decode())
    except Exception as error:  # whatever ConfigSpace raises
        if given is not None:
            return given
        raise JournalError(f'{path}: cannot be read: {error!r}; give resume(..., configuration_space=)') from error
    n = len(space)  # clauses may be read in another order
    if isinstance(given, ConfigurationSpace) and (len(given), describe(given)[:n]) != (n, describe(space)[:n]):
        raise ArgumentError('configuration_space', given, "the run's own; for another, a new run with warm_start=")
    return space
