"""The check of executors passes on real ones, and finds what is wrong with others."""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from hpo4dl import ArgumentError, check_executor


def forks() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, get_context('fork'))


def problems(checks) -> dict[str, str]:
    return {check.name: check.problem for check in checks if check.problem is not None}


@pytest.mark.parametrize('wrong', [{'num_workers': 0}, {'seconds': 'a'}, {'folder': '/nowhere'}, {'executor': None}])
def test_wrong_arguments_are_named(wrong: dict) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        check_executor(**{'executor': lambda: ThreadPoolExecutor(2), **wrong})


@pytest.mark.filterwarnings('ignore:.*multi-threaded, use of fork.*:DeprecationWarning')
def test_threads_and_processes_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(2) as threads:
        assert problems(check_executor(threads, 2, str(tmp_path))) == {}
    assert problems(check_executor(forks, 2, str(tmp_path), kill=True)) == {}
    assert capsys.readouterr().out.count('ok      ') == 5 + 7
    assert list(tmp_path.iterdir()) == []


class Caching:
    """Returns the first result to every call."""

    def __init__(self) -> None:
        self.first: Future | None = None

    def submit(self, function, *arguments):
        if self.first is None:
            self.first = Future()
            self.first.set_result(function(*arguments))
        return self.first


class Losing:
    """Its calls never come back."""

    def submit(self, function, *arguments):
        return Future()


class Late:
    """The first call of all comes back in the second check."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.threads = threads
        self.late: Future | None = None

    def submit(self, function, objective, attempt):
        if self.late is None:
            self.late = Future()
            return self.late
        if attempt.number >= 50 and not self.late.done():
            self.late.set_result('late')
        return self.threads.submit(function, objective, attempt)


def test_what_comes_late_is_not_taken_for_another_call() -> None:
    with ThreadPoolExecutor(2) as threads:
        found = problems(check_executor(Late(threads), 2, seconds=2))
    assert list(found) == ['many small calls, each with its own result']
    assert 'calls did not come back' in found['many small calls, each with its own result']


def test_what_caches_or_loses_is_found() -> None:
    found = problems(check_executor(Caching(), 1, seconds=2))
    assert '49 of 50 are wrong' in found['many small calls, each with its own result']
    assert 'did not come back' in next(iter(problems(check_executor(Losing(), 2, seconds=0.2)).values()))
