"""`hpo4dl_results.csv`: the journal's epochs as a table, with the columns of hpo4dl 0.1.0."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ..errors import HPO4DLError
from ..files import write_text
from ..log import Log
from .journal import Journal
from .state import RunState

logger = Log(__name__)


def write_table(run_folder: Path, state: RunState) -> None:
    """Write it anew from the journal, which holds the same: where it cannot be written, the log says so, no more."""
    try:
        rows = table(Journal(run_folder), RunState(state.minimize, state.restore))
        text = io.StringIO()
        columns = dict.fromkeys(key for row in rows for key in row if key != 'best_metric')
        writer = csv.DictWriter(text, ['', *columns, 'best_metric'], restval='', lineterminator='\n')
        writer.writeheader()
        writer.writerows({'': number, **row} for number, row in enumerate(rows))
        write_text(run_folder / 'hpo4dl_results.csv', text.getvalue())
    except HPO4DLError as error:
        logger.warning('hpo4dl_results.csv is not up to date: %s', error)


def table(journal: Journal, state: RunState) -> list[dict[str, Any]]:
    """Return the rows of a run, an epoch each."""
    rows: list[dict[str, Any]] = []
    for change in state.follow(journal):
        for seen in change.finished.observations if change.finished is not None else ():
            best = rows[-1]['best_metric'] if rows else seen.metric
            row = seen.row(state.trials[seen.trial].configuration)
            rows.append({**row, 'best_metric': seen.metric if state.is_better(seen.metric, best) else best})
    return rows
