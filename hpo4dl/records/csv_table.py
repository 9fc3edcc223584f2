"""`hpo4dl_results.csv`: the journal's epochs as a table, with the columns of hpo4dl 0.1.0."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from ..errors import HPO4DLError
from ..files import write_text
from ..space.unit_cube import Space
from ..trial import Configuration
from .journal import Journal
from .state import Row, rows

logger = logging.getLogger(__name__)


def write_table(run_folder: Path, space: Space, minimize: bool) -> None:
    """Write it anew from the journal, which holds the same: where it cannot be written, the log says so, no more."""
    try:
        columns = list(dict.fromkeys(key for row in table(run_folder, space) for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, ['', *columns, 'best_metric'], restval='', lineterminator='\n')
        writer.writeheader()
        best = math.inf if minimize else -math.inf
        for number, row in enumerate(table(run_folder, space)):
            best = (min if minimize else max)(best, row['metric'])
            writer.writerow({'': number, **row, 'best_metric': best})
        write_text(run_folder / 'hpo4dl_results.csv', text.getvalue())
    except HPO4DLError as error:
        logger.warning('hpo4dl_results.csv is not up to date: %s', error)


def table(run_folder: Path, space: Space) -> Iterator[Row]:
    """The rows of a run, an epoch each."""
    configurations: dict[int, Configuration] = {}
    for event in Journal(run_folder):
        if event['event'] == 'start' and event['trial'] not in configurations:
            configurations[event['trial']] = space.restore(event['configuration'])
        elif event['event'] == 'result':
            yield from rows(event, configurations[event['trial']])
