"""The report of a run, and the comparison of several runs, as text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from ..records.journal import NAME
from ..text import escape, format_configuration, format_seconds, format_table, plural, truncate
from .run import Run


def report_text(run: Run, runners_up: int = 5, width: int = 120) -> str:
    """Return the report of a run: incumbent, runners-up, epochs spent and saved, failures, files.

    Args:
        run: what `read_run` returned.
        runners_up: trials shown below the incumbent.
        width: characters per line; longer configurations are cut.
    """
    settings, trials = run.settings, run.trials.values()
    how = f'{settings.get("optimizer") or "an optimizer object"}, seed {settings.get("seed")}'
    direction = 'smaller' if run.minimize else 'larger'
    lines = [f'{escape(run.name)}: {escape(how)}, {direction} metrics are better', f'  {escape(run.status())}']
    lines += [f'  note: {note}' for note in run.notes]
    lines += ['', *leaderboard(run, runners_up, width), '']
    if run.incumbent:
        lines.append(f"incumbent's configuration, trial {run.incumbent.trial}")
        for name, value in run.trials[run.incumbent.trial].configuration.items():
            lines.append(truncate(f'  {truncate(escape(name), 60)} = {escape(value)}', width))
        lines.append('')
    planned, counts_epochs = settings.get('max_budget') or 0, settings.get('cost', 'epochs') == 'epochs'
    after = run.epochs_spent - int(run.budget_spent) if counts_epochs else 0
    budget = f' of {planned}' if counts_epochs and run.budget_spent <= planned else ''  # a resumed run may have another
    saved, paused = run.epochs_saved(), sum(t.failed is None and 0 < t.epoch < run.max_epochs for t in trials)
    line = f'epochs   {run.epochs_spent - after}{budget} spent on {plural(len(trials), "trial")}'
    line += f', and {after} after the race' if after else ''
    if saved:
        line += f'; {paused} paused before epoch {run.max_epochs}, which saved {saved}'
        line += f' ({saved / (saved + run.epochs_spent):.0%} of training all to the end)'
    lines.append(line)
    if not counts_epochs:
        budget = f' of {planned:.6g}' if planned else ''
        unit = ' seconds' if settings['cost'] == 'seconds' else ', as reported'
        lines.append(f'cost     {run.budget_spent:.6g}{budget}{unit}')
    if run.stopped and run.expected_gain is not None:
        text = 'training the most promising trial to the end is expected to improve the metric by'
        lines.append(f'more     {text} {run.expected_gain:.2g}')
    training, deciding = (sum(getattr(o, key) for o in run.observations) for key in ('seconds', 'overhead'))
    worked, trained, decided = map(format_seconds, (run.elapsed, training, deciding))
    lines.append(f'time     {worked}; training {trained}, over all workers; deciding {decided}')
    if run.running:
        lines.append(f'running  {", ".join(f"trial {t}" for t in list(run.running)[:10])}')
    failures = Counter(trial.failed for trial in trials if trial.failed)
    for reason, n in failures.most_common(3):
        lines.append(truncate(f'failed   {plural(n, "trial")}: {escape(reason)}', width))
    if run.lost:
        lines.append(truncate(f'lost     {plural(len(run.lost), "call")}, made again: {escape(run.lost[-1])}', width))
    lines.append(f'folder   {escape(run.folder)}')
    for name, what in CONTENTS.items():
        if (run.folder / name).exists():
            lines.append(f'         {name:20} {what}')
    return '\n'.join(lines)


CONTENTS = {
    'best_trial': "the incumbent's checkpoint",
    'hpo4dl_results.csv': 'every epoch, a row each',
    NAME: 'every call and result',
}


def leaderboard(run: Run, runners_up: int, width: int) -> list[str]:
    """Return the lines of the table of the best trials."""
    ranked = run.ranked()[: runners_up + 1]
    if not ranked:
        return ['No trial has given a metric yet.']
    rows = [['', 'trial', 'metric', 'at epoch', 'trained to', 'configuration']]
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


def comparison_text(runs: Sequence[Run], width: int = 1000) -> str:
    """Return a table of runs with their best metric after a quarter, half, and all of the epochs that they share.

    Shared are the epochs that every run has spent, so that no run is compared beyond the budget of another one.
    """
    shared = min(run.epochs_spent for run in runs)
    marks = sorted({max(1, shared * part // 4) for part in (1, 2, 4)}) if shared else []
    heads = ['run', 'optimizer', 'seed', 'trials', 'epochs', 'time', *[f'best at {m}' for m in marks]]
    rows = [[*heads, 'best', 'at epoch']]
    for run in runs:
        best, row = run.incumbent, [escape(run.name), escape(run.settings.get('optimizer') or 'object')]
        row += [*map(str, (run.settings.get('seed'), len(run.trials), run.epochs_spent)), format_seconds(run.elapsed)]
        for mark in marks:
            reached = [o.metric for o in run.improvements() if o.spent <= mark]
            row.append(f'{reached[-1]:.6g}' if reached else '-')
        rows.append([*row, f'{best.metric:.6g}' if best else '-', str(best.spent) if best else '-'])
    notes = []
    if len({run.minimize for run in runs}) > 1:
        notes.append('note: some of these runs minimize, others maximize')
    if len({json.dumps([vars(h) for h in run.hyperparameters], default=str) for run in runs}) > 1:
        notes.append('note: their configuration spaces differ')
    if len({run.max_epochs for run in runs}) > 1:
        notes.append('note: their max_epochs differ')
    return '\n'.join([*format_table(rows, width), *notes])
