"""Whose a folder is: identities, marks, and every case of a claim."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from hpo4dl import JournalError, StorageError
from hpo4dl.records import identity as module
from hpo4dl.records.identity import (
    MARK,
    Identity,
    claim,
    is_name,
    is_original,
    make_marked,
    mark,
    read_identity,
    write_identity,
)


def run_in(folder: Path, identity: Identity | None) -> Path:
    """A run's folder with settings alone."""
    folder.mkdir(parents=True)
    known = {} if identity is None else {'identity': asdict(identity)}
    (folder / 'settings.json').write_text(json.dumps({'settings': {'seed': 1}, **known}))
    return folder


def test_a_new_identity_is_random_and_survives_the_disk(tmp_path: Path) -> None:
    one, other = Identity.new('r'), Identity.new('r')
    assert one.run != other.run
    assert len(one.run) == 32
    assert read_identity(run_in(tmp_path / 'run', one)) == one
    write_identity(tmp_path / 'run', other)
    assert read_identity(tmp_path / 'run') == other
    assert json.loads((tmp_path / 'run' / 'settings.json').read_text())['settings'] == {'seed': 1}


def test_a_run_without_identity_has_none(tmp_path: Path) -> None:
    assert read_identity(run_in(tmp_path / 'run', None)) is None


@pytest.mark.parametrize(
    'identity',
    [
        {'run': 'x' * 32, 'name': 'r'},
        {'run': 'a' * 31, 'name': 'r'},
        {'run': 'a' * 32 + '\n', 'name': 'r'},
        {'run': 7, 'name': 'r'},
        {'run': 'a' * 32, 'name': '../r'},
        {'run': 'a' * 32, 'name': None},
        {'run': 'a' * 32},
        {'run': 'a' * 32, 'name': 'r', 'more': 1},
        [],
        'a',
    ],
)
def test_an_identity_that_is_none_of_ours_is_refused(tmp_path: Path, identity: object) -> None:
    tmp_path.joinpath('settings.json').write_text(json.dumps({'identity': identity}))
    with pytest.raises(JournalError, match=r'settings\.json'):
        read_identity(tmp_path)


@pytest.mark.parametrize('text', ['', '[', '[]', '7', '\xff'])
def test_settings_that_cannot_be_read_are_refused(tmp_path: Path, text: str) -> None:
    tmp_path.joinpath('settings.json').write_text(text, encoding='latin-1')
    with pytest.raises(JournalError, match=r'settings\.json'):
        read_identity(tmp_path)


@pytest.mark.parametrize(
    ('name', 'is_one'),
    [
        ('experiment_1', True),
        ('the one', True),
        ('größe', True),
        ('...', True),
        ('', False),
        ('.', False),
        ('..', False),
        ('a/b', False),
        ('/a', False),
        ('a/', False),
        ('a/..', False),
        ('a\0b', False),
        (None, False),
        (3, False),
    ],
)
def test_the_name_of_one_folder(name: object, is_one: bool) -> None:
    assert is_name(name) == is_one


def test_where_checkpoints_lie(tmp_path: Path) -> None:
    identity = Identity('a' * 32, 'named')
    assert identity.checkpoint_folder(tmp_path / 'run', None) == tmp_path / 'run' / 'checkpoints'
    assert identity.checkpoint_folder(tmp_path / 'run', str(tmp_path / 'disk')) == tmp_path / 'disk' / 'named'
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'checkpoints').symlink_to(tmp_path)
    with pytest.raises(StorageError, match='symbolic link'):
        identity.checkpoint_folder(tmp_path / 'run', None)


class Place:
    """A run and the folder of its checkpoints, on another disk."""

    def __init__(self, tmp_path: Path) -> None:
        self.identity = Identity.new('run')
        self.run = run_in(tmp_path / 'run', self.identity)
        self.folder = tmp_path / 'disk' / 'run'
        make_marked(self.folder, self.identity, self.run)

    @property
    def mark(self) -> list[str]:
        return (self.folder / MARK).read_text().splitlines()


def test_its_own_folder_is_claimed_and_left_as_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path)
    before = (place.folder / MARK).stat().st_mtime_ns, place.mark
    assert place.mark == [place.identity.run, str(place.run)]
    assert claim(place.folder, place.identity, place.run) is None
    assert ((place.folder / MARK).stat().st_mtime_ns, place.mark) == before


def test_a_folder_that_is_not_there_is_claimed_and_not_made(tmp_path: Path) -> None:
    assert claim(tmp_path / 'gone', Identity.new('r'), tmp_path) is None
    assert not (tmp_path / 'gone').exists()


@pytest.mark.parametrize('content', [None, '', 'another', '\xff\xfe'])
def test_a_folder_without_the_mark_is_refused_and_left_as_it_is(tmp_path: Path, content: str | None) -> None:
    place = Place(tmp_path)
    if content is None:
        (place.folder / MARK).unlink()
    else:
        (place.folder / MARK).write_text(content, encoding='latin-1')
    with pytest.raises(StorageError, match=f'echo {place.identity.run} > ') as raised:
        claim(place.folder, place.identity, place.run)
    assert ('another run' in str(raised.value)) == bool(content)
    assert (place.folder / MARK).exists() == (content is not None)
    assert content is None or (place.folder / MARK).read_text(encoding='latin-1') == content


def test_what_the_refusal_tells_to_type_helps(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.folder / MARK).write_text(f'{place.identity.run}\n')
    assert claim(place.folder, place.identity, place.run) is None
    assert place.mark == [place.identity.run, str(place.run)]


def test_a_link_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / 'link').symlink_to(place.folder)
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere')
    for link in ('link', 'dangling'):
        with pytest.raises(StorageError, match='symbolic link'):
            claim(tmp_path / link, place.identity, place.run)


def test_a_run_that_was_moved_takes_its_checkpoints_along(tmp_path: Path) -> None:
    place = Place(tmp_path)
    moved = place.run.rename(tmp_path / 'moved')
    assert claim(place.folder, place.identity, moved) is None
    assert place.mark == [place.identity.run, str(moved)]


def test_a_run_that_was_copied_learns_of_its_original(tmp_path: Path) -> None:
    place = Place(tmp_path)
    copy = run_in(tmp_path / 'copy', place.identity)
    assert claim(place.folder, place.identity, copy) == place.run
    assert place.mark == [place.identity.run, str(place.run)]  # it stays the original's
    write_identity(place.run, Identity.new('run'))  # what lies there now is another run
    assert claim(place.folder, place.identity, copy) is None
    assert place.mark == [place.identity.run, str(copy)]


def test_checkpoints_inside_of_a_copy_are_its_own(tmp_path: Path) -> None:
    identity = Identity.new('run')
    original, copy = run_in(tmp_path / 'run', identity), run_in(tmp_path / 'copy', identity)
    make_marked(copy / 'checkpoints', identity, original)  # copied with the mark
    assert claim(copy / 'checkpoints', identity, copy) is None
    assert (copy / 'checkpoints' / MARK).read_text().splitlines() == [identity.run, str(copy)]


def test_an_original_is_the_same_run_elsewhere(tmp_path: Path) -> None:
    identity = Identity.new('run')
    one, copy = run_in(tmp_path / 'one', identity), run_in(tmp_path / 'copy', identity)
    other = run_in(tmp_path / 'other', Identity.new('run'))
    (tmp_path / 'link').symlink_to(one)
    assert is_original(copy, identity, one)
    assert not is_original(one, identity, one)
    assert not is_original(tmp_path / 'link', identity, one)
    assert not is_original(other, identity, one)
    assert not is_original(tmp_path / 'gone', identity, one)
    assert not is_original(run_in(tmp_path / 'old', None), identity, one)


def test_a_marked_folder_is_made_once(tmp_path: Path) -> None:
    identity, run = Identity.new('r'), tmp_path / 'run'
    half = tmp_path / 'deep' / '.folder.0123456789abcdef.new'
    half.mkdir(parents=True)  # what a kill left of an earlier try
    make_marked(tmp_path / 'deep' / 'folder', identity, run)
    assert (tmp_path / 'deep' / 'folder' / MARK).read_text() == f'{identity.run}\n{run}\n'
    (tmp_path / 'deep' / 'folder' / 'weights').touch()
    make_marked(tmp_path / 'deep' / 'folder', Identity.new('other'), run)
    assert (tmp_path / 'deep' / 'folder' / MARK).read_text() == f'{identity.run}\n{run}\n'
    assert set(os.listdir(tmp_path / 'deep')) == {'folder', half.name}


def test_a_marked_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='cannot be made'):
        make_marked(tmp_path / 'file' / 'folder', Identity.new('r'), tmp_path)

    def kill(folder: Path, identity: Identity, run_folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'mark', kill)
    with pytest.raises(KeyboardInterrupt):
        make_marked(tmp_path / 'folder', Identity.new('r'), tmp_path)
    assert not (tmp_path / 'folder').exists()  # with its mark, or not at all


def test_a_mark_replaces_the_one_before(tmp_path: Path) -> None:
    for identity in (Identity.new('a'), Identity.new('b')):
        mark(tmp_path, identity, tmp_path / 'run')
        assert (tmp_path / MARK).read_text() == f'{identity.run}\n{tmp_path / "run"}\n'
    assert os.listdir(tmp_path) == [MARK]
