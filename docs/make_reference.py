"""Write docs/parameters.md and docs/reference.md from docstrings and signatures: the text exists once.

    python docs/make_reference.py

tests/integration/test_house.py fails where the pages are not what this writes.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hpo4dl
from hpo4dl import Tuner
from hpo4dl.integrations import slurm, trackers
from hpo4dl.optimizers.base import BaseOptimizer
from hpo4dl.records.state import Observation, TrialRecord
from hpo4dl.tools.executor_check import ExecutorCheck

PARAMETERS = """# Parameters

<!-- Made from the docstrings by `python docs/make_reference.py`: change it there. -->

A wrong argument raises `hpo4dl.ArgumentError` when the tuner is made. The error says what is accepted.

More about: [objective functions and checkpoints](objective.md), [stops and resume](resume.md), [workers](workers.md),
[callbacks](runs.md#while-it-runs), [optimizers](method.md).
"""

REFERENCE = """# Reference

<!-- Made from the docstrings by `python docs/make_reference.py`: change it there. -->

What can be imported, and what it does: `from hpo4dl import Tuner, read_run, ...`. Names that are not here may change.
The [command line](runs.md#the-command-line) has `hpo4dl COMMAND --help`.
"""

RUN = 'name folder trials incumbent best_checkpoint observations epochs_spent budget_spent stopped minimize max_epochs'
RUN += ' metric_name settings environment notes curve ranked improvements epochs_saved status to_pandas plot'
TRIAL = 'id configuration metrics epoch best failed traceback spent cost seconds'
EPOCH = 'trial epoch metric info spent elapsed seconds overhead cost'
RACE = 'ask tell is_alive enqueue give_up replay'

SECTIONS: dict[str, list[Any]] = {
    'Tune': [hpo4dl.Tuner, hpo4dl.Incumbent, hpo4dl.Event, hpo4dl.Trial],
    'Look at runs': [hpo4dl.read_run, (hpo4dl.Run, RUN), (TrialRecord, TRIAL), (Observation, EPOCH), hpo4dl.replay],
    'Checkpoints in PyTorch': [hpo4dl.save_checkpoint, hpo4dl.load_checkpoint],
    'Training programs': [hpo4dl.command_objective, hpo4dl.report_epoch],
    'Check before the race': [hpo4dl.check_objective, hpo4dl.ObjectiveCheck, hpo4dl.check_executor, ExecutorCheck],
    'Start from an earlier run': [hpo4dl.warm_start, hpo4dl.WarmStart],
    'Ask and tell': [
        (BaseOptimizer, RACE),
        (hpo4dl.DyHPO, 'expected_gain expected_metric'),
        (hpo4dl.Hyperband, ''),
        (hpo4dl.ASHA, ''),
        (hpo4dl.RandomSearch, ''),
        hpo4dl.Policy,
    ],
    'Slurm: `from hpo4dl.integrations.slurm import ...`': [(slurm.SlurmExecutor, '')],
    'Trackers: `from hpo4dl.integrations.trackers import ...`': [
        trackers.TensorBoard,
        trackers.MLflow,
        trackers.WeightsAndBiases,
    ],
    'Errors': [getattr(hpo4dl, name) for name in hpo4dl.__all__ if name.endswith('Error')],
}
"""What the reference has: functions, and classes with all public members, or with those that are named."""


def parts(documented: Any) -> dict[str, str]:
    """What a docstring says, by section: '' is what stands before the first one, then 'Args', 'Returns', 'Raises'."""
    found = re.split(r'^(Args|Returns|Raises):\n', inspect.getdoc(documented) or '', flags=re.MULTILINE)
    return {'': found[0].strip(), **dict(zip(found[1::2], map(textwrap.dedent, found[2::2])))}


def entries(section: str) -> dict[str, str]:
    """The entries of a section, by the name, or names, before the colon: what is said of each, on one line."""
    found = re.findall(r'^(\w[\w, .]*): (.*(?:\n +.*)*)', section, re.MULTILINE)
    return {names: ' '.join(text.split()) for names, text in found}


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """The parameters that a docstring names, or groups of them, with what it says of each."""
    return entries(parts(function).get('Args', ''))


def table(function: Callable[..., Any]) -> str:
    """A Markdown table of a function's parameters: name, default, meaning."""
    lines, known = ['| parameter | default | meaning |', '|---|---|---|'], inspect.signature(function).parameters
    for names, meaning in arguments(function).items():
        parameters = [known[name] for name in names.split(', ')]
        defaults = ['' if p.default is p.empty else f'`{p.default!r}`' for p in parameters]
        told = defaults[:1] if len(set(defaults)) == 1 else defaults
        cells = (', '.join(f'`{p.name}`' for p in parameters), ', '.join(told), meaning.replace('|', r'\|'))
        lines.append(f'| {" | ".join(cells)} |'.replace('|  |', '| |'))
    return '\n'.join(lines) + '\n'


def fields(cls: type) -> Iterator[tuple[str, str]]:
    """The fields and properties of a class and its bases of ours: name, and type with what is said of it."""
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith('hpo4dl')]):
        made = ast.parse(inspect.getsource(base)).body[0]
        assert isinstance(made, ast.ClassDef)
        for node, after in zip(made.body, [*made.body[1:], ast.Pass()]):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                default = f' = {ast.unparse(node.value)}' if isinstance(node.value, (ast.Constant, ast.Tuple)) else ''
                text = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ''
                )
                yield node.target.id, f'`{ast.unparse(node.annotation)}{default}`. {text}'
            elif isinstance(node, ast.FunctionDef) and isinstance(vars(base)[node.name], property) and node.returns:
                yield node.name, f'`{ast.unparse(node.returns)}`. {ast.get_docstring(node)}'


def called(name: str, function: Callable[..., Any]) -> str:
    """How a function is called, as a block of code."""
    known = inspect.signature(function)
    shared = [p for p in inspect.signature(BaseOptimizer).parameters.values() if p.kind == p.KEYWORD_ONLY]
    every = [q for p in known.parameters.values() for q in (shared if p.name == 'race' else [p])]
    bare = [p.replace(annotation=p.empty) for p in every if p.name != 'self']
    shown = str(known.replace(parameters=bare, return_annotation=known.empty))
    back = '' if known.return_annotation in (known.empty, 'None', None) else f' -> {known.return_annotation}'
    return f'```text\n{textwrap.fill(name + shown + back, 100, subsequent_indent="    ")}\n```\n\n'


def prose(documented: Any) -> str:
    """A docstring as Markdown."""
    text = ''
    for head, section in parts(documented).items():
        listed = [f'- `{names}`: {said}' for names, said in entries(section).items() if head in ('Args', 'Raises')]
        said = [' '.join(paragraph.split()) for paragraph in section.strip().split('\n\n')]
        text += (f'\n{head}:\n\n' if listed else f'\n{head}: ' if head else '') + '\n'.join(
            listed or ['\n\n'.join(said)]
        )
        text += '\n'
    return text


def described(documented: Any) -> str:
    """A function, or a class with its fields and methods, as a section of the reference."""
    thing, named = documented if isinstance(documented, tuple) else (documented, None)
    text = f'\n### {thing.__name__}\n\n'
    if not isinstance(thing, type):
        return text + called(thing.__name__, thing) + prose(thing)
    if thing is Tuner:
        text += f'{parts(Tuner)[""]}\n\nArguments, of `Tuner.resume` too: [parameters](parameters.md).\n'
    else:
        is_plain = hasattr(thing, '__dataclass_fields__') or issubclass(thing, (Exception, dict))
        text += ('' if is_plain else called(thing.__name__, thing)) + prose(thing)

    def is_wanted(name: str) -> bool:
        return not name.startswith('_') and name != 'resume' if named is None else name in named.split()

    found = {name: said for name, said in fields(thing) if is_wanted(name)}
    order = found if named is None else [name for name in named.split() if name in found]
    listed = [f'- `{name}`: {" ".join(found[name].split())}' for name in order]
    text += '\n' + '\n'.join(listed) + '\n' if listed else ''
    methods = vars(thing) if named is None else {name: getattr(thing, name, None) for name in named.split()}
    for name, method in methods.items():
        if inspect.isfunction(method) and is_wanted(name):
            text += f'\n#### {thing.__name__}.{name}\n\n{called(name, method)}{prose(method)}'
    return text


def pages() -> dict[str, str]:
    """The pages, by the names of their files."""
    parameters = f'{PARAMETERS}\n## Tuner\n\n{table(Tuner)}\n## Tuner.resume\n\n{table(Tuner.resume)}'
    sections = [f'\n## {title}\n' + ''.join(map(described, things)) for title, things in SECTIONS.items()]
    return {'parameters.md': parameters, 'reference.md': REFERENCE + ''.join(sections)}


if __name__ == '__main__':
    for name, text in pages().items():
        Path(__file__).with_name(name).write_text(text, encoding='utf-8')
        print(name)
