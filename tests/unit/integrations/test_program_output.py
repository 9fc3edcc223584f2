"""The results in the lines of real programs, logs of bounded length, and what tells best why a program failed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo4dl.integrations.program_output import MAX_LOG, BoundedLog, Lines, telling_line


def found(text: str, metric: str | None = None, pattern: str | None = None, **options: int) -> list[dict[str, Any]]:
    lines = Lines(metric, pattern)
    lines.feed(text.encode())
    return lines.entries(options.get('previous_epoch', 0), options.get('first_epoch', 1))


@pytest.mark.parametrize(
    ('line', 'metric', 'expected'),
    [
        ('epoch=3 accuracy=0.91', None, {'epoch': 3, 'metric': 0.91}),
        ('epoch=3 accuracy=0.91', 'accuracy', {'epoch': 3, 'metric': 0.91}),
        ('[12:01:02] INFO Epoch: 3, loss = 1e-3, accuracy: 91%', 'accuracy', {'epoch': 3, 'metric': 91, 'loss': 0.001}),
        ("{'eval_loss': 0.69, 'eval_runtime': 0.1, 'epoch': 3.0}", 'eval_loss', {'epoch': 3, 'metric': 0.69}),
        ("{'eval_loss': '0.69', 'epoch': '3'}", 'eval_loss', {'epoch': 3, 'metric': 0.69}),
        ('{"epoch": 3, "accuracy": 0.91, "note": "x"}', 'accuracy', {'epoch': 3, 'metric': 0.91, 'note': 'x'}),
        ('epoch=3/10 val/acc=.5', 'val/acc', {'epoch': 3, 'metric': 0.5}),
        ('epoch=3 loss=-1.5E+2', None, {'epoch': 3, 'metric': -150.0}),
        ('epoch=3 loss=nan', None, {'epoch': 3, 'metric': 'nan'}),
        ('Epoch 3/10  val_loss: 0.2  val_acc: 0.91', 'val_acc', {'epoch': 3, 'metric': 0.91, 'val_loss': 0.2}),
        ('Epoch [3/10], Loss: 0.2', None, {'epoch': 3, 'metric': 0.2}),
        ('[epoch 3] acc=1', None, {'epoch': 3, 'metric': 1}),
        ('Train Epoch: 3 [640/60000 (1%)]\tLoss: 0.2', None, {'epoch': 3, 'metric': 0.2}),
    ],
)
def test_a_line_is_a_result(line: str, metric: str | None, expected: dict[str, Any]) -> None:
    (entry,) = found(f'something else\n{line}\n', metric)
    if expected['metric'] == 'nan':
        assert entry['metric'] != entry['metric']
    else:
        assert {name: entry[name] for name in expected} == expected


@pytest.mark.parametrize(
    ('line', 'metric'),
    [
        ('epoch=3', None),
        ('accuracy=0.91', None),
        ('epoch=3 accuracy=0.91', 'loss'),
        ('epoch=0.5 accuracy=0.91', None),
        ('epoch=3 accuracy=0.91 loss=1', None),
        ('epoch=3 accuracy=1.2.3', None),
        ('epoch=3a accuracy=1', None),
        ('epochs=3 accuracy=1', None),
        ('{"epoch": 3, "accuracy": ', None),
        ('[1, 2]', None),
        ('epoch=-1 accuracy=1', None),
        ('Epoch 3/10', None),
        ('Epoch 3a accuracy=1', None),
        ('Epoch 3.5 accuracy=1', None),
        ('epochs 3 accuracy=1', None),
    ],
)
def test_a_line_is_none(line: str, metric: str | None) -> None:
    assert found(line + '\n', metric) == []


def test_why_there_is_no_result() -> None:
    lines = Lines(None, None)
    assert 'no line of its output is like "epoch=9 accuracy=0.91"' in str(lines.problem(9))
    lines.feed(b'epoch=3 accuracy=0.91 loss=1\n')
    assert lines.problem(9) == 'no result: which of accuracy, loss is the metric? (--metric NAME)'
    lines.feed(b'epoch=3 accuracy=0.91\n')
    assert lines.problem(9) is None


def test_the_last_line_of_an_epoch_counts_and_known_epochs_do_not() -> None:
    text = 'epoch=1 loss=9\repoch=1 loss=8\repoch=2 loss=7\nepoch=2 loss=6\nepoch=3 loss=5'
    assert found(text) == [{'epoch': e, 'metric': m, 'loss': m} for e, m in ((1, 8), (2, 6), (3, 5))]
    assert found(text, previous_epoch=2) == [{'epoch': 3, 'metric': 5, 'loss': 5}]
    assert found('epoch=0 loss=9\nepoch=1 loss=8', first_epoch=0) == [
        {'epoch': 1, 'metric': 9, 'loss': 9},
        {'epoch': 2, 'metric': 8, 'loss': 8},
    ]


def test_a_pattern_reads_other_forms() -> None:
    pattern = r'Epoch (?P<epoch>\d+)\S* done .* acc (?P<metric>[\d.]+)'
    assert found('Epoch 3/10 done in 3 s, acc 0.91\nepoch=4 acc=1\n', None, pattern) == [{'epoch': 3, 'metric': 0.91}]
    assert found('Epoch 3/10 done in 3 s, acc 0.91', 'acc', pattern) == [{'epoch': 3, 'metric': 0.91}]


def test_a_file_of_results_takes_the_place_of_the_output() -> None:
    lines = Lines(None, None)
    lines.feed(b'epoch=1 loss=9\nepoch=2 loss=8\n')
    lines.replace(' \n')
    assert len(lines.entries(0, 1)) == 2
    lines.replace('{"epoch": 1, "metric": 0.5, "loss": 3, "note": "x"}\nepoch=2 metric=0.7\n')
    assert lines.entries(0, 1) == [{'epoch': 1, 'metric': 0.5, 'loss': 3, 'note': 'x'}, {'epoch': 2, 'metric': 0.7}]
    lines = Lines('accuracy', None)
    lines.replace('{"epoch": 1, "accuracy": 0.5, "metric": 3}')
    assert lines.entries(0, 1) == [{'epoch': 1, 'metric': 0.5}]


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_however_the_output_is_cut_into_blocks_it_says_the_same(blocks: list[bytes]) -> None:
    whole, parts = Lines(None, None), Lines(None, None)
    whole.feed(b''.join(blocks))
    for block in blocks:
        parts.feed(block)
    assert str(whole.entries(0, 1)) == str(parts.entries(0, 1))


@given(
    st.sampled_from(['epoch', 'Epoch']),
    st.integers(1, 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(['=', ': ', ' = ']),
    st.sampled_from([' ', ', ', '; ', '\t', ' | ']),
)
def test_any_epoch_and_number_are_read_as_python_writes_them(
    name: str, epoch: int, metric: float, equals: str, between: str
) -> None:
    line = f'{name}{equals}{epoch}{between}loss{equals}{metric!r}\n'
    assert found(line) == [{'epoch': epoch, 'metric': metric, 'loss': metric}]


@pytest.mark.parametrize('sizes', [[10], [MAX_LOG + 1], [1000] * 2000, [MAX_LOG * 3, 5], [1] * 100])
def test_a_log_keeps_its_beginning_and_its_end(sizes: list[int], tmp_path: Path) -> None:
    blocks = [bytes([33 + i % 90]) * (size - 1) + b'\n' for i, size in enumerate(sizes)]
    with BoundedLog(str(tmp_path / 'logs' / 'x.log')) as log:
        for block in blocks:
            log.write(block)
    written, kept = b''.join(blocks), (tmp_path / 'logs' / 'x.log').read_bytes()
    assert len(kept) <= MAX_LOG + max(sizes)
    assert kept == written or (kept[:1000] == written[:1000] and b'left out' in kept)
    assert kept[-1000:] == written[-1000:]
    assert written.decode().endswith(log.tail())
    assert log.last_lines(1) == blocks[-1].decode().rstrip('\n')[:500]


def test_a_log_that_cannot_be_written_is_remembered_all_the_same(tmp_path: Path) -> None:
    (tmp_path / 'logs').write_text('a file')
    with BoundedLog(str(tmp_path / 'logs' / 'x.log')) as log:
        log.write(b'one\ntwo\n')
    assert log.last_lines(5) == 'one\ntwo'


def test_a_log_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / 'mine').write_text('precious')
    (tmp_path / 'x.log').symlink_to(tmp_path / 'mine')
    with BoundedLog(str(tmp_path / 'x.log')) as log:
        log.write(b'one\n')
    assert (tmp_path / 'mine').read_text() == 'precious'
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'logs').symlink_to(tmp_path / 'elsewhere')
    with BoundedLog(str(tmp_path / 'logs' / 'x.log')) as log:
        log.write(b'one\n')
    assert list((tmp_path / 'elsewhere').iterdir()) == []
    assert log.last_lines(1) == 'one'


PYTHON = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    f()\n'
TORCHRUN = """[rank0]: Traceback (most recent call last):
[rank0]:   File "x.py", line 3, in <module>
[rank0]: ValueError: too small
W1128 torch/distributed/run.py] closing
Traceback (most recent call last):
  File "torchrun", line 8, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
====
x.py FAILED
"""


@pytest.mark.parametrize(
    ('output', 'line'),
    [
        (PYTHON + "ModuleNotFoundError: No module named 'x'\n", "ModuleNotFoundError: No module named 'x'"),
        (PYTHON + 'torch.OutOfMemoryError: CUDA out of memory. Tried\ncleaning up\nIOError: x\n', None),
        (TORCHRUN, 'ValueError: too small'),
        ('usage: x [-h]\nx.py: error: unrecognized arguments: --lrr\n', 'x.py: error: unrecognized arguments: --lrr'),
        ('one\ntwo\n\n', 'two'),
        ('', 'it printed nothing'),
        ('ValueErrors were found\nbye\n', 'bye'),
    ],
)
def test_the_telling_line(output: str, line: str | None) -> None:
    expected = 'torch.OutOfMemoryError: CUDA out of memory. Tried' if line is None else line
    assert telling_line('/home$ python x.py\n' + output) == expected


@pytest.mark.parametrize('kind', ['pipe', 'another name'])
def test_a_log_is_a_new_file(tmp_path: Path, kind: str) -> None:
    """In a run that was received something may lie there: a pipe, or another name of a file of ours."""
    path, mine = tmp_path / 'logs' / 'x.log', tmp_path / 'mine'
    mine.write_text('mine')
    path.parent.mkdir()
    os.mkfifo(path) if kind == 'pipe' else os.link(mine, path)
    with BoundedLog(str(path)) as log:
        log.write(b'x' * 100_000)  # more than a pipe takes
    assert path.read_bytes() == b'x' * 100_000
    assert mine.read_text() == 'mine'
