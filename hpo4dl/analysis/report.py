"""The report of a run, and the comparison of several runs, as text."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from ..failure_kinds import kind_of
from ..records.journal import NAME
from ..text import escape, truncate
from .failures import counted_kinds, grouped
from .run import Run
from .text import format_configuration, format_seconds, format_table, format_value, plural, wrapped


def report_text(run: Run, runners_up: int = 5, width: int = 120, tracebacks: bool = False) -> str:
    """Return the report of a run: incumbent, runners-up, epochs spent and saved, failures, files.

    Args:
        run: what `read_run` returned.
        runners_up: trials shown below the incumbent.
        width: characters a line; longer configurations go on in the next line.
        tracebacks: whether each reason of failures is shown with its trials and a traceback.
    """
    settings = run.settings
    how = f'{settings.get("optimizer") or "an optimizer object"}, seed {settings.get("seed")}'
    direction = f'{"smaller" if run.minimize else "larger"} {escape(run.metric_name)} is better'
    lines = [f'{escape(run.name)}: {escape(how)}, {direction}', *wrapped(f'  {escape(run.status())}', width, 4)]
    lines += [line for note in run.notes for line in wrapped(f'  note: {note}', width, 4)]
    lines += ['', *leaderboard(run, runners_up, width), '']
    if run.incumbent:
        lines.append(f"incumbent's configuration, trial {run.incumbent.trial}")
        for name, value in run.trials[run.incumbent.trial].configuration.items():
            lines.append(truncate(f'  {truncate(escape(name), 60)} = {escape(value)}', width))
        lines.append('')
    if run.incumbent and run.stopped and run.expected_metric is not None:
        text = f'{run.expected_metric:.6g} by all that was seen; the best of many noisy values is partly luck'
        lines += entry('expected', text, width)
    lines += budget_lines(run, width)
    if run.stopped and run.expected_gain is not None:
        gain = f'is expected to improve the metric by {run.expected_gain:.2g}' if run.expected_gain > 0 else ''
        text = f'training the most promising trial to the end {gain or "is not expected to improve the metric"}'
        lines += entry('more', text, width)
    training, deciding = (sum(getattr(o, key) for o in run.observations) for key in ('seconds', 'overhead'))
    worked, trained, decided = map(format_seconds, (run.elapsed, training, deciding))
    lines += entry('time', f'{worked}; training {trained}, over all workers; deciding {decided}', width)
    if run.running:
        lines += entry('running', ', '.join(f'trial {t}' for t in list(run.running)[:10]), width)
    lines += failure_lines(run, width, tracebacks)
    if run.lost:
        said = f'{plural(len(run.lost), "call")}, made again: {counted_kinds(run.lost)}; the last one:'
        lines += entry('lost', f'{said} {escape(run.lost[-1])}', width)
    lines += entry('folder', escape(run.folder), width)
    for name, what in CONTENTS.items():
        if (run.folder / name).exists():
            lines.append(f'         {name:20} {what}')
    return '\n'.join(lines)


CONTENTS = {
    'best_trial': "the incumbent's checkpoint",
    'hpo4dl_results.csv': 'every epoch, a row each',
    NAME: 'every call and result',
}


def entry(name: str, text: str, width: int) -> list[str]:
    """Return the lines of one entry of the report."""
    return wrapped(f'{name:8} {text}', width, 9)


def budget_lines(run: Run, width: int) -> list[str]:
    """Return the lines about what was spent: epochs, what stopping early saved, and what else the budget counts."""
    planned, counts_epochs = run.settings.get('max_budget') or 0, run.settings.get('cost', 'epochs') == 'epochs'
    after = run.epochs_spent - int(run.budget_spent) if counts_epochs else 0
    budget = f' of {planned}' if counts_epochs and run.budget_spent <= planned else ''  # a resumed run may have another
    saved = run.epochs_saved()
    paused = sum(t.failed is None and 0 < t.epoch < run.max_epochs for t in run.trials.values())
    line = f'{run.epochs_spent - after}{budget} spent on {plural(len(run.trials), "trial")}'
    line += f', and {after} after the race' if after else ''
    if saved:
        line += f'; {paused} paused before epoch {run.max_epochs}, which saved {saved}'
        line += f' ({saved / (saved + run.epochs_spent):.0%} of training all to the end)'
    lines = entry('epochs', line, width)
    if not counts_epochs:
        budget = f' of {planned:.6g}' if planned else ''
        unit = ' seconds' if run.settings['cost'] == 'seconds' else ', as reported'
        lines += entry('cost', f'{run.budget_spent:.6g}{budget}{unit}', width)
    return lines


def failure_lines(run: Run, width: int, tracebacks: bool) -> list[str]:
    """Return the lines about failures: how many in all, and of each kind; the three most frequent reasons, or all."""
    groups, reasons = grouped(run.trials.values()), [t.failed for t in run.trials.values() if t.failed is not None]
    if not groups:
        return entry('failed', 'none', width) if tracebacks else []
    said = f'{len(reasons)} of {plural(len(run.trials), "trial")}'
    hint = '(with tracebacks: hpo4dl report RUN --failures)'
    if len(groups) == 1 and not tracebacks:
        kind = kind_of(reasons[0])
        kind = '' if kind == 'error' or groups[0].message.startswith(kind) else f', {kind}'
        return entry('failed', f'{said}{kind}: {groups[0]} {hint}', width)[:6]
    said += f': {counted_kinds(reasons)}'
    lines = entry('failed', said if tracebacks else f'{said} {hint}', width)
    for group in groups if tracebacks else groups[:3]:
        lines += wrapped(f'  {len(group.trials):5}: {group}', width, 9)[: None if tracebacks else 3]
        if tracebacks:
            listed = ', '.join(map(str, group.trials[:20])) + (', ...' if len(group.trials) > 20 else '')
            lines += wrapped(f'         trials {listed}', width, 9)
            lines += [f'           {escape(line)}' for line in (group.traceback or '').splitlines()] + ['']
    if len(groups) > 3 and not tracebacks:
        lines.append(f'         and {plural(len(groups) - 3, "other reason")}')
    return lines


def leaderboard(run: Run, runners_up: int, width: int) -> list[str]:
    """Return the lines of the table of the best trials."""
    ranked = run.ranked()[: runners_up + 1]
    if not ranked:
        return ['No trial has given a metric yet.']
    rows = [['', 'trial', truncate(escape(run.metric_name), 20), 'at epoch', 'trained to', 'configuration']]
    for rank, trial in enumerate(ranked, 1):
        assert trial.best is not None
        place = 'incumbent' if rank == 1 else f'{rank}.'
        numbers = [str(trial.id), f'{trial.best.metric:.6g}', str(trial.best.epoch), str(trial.epoch)]
        rows.append([place, *numbers, format_configuration(trial.configuration)])
    complete = run.best_complete(run.max_epochs)
    if complete is not None and complete is not ranked[0]:
        metric = f'{complete.metrics[run.max_epochs]:.6g}'
        numbers = [str(complete.id), metric, str(run.max_epochs), str(run.max_epochs)]
        rows.insert(2, ['complete', *numbers, format_configuration(complete.configuration)])
    return format_table(rows, width)


def report_html(run: Run, runners_up: int = 9) -> str:
    """Return the best trials as an HTML table, a column a hyperparameter."""
    names = list(dict.fromkeys(name for trial in run.ranked()[: runners_up + 1] for name in trial.configuration))
    heads = ['trial', run.metric_name, 'at epoch', 'trained to', *names]
    rows = []
    for trial in run.ranked()[: runners_up + 1]:
        assert trial.best is not None
        values = [format_value(trial.configuration[name]) if name in trial.configuration else '' for name in names]
        rows.append([str(trial.id), f'{trial.best.metric:.6g}', str(trial.best.epoch), str(trial.epoch), *values])
    cells = [[f'<th>{html.escape(truncate(escape(head), 40))}</th>' for head in heads]]
    cells += [[f'<td>{html.escape(truncate(value, 40))}</td>' for value in row] for row in rows]
    table = ''.join(f'<tr>{"".join(row)}</tr>' for row in cells)
    failed = sum(trial.failed is not None for trial in run.trials.values())
    about = f'{escape(run.name)}: {escape(run.status())}; {run.epochs_spent} epochs, {len(run.trials)} trials'
    return f'<p>{html.escape(about)}, {failed} failed</p><table>{table}</table>'


def comparison_text(runs: Sequence[Run], width: int = 1000) -> str:
    """Return a table of runs with their best metric after a quarter, half, and all of the epochs that they share.

    Shared are the epochs that every run has spent, so that no run is compared beyond the budget of another one.
    """
    shared = min(run.epochs_spent for run in runs)
    marks = sorted({max(1, shared * part // 4) for part in (1, 2, 4)}) if shared else []
    rows = [['run', *(f'at {mark}' for mark in marks), 'best', 'at', 'optimizer, trials, epochs, time']]
    for run in runs:
        best, row = run.incumbent, [escape(run.name)]
        for mark in marks:
            reached = [o.metric for o in run.improvements() if o.spent <= mark]
            row.append(f'{reached[-1]:.5g}' if reached else '-')
        about = f'{escape(run.settings.get("optimizer") or "object")}, seed {run.settings.get("seed")}: '
        about += f'{plural(len(run.trials), "trial")}, {run.epochs_spent} epochs in {format_seconds(run.elapsed)}'
        rows.append([*row, f'{best.metric:.5g}' if best else '-', str(best.spent) if best else '-', about])
    notes = []
    if len({run.minimize for run in runs}) > 1:
        notes.append('note: some of these runs minimize, others maximize')
    if len({json.dumps([vars(h) for h in run.hyperparameters], default=str) for run in runs}) > 1:
        notes.append('note: their configuration spaces differ')
    if len({run.max_epochs for run in runs}) > 1:
        notes.append('note: their max_epochs differ')
    return '\n'.join([*format_table(rows, width), *notes])


def list_text(runs: Sequence[Run], width: int = 120) -> str:
    """Return a table of runs: how far each is, its best metric, whether it goes on."""
    rows = [['run', 'optimizer', 'epochs', 'trials', 'failed', 'best', 'state']]
    for run in runs:
        budget, best = run.settings.get('max_budget'), run.incumbent
        is_epochs = budget and run.settings.get('cost', 'epochs') == 'epochs'
        spent = f'{run.epochs_spent}/{budget}' if is_epochs else str(run.epochs_spent)
        failed = sum(trial.failed is not None for trial in run.trials.values())
        found = f'{best.metric:.5g}' if best else '-'
        cells = [escape(run.settings.get('optimizer') or 'object'), spent, str(len(run.trials)), str(failed)]
        rows.append([escape(run.name), *cells, found, escape(run.status())])
    return '\n'.join(format_table(rows, width))
