"""What kind of failure it was: told from the reason in words, as the journal has it, also of runs that are old."""

from __future__ import annotations

import re

KINDS = {
    'given up': r'^given up',
    'out of memory': r"out of memory|OutOfMemory|\bMemoryError\b|OUT_OF_MEMORY|ALLOC_FAILED|can(no|')t allocate memory",
    'missing module': r'ModuleNotFoundError|No module named|ImportError|no such program',
    'wrong argument': r'unrecognized arguments|invalid choice|arguments are required|unexpected keyword argument'
    r'|error: argument|No such option|Could not override|wrong argument|SyntaxError',
    'no result': r'^no result',
    'time limit': r'trial_timeout|time limit|TIMEOUT|DEADLINE',
    'diverged': r'\b(nan|inf)\b.*not a finite number',
    'lost worker': r'its worker died|the executor lost the call|killed: |ended without a result|broken by another',
}
"""By kind, in the order in which they are looked for."""
NEVER_ANY = {'missing module', 'wrong argument', 'no result'}
"""What is bound to happen to every configuration."""
NEVER_AGAIN = {*NEVER_ANY, 'out of memory', 'given up'}
"""What is bound to happen again to the same configuration, so that the call is not made again."""


def kind_of(reason: str) -> str:
    """Return the kind of a failure, one of `KINDS`, or 'error'."""
    for kind, pattern in KINDS.items():
        if re.search(pattern, reason, re.IGNORECASE if kind == 'out of memory' else 0):
            return kind
    return 'error'
