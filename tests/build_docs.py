"""Build all docstrings as pages; a warning is an error: `python -W error tests/build_docs.py FOLDER`."""

from __future__ import annotations

import pkgutil
import sys
from pathlib import Path

import pdoc

import hpo4dl


def modules() -> set[str]:
    """The names of the package, its sub-packages and all their modules, but for the one that runs when imported."""
    found = pkgutil.walk_packages(hpo4dl.__path__, 'hpo4dl.')
    return {'hpo4dl', *(module.name for module in found)} - {'hpo4dl.__main__'}


if __name__ == '__main__':
    folder, names = Path(sys.argv[1]), modules()
    tops = sorted(name for name in names if name.count('.') < 2)  # what is in a sub-package comes with it
    pdoc.pdoc(*tops, output_directory=folder)
    pages = {'.'.join(page.relative_to(folder).with_suffix('').parts) for page in folder.rglob('*.html')}
    if names - pages:
        sys.exit(f'no page of {", ".join(sorted(names - pages))}')
    print(f'{len(names)} modules, a page each, in {folder}')
