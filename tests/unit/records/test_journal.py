"""The journal: lines that are whole or named, torn ends that are mended, and writes that fail without a trace."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo4dl import JournalError, StorageError
from hpo4dl.records import journal as module
from hpo4dl.records.events import NUMBERS
from hpo4dl.records.journal import SCHEMA, Journal, decode_line, encode_line, parse_line

FIRST = {'event': 'run', 'schema': SCHEMA, 'run': 'r'}
START = {'event': 'start', 'attempt': 0, 'trial': 0, 'previous_epoch': 0, 'epoch': 1}


def written(folder: Path, *events: dict[str, Any]) -> Journal:
    journal = Journal(folder)
    journal.path.write_bytes(b''.join(map(encode_line, events)))
    return journal


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8)
json_values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=4), scalars, max_size=2)
keys = st.text(min_size=1, max_size=8).filter(lambda key: key != 'crc')


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(keys, json_values, min_size=1, max_size=3))
def test_a_line_is_read_as_it_was_written_and_any_json_reader_reads_it(event: dict[str, Any]) -> None:
    line = encode_line(event)
    assert parse_line(line) == event
    assert line.count(b'\n') == 1
    assert line.isascii()
    read = json.loads(line)
    crc = read.pop('crc')
    assert read == event
    assert int(crc, 16) == zlib.crc32(line[: line.rindex(b', "crc"')])


def test_a_line_does_not_depend_on_what_the_objective_did_to_json(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = encode_line(START)
    monkeypatch.setattr(json.JSONEncoder, 'item_separator', ';')
    monkeypatch.setattr(json.JSONEncoder, 'key_separator', '=')
    assert encode_line(START) == usual
    for name in ('dumps', 'loads'):
        monkeypatch.setattr(json, name, lambda *arguments, **keywords: b'{}')
    assert encode_line(START) == usual
    assert parse_line(usual) == START


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_byte_that_changed_is_noticed(data: st.DataObject) -> None:
    line = bytearray(encode_line({**START, 'configuration': {'x': 0.125, 'name': 'é'}}))
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= data.draw(st.integers(1, 255))
    assert decode_line(bytes(line)) is None


@pytest.mark.parametrize('line', [b'', b'\n', b'{}\n', b'{"event": "run"}\n', b'\xff\n', b'"crc": "00000000"}\n'])
def test_what_is_no_line_of_ours(line: bytes) -> None:
    assert decode_line(line) is None


def test_a_line_without_an_end_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'LONGEST', 1000)
    journal = written(tmp_path, FIRST)
    with journal.path.open('ab') as file:
        file.truncate(2**40)
    for read in (lambda: list(journal), journal.truncate_torn_tail):
        with pytest.raises(JournalError, match=r'line 2: damaged \(longer than'):
            read()


def test_nan_is_never_written(tmp_path: Path) -> None:
    journal = written(tmp_path, FIRST)
    before = journal.path.read_bytes()
    with pytest.raises(ValueError, match='JSON'):
        journal.append({'event': 'x', 'metric': float('nan')})
    assert journal.path.read_bytes() == before


def test_lines_are_appended_with_their_time_and_read_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, 'time', iter([1.5, 2.5, 3.5]).__next__)
    journal = Journal(tmp_path)
    journal.begin(FIRST)
    given_event = dict(START)
    assert journal.append(given_event, sync=False) == {**START, 'time': 2.5}
    assert given_event == START
    journal.append({'event': 'stop', 'reason': 'é\n'})
    assert list(Journal(tmp_path)) == [
        {**FIRST, 'time': 1.5},
        {**START, 'time': 2.5},
        {'event': 'stop', 'reason': 'é\n', 'time': 3.5},
    ]
    assert str(journal) == str(tmp_path / 'journal.jsonl')


@pytest.mark.parametrize('sync', [True, False])
def test_a_result_is_on_the_disk_when_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    journal, sizes = written(tmp_path, FIRST), []
    monkeypatch.setattr(module.os, 'fsync', lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    journal.append(START, sync)
    assert sizes == ([journal.path.stat().st_size] if sync else [])


@pytest.mark.parametrize('failing', ['write', 'fsync', 'half'])
def test_a_write_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    journal = written(tmp_path, FIRST)
    before = journal.path.read_bytes()
    write, writes = os.write, 0

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, 'no space left')

    def half(descriptor: int, content: bytes) -> int:
        nonlocal writes
        writes += 1
        if writes > 1:
            raise OSError(errno.ENOSPC, 'no space left')
        return write(descriptor, content[: len(content) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(module.os, 'write' if failing == 'half' else failing, half if failing == 'half' else refuse)
        with pytest.raises(StorageError, match='no space left'):
            journal.append(START)
    assert journal.path.read_bytes() == before
    journal.append(START)
    assert [event['event'] for event in journal] == ['run', 'start']


def test_a_part_that_cannot_even_be_cut_off_is_cut_off_by_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written(tmp_path, FIRST)

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EIO, 'broken')

    with monkeypatch.context() as patch:
        patch.setattr(module.os, 'fsync', refuse)
        patch.setattr(module.os, 'ftruncate', refuse)
        with pytest.raises(StorageError):
            journal.append(START)
    journal.append({'event': 'stop', 'reason': 'x'})
    assert [event['event'] for event in journal] == ['run', 'stop']


def test_a_write_in_pieces_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, write = written(tmp_path, FIRST), os.write
    with monkeypatch.context() as patch:
        patch.setattr(module.os, 'write', lambda descriptor, content: write(descriptor, content[:7]))
        journal.append(START)
    assert [event['event'] for event in journal] == ['run', 'start']


def test_nothing_is_written_through_a_link_nor_where_there_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Journal(tmp_path).append(START)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / 'elsewhere').mkdir()
    elsewhere = written(tmp_path / 'elsewhere', FIRST)
    (tmp_path / 'journal.jsonl').symlink_to(elsewhere.path)
    with pytest.raises(StorageError):
        Journal(tmp_path).append(START)
    with pytest.raises(JournalError, match='symbolic link'):
        Journal(tmp_path).truncate_torn_tail()
    assert list(elsewhere) == [FIRST]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**30))
def test_a_torn_last_line_is_passed_over_and_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Killed at any byte of the last line."""
    folder = tmp_path_factory.mktemp('run')
    journal = written(folder, FIRST, START, {'event': 'stop', 'reason': 'x'})
    last = encode_line({'event': 'stop', 'reason': 'x'})
    cut %= len(last)  # 0: all but the newline is there
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[: -1 - cut])
    kept = [FIRST, START] + ([{'event': 'stop', 'reason': 'x'}] if cut == 0 else [])
    assert list(journal) == kept
    assert journal.path.read_bytes() == content[: -1 - cut]  # reading changes nothing
    journal.truncate_torn_tail()
    assert journal.path.read_bytes() == b''.join(map(encode_line, kept))
    journal.append({'event': 'evict', 'trial': 3})
    assert [event['event'] for event in journal] == [event['event'] for event in kept] + ['evict']


def test_a_torn_end_that_cannot_be_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written(tmp_path, FIRST, START)
    torn = journal.path.read_bytes()[:-9]
    journal.path.write_bytes(torn)

    real = module.os.open

    def refuse(path: Any, flags: int, *more: Any) -> int:
        if flags & (module.os.O_WRONLY | module.os.O_RDWR):
            raise OSError(errno.EROFS, 'read-only')
        return real(path, flags, *more)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, 'open', refuse)
        with pytest.raises(StorageError, match='cannot be mended'):
            journal.truncate_torn_tail()
    assert journal.path.read_bytes() == torn


def test_a_whole_journal_is_not_touched(tmp_path: Path) -> None:
    journal = written(tmp_path, FIRST, START)
    before = journal.path.stat().st_mtime_ns
    journal.truncate_torn_tail()
    assert journal.path.stat().st_mtime_ns == before


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    journal = written(tmp_path, FIRST, START, START)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[1].replace(b'epoch', b'epoxy') + lines[2])
    for act in (lambda: list(journal), lambda: next(iter(journal)) and list(journal)):
        with pytest.raises(JournalError, match=r'journal\.jsonl, line 2: damaged'):
            act()


@pytest.mark.parametrize('content', [None, b'', b'{"event": "run"'])
def test_what_is_no_journal(tmp_path: Path, content: bytes | None) -> None:
    journal = Journal(tmp_path)
    if content is not None:
        journal.path.write_bytes(content)
    with pytest.raises(JournalError, match=r'journal\.jsonl'):
        journal.truncate_torn_tail()
    assert content is None or journal.path.read_bytes() == content


@pytest.mark.parametrize('first', [{**FIRST, 'schema': 99}, {**FIRST, 'schema': None}, {'event': 'run'}, START])
def test_the_first_line_must_be_of_a_schema_that_we_read(tmp_path: Path, first: dict[str, Any]) -> None:
    with pytest.raises(JournalError, match='schema'):
        list(written(tmp_path, first))


def test_a_journal_of_schema_1_is_read(tmp_path: Path) -> None:
    assert list(written(tmp_path, {**FIRST, 'schema': 1})) == [{**FIRST, 'schema': 1}]


@pytest.mark.parametrize('value', [-1, 1.0, True, '1', None, '../..', [1]])
@pytest.mark.parametrize(('kind', 'key'), [(kind, key) for kind, keys in NUMBERS.items() for key in keys])
def test_numbers_that_become_paths_and_decisions_are_checked(
    tmp_path: Path, kind: str, key: str, value: object
) -> None:
    good = {'event': kind, **dict.fromkeys(NUMBERS[kind], 1)}
    assert list(written(tmp_path, FIRST, good)) == [FIRST, good]
    for bad in ({**good, key: value}, {k: v for k, v in good.items() if k != key}):
        with pytest.raises(JournalError, match=f'line 2: .*{key}'):
            list(written(tmp_path, FIRST, bad))


@pytest.mark.parametrize('torn', [False, True])
def test_a_journal_that_has_another_name_is_written_to_under_its_own_alone(tmp_path: Path, torn: bool) -> None:
    """A copy of a run that was made of hard links, as backups are, or a link to somebody else's run."""
    journal = written(tmp_path, FIRST, START)
    if torn:
        journal.path.write_bytes(journal.path.read_bytes() + b'{"event": "res')
    other = tmp_path / 'backup'
    os.link(journal.path, other)
    before = other.read_bytes()
    journal.take(lambda: None, anew=False)
    journal.append({'event': 'resume'})
    journal.close()
    assert other.read_bytes() == before
    assert [event['event'] for event in journal] == ['run', 'start', 'resume']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['backup', 'journal.jsonl']


def test_what_is_no_journal_and_has_another_name_is_left(tmp_path: Path) -> None:
    (tmp_path / 'other').write_text('mine')
    os.link(tmp_path / 'other', tmp_path / 'journal.jsonl')
    with pytest.raises(JournalError):
        Journal(tmp_path).take(lambda: None, anew=True)
    assert os.path.samefile(tmp_path / 'other', tmp_path / 'journal.jsonl')
    assert (tmp_path / 'other').read_text() == 'mine'


@pytest.mark.skipif(os.name != 'posix', reason='needs fcntl')
@pytest.mark.parametrize('anew', [False, True])
def test_what_libraries_write_to_a_closed_stderr_comes_into_no_journal(tmp_path: Path, anew: bool) -> None:
    """A daemon's stdout and stderr are closed, and what is opened next gets their numbers."""
    journal = written(tmp_path, FIRST, START)
    kept = os.dup(2)
    try:
        os.close(2)
        journal.take(lambda: None, anew)
        with pytest.raises(OSError, match='Bad file'):
            os.write(2, b'a warning')
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    journal.append({'event': 'resume'})
    journal.close()
    assert len(list(journal)) == 3


def test_a_clock_before_1970_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = written(tmp_path, FIRST, START)
    monkeypatch.setattr(module.time, 'time', lambda: -1e9)
    assert journal.append({'event': 'resume'})['time'] == 0
    assert len(list(journal)) == 3
