"""Kinds of failures, by the words of those who raise them."""

from __future__ import annotations

import pytest

from hpo4dl.failure_kinds import KINDS, NEVER_AGAIN, NEVER_ANY, kind_of
from hpo4dl.text import one_line

REASONS = {
    'OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB': 'out of memory',
    'RuntimeError: CUDA error: out of memory': 'out of memory',
    'RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)': 'out of memory',
    "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory": 'out of memory',
    'MemoryError: ': 'out of memory',
    'OSError: [Errno 12] Cannot allocate memory': 'out of memory',
    "out of memory: killed by the kernel's out-of-memory killer": 'out of memory',
    'Slurm job 7 ended without a result: OUT_OF_MEMORY; its log: x': 'out of memory',
    "ModuleNotFoundError: No module named 'x'": 'missing module',
    'exit status 127: no such program: pythonn: No such file or directory': 'missing module',
    'exit status 2: x.py: error: unrecognized arguments: --lrr': 'wrong argument',
    "TypeError: f() got an unexpected keyword argument 'x'": 'wrong argument',
    'trial_timeout: no result after 3 seconds': 'time limit',
    'time limit: no end after 3 seconds': 'time limit',
    'Slurm job 7 ended without a result: TIMEOUT; its log: x': 'time limit',
    'its worker died: BrokenProcessPool: x': 'lost worker',
    'the executor lost the call: KilledWorker: x': 'lost worker',
    'given up: hpo4dl stop --trial': 'given up',
    'killed: SIGSEGV': 'lost worker',
    'the metric of epoch 3 is nan, not a finite number': 'diverged',
    "the metric of epoch 3 is '0.5', not a finite number": 'error',
    'no result: which of a, b is the metric? (--metric NAME)': 'no result',
    'ValueError: too small': 'error',
    'exit status 1: it printed nothing': 'error',
}


@pytest.mark.parametrize('reason', REASONS)
def test_kinds(reason: str) -> None:
    assert kind_of(reason) == REASONS[reason]


def test_python_says_it_like_that() -> None:
    for code, kind in (
        ('import nothing_of_this_name', 'missing module'),
        ('from os import nothing_of_this_name', 'missing module'),
        ('int([])', 'error'),
        ('(lambda: 0)(x=3)', 'wrong argument'),
        ('bytearray(2 ** 60)', 'out of memory'),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            exec(code)
        assert (code, kind_of(one_line(caught.value))) == (code, kind)


def test_what_never_works_is_never_tried_again() -> None:
    assert NEVER_ANY < NEVER_AGAIN <= set(KINDS)
    assert NEVER_AGAIN - NEVER_ANY == {'out of memory', 'given up'}
