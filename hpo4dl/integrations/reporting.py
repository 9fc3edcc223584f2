"""What a training script calls to tell its results: the two lines that it needs, where it is Python."""

from __future__ import annotations

import json
import os
from typing import Any

RESULTS = 'HPO4DL_RESULTS'
"""The environment variable that names the file for results."""


def report_epoch(epoch: int, metric: Any, **more: Any) -> None:
    """Tells the metric of an epoch, from a script that `hpo4dl run` or `command_objective` started.

    Elsewhere it does nothing. Of several processes of one training (torchrun), the one of rank 0 tells.

    Args:
        epoch: the one that has ended; they count from 1.
        metric: a number, or a tensor of one element.
        more: kept with the result: other metrics, a note.
    """
    path = os.environ.get(RESULTS)
    if not path or os.environ.get('RANK', '0') != '0':
        return
    line = json.dumps({'epoch': epoch, 'metric': metric, **more}, default=_plain)
    with open(path, 'a', encoding='utf-8') as file:
        file.write(f'{line}\n')


def _plain(value: Any) -> Any:
    """Return a NumPy or torch scalar as a number; of what is neither, its text."""
    try:
        return value.item()
    except Exception:
        return str(value)
