"""Write docs/parameters.md from the docstrings and signatures of `Tuner` and `Tuner.resume`: the text exists once.

    python docs/make_parameters.py

tests/integration/test_house.py fails where the page is not what this writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo4dl import Tuner

PAGE = Path(__file__).with_name('parameters.md')

HEAD = """# Parameters

<!-- Made from the docstrings by `python docs/make_parameters.py`: change it there. -->

A wrong argument raises `hpo4dl.ArgumentError` when the tuner is made. The error says what is accepted.

More about: [objective functions and checkpoints](objective.md), [stops and resume](resume.md), [workers](workers.md),
[callbacks](runs.md#while-it-runs), [optimizers](method.md).
"""


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """The names, or groups of names, in the "Args" of a docstring, and what it says of each, on one line."""
    docstring = inspect.getdoc(function) or ''
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', docstring, re.MULTILINE | re.DOTALL)
    assert section is not None, f'{function} documents no arguments'
    entries = re.findall(r'^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)', section[1], re.MULTILINE)
    return {names: ' '.join(text.split()) for names, text in entries}


def table(function: Callable[..., Any], signature: inspect.Signature) -> str:
    """A Markdown table of a function's parameters: name, default, meaning."""
    lines = ['| parameter | default | meaning |', '|---|---|---|']
    for names, meaning in arguments(function).items():
        parameters = [signature.parameters[name] for name in names.split(', ')]
        defaults = ['' if p.default is p.empty else f'`{p.default!r}`' for p in parameters]
        told = defaults[:1] if len(set(defaults)) == 1 else defaults
        cells = (', '.join(f'`{p.name}`' for p in parameters), ', '.join(told), meaning.replace('|', r'\|'))
        lines.append(f'| {" | ".join(cells)} |'.replace('|  |', '| |'))
    return '\n'.join(lines) + '\n'


def text() -> str:
    """The page."""
    made = table(Tuner, inspect.signature(Tuner))
    resumed = table(Tuner.resume, inspect.signature(Tuner.resume))
    return f'{HEAD}\n## Tuner\n\n{made}\n## Tuner.resume\n\n{resumed}'


if __name__ == '__main__':
    PAGE.write_text(text(), encoding='utf-8')
    print(PAGE)
