"""Build all docstrings as pages; a warning is an error: `python -W error tests/build_docs.py FOLDER`."""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path

import pdoc

import hpo4dl


def modules() -> list[str]:
    """The names of the package, its sub-packages and all their modules, but for the one that runs when imported."""
    found = pkgutil.walk_packages(hpo4dl.__path__, 'hpo4dl.')
    return ['hpo4dl', *sorted(module.name for module in found if module.name != 'hpo4dl.__main__')]


if __name__ == '__main__':
    folder, names = Path(sys.argv[1]), modules()
    pdoc.pdoc(*names, output_directory=folder)
    pages = list(folder.rglob('*.html'))
    print(f'{len(names)} modules, {len(pages)} pages in {folder}')
