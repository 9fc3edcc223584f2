"""Files: whole or absent, copied as they are, counted once."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

import pytest

from hpo4dl import StorageError
from hpo4dl.analysis.output import write_output
from hpo4dl.files import (
    copy_file,
    copy_tree,
    read_regular,
    remove_tree,
    replacing,
    swap,
    sync_tree,
    tree_size,
    write_text,
)


def test_a_file_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / 'sparse', 'wb') as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match='larger than'):
        read_regular(tmp_path / 'sparse')
    assert read_regular(tmp_path / 'sparse', 10) == bytes(10)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestWriting:
    def test_the_new_content_takes_the_place_of_the_old(self, tmp_path: Path) -> None:
        for text in ('old', 'new, größer', ''):
            write_text(tmp_path / 'file', text)
            assert (tmp_path / 'file').read_text(encoding='utf-8') == text
        assert names(tmp_path) == ['file']

    def test_what_utf_8_cannot_hold_is_escaped(self, tmp_path: Path) -> None:
        write_text(tmp_path / 'file', 'a\ud800b')
        assert (tmp_path / 'file').read_bytes() == b'a\\ud800b'

    @pytest.mark.parametrize('step', ['fsync', 'replace'])
    def test_what_the_system_refuses_leaves_the_old(self, tmp_path: Path, monkeypatch, step: str) -> None:
        def full(*arguments):
            raise OSError(errno.ENOSPC, 'No space left on device')

        (tmp_path / 'file').write_text('old')
        monkeypatch.setattr(os, step, full)
        with pytest.raises(StorageError, match=r'file: cannot be written: .*No space left'):
            write_text(tmp_path / 'file', 'new')
        assert (tmp_path / 'file').read_text() == 'old'
        assert names(tmp_path) == ['file']

    def test_a_reader_sees_the_old_until_the_block_ends(self, tmp_path: Path) -> None:
        (tmp_path / 'file').write_text('old')
        with replacing(tmp_path / 'file') as file:
            file.write(b'new')
            file.flush()
            assert (tmp_path / 'file').read_text() == 'old'
        assert (tmp_path / 'file').read_text() == 'new'

    def test_a_block_that_is_left_by_an_exception_changes_nothing(self, tmp_path: Path) -> None:
        def interrupted() -> None:
            with replacing(tmp_path / 'file') as file:
                file.write(b'new')
                raise KeyboardInterrupt

        (tmp_path / 'file').write_text('old')
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert (tmp_path / 'file').read_text() == 'old'
        assert names(tmp_path) == ['file']

    def test_a_link_is_replaced_and_not_written_through(self, tmp_path: Path) -> None:
        (tmp_path / 'mine').write_text('mine')
        (tmp_path / 'file').symlink_to(tmp_path / 'mine')
        write_text(tmp_path / 'file', 'new')
        assert (tmp_path / 'mine').read_text() == 'mine'
        assert not (tmp_path / 'file').is_symlink()
        assert (tmp_path / 'file').read_text() == 'new'


class TestCopies:
    @pytest.mark.skipif(not hasattr(os, 'copy_file_range'), reason='Linux')
    @pytest.mark.parametrize('way', ['in the kernel', 'refused', 'in pieces', 'stops'])
    def test_a_file_is_the_same_however_it_is_copied(self, tmp_path: Path, monkeypatch, way: str) -> None:
        def refused(*arguments):
            raise OSError(errno.EXDEV, 'Invalid cross-device link')

        def in_pieces(source, destination, count):
            return original(source, destination, min(count, 100_000))

        def stops(source, destination, count):
            return 0

        original = os.copy_file_range
        ways = {'in the kernel': original, 'refused': refused, 'in pieces': in_pieces, 'stops': stops}
        content = os.urandom(1_000_000)
        (tmp_path / 'a').write_bytes(content)
        (tmp_path / 'a').chmod(0o640)
        os.utime(tmp_path / 'a', ns=(10**18, 10**18 + 7))
        monkeypatch.setattr(os, 'copy_file_range', ways[way])
        copy_file(tmp_path / 'a', tmp_path / 'b')
        assert (tmp_path / 'b').read_bytes() == content
        old, new = (tmp_path / 'a').stat(), (tmp_path / 'b').stat()
        assert (new.st_mode, new.st_mtime_ns) == (old.st_mode, old.st_mtime_ns)

    @pytest.mark.parametrize('way', ['in the kernel', 'refused', 'no holes'])
    def test_holes_stay_holes(self, tmp_path: Path, monkeypatch, way: str) -> None:
        def refused(*arguments):
            raise OSError(errno.EXDEV, 'Invalid cross-device link')

        with open(tmp_path / 'a', 'wb') as file:
            for at in (0, 10**7, 3 * 10**7):
                file.seek(at)
                file.write(os.urandom(5000))
            file.truncate(10**8)
        with open(tmp_path / 'empty', 'wb') as file:
            file.truncate(10**6)
        if way == 'refused':
            monkeypatch.setattr(os, 'copy_file_range', refused, raising=False)
        if way == 'no holes':
            monkeypatch.delattr(os, 'SEEK_DATA', raising=False)
        for name in ('a', 'empty'):
            copy_file(tmp_path / name, tmp_path / 'b')
            assert (tmp_path / 'b').read_bytes() == (tmp_path / name).read_bytes()
            if way != 'no holes':
                assert (tmp_path / 'b').stat().st_blocks <= (tmp_path / name).stat().st_blocks + 64

    @pytest.mark.skipif(not hasattr(os, 'copy_file_range'), reason='Linux')
    def test_a_full_disk_is_not_tried_again(self, tmp_path: Path, monkeypatch) -> None:
        def full(*arguments):
            raise OSError(errno.ENOSPC, 'No space left on device')

        (tmp_path / 'a').write_text('a')
        monkeypatch.setattr(os, 'copy_file_range', full)
        with pytest.raises(OSError, match='No space left'):
            copy_file(tmp_path / 'a', tmp_path / 'b')

    def test_a_folder_with_links_and_pipes(self, tmp_path: Path) -> None:
        source = tmp_path / 'source'
        (source / 'below' / 'empty').mkdir(parents=True)
        (source / 'below' / 'file').write_text('content')
        (tmp_path / 'secret').write_text('secret')
        (source / 'link').symlink_to(tmp_path / 'secret')
        (source / 'dangling').symlink_to('/nowhere')
        (source / 'folder').symlink_to(tmp_path)
        os.mkfifo(source / 'pipe')
        source.chmod(0o700)
        copy = tmp_path / 'new' / 'copy'
        copy.parent.mkdir()
        copy_tree(source, copy)
        assert names(copy) == ['below', 'dangling', 'folder', 'link'], 'a pipe is left out'
        assert names(copy / 'below') == ['empty', 'file']
        assert (copy / 'below' / 'file').read_text() == 'content'
        leads = {name: os.readlink(copy / name) for name in ('dangling', 'folder', 'link')}
        assert leads == {name: os.readlink(source / name) for name in leads}
        assert copy.stat().st_mode & 0o777 == 0o700


class TestSizes:
    def test_files_count_and_links_and_folders_do_not(self, tmp_path: Path) -> None:
        (tmp_path / 'a' / 'b').mkdir(parents=True)
        (tmp_path / 'a' / 'b' / 'c').write_bytes(bytes(1234))
        (tmp_path / 'a' / 'd').write_bytes(bytes(66))
        assert tree_size(tmp_path / 'a') == 1300
        (tmp_path / 'a' / 'e').symlink_to(tmp_path)
        assert sync_tree(tmp_path / 'a') == 1300
        copy_tree(tmp_path / 'a', tmp_path / 'f')
        assert sync_tree(tmp_path / 'f') == 1300

    def test_what_is_not_there_has_none(self, tmp_path: Path) -> None:
        assert tree_size(tmp_path / 'nowhere') == 0


@pytest.mark.skipif(sys.platform != 'linux', reason='renameat2')
def test_folders_are_exchanged(tmp_path: Path) -> None:
    for name in 'ab':
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if swap(tmp_path / 'a', tmp_path / 'b'):
        assert names(tmp_path / 'a') == ['b']
        assert names(tmp_path / 'b') == ['a']
    assert not swap(tmp_path / 'a', tmp_path / 'nowhere')
    assert names(tmp_path) == ['a', 'b']


class TestRemoving:
    def test_folders_files_and_nothing(self, tmp_path: Path) -> None:
        (tmp_path / 'folder' / 'below').mkdir(parents=True)
        (tmp_path / 'folder' / 'below' / 'file').touch()
        (tmp_path / 'file').touch()
        for name in ('folder', 'file', 'nothing'):
            remove_tree(tmp_path / name)
        assert names(tmp_path) == []

    def test_where_a_link_leads_stays(self, tmp_path: Path) -> None:
        (tmp_path / 'mine').mkdir()
        (tmp_path / 'mine' / 'file').touch()
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run' / 'inner').symlink_to(tmp_path / 'mine')
        (tmp_path / 'outer').symlink_to(tmp_path / 'mine')
        remove_tree(tmp_path / 'run')
        remove_tree(tmp_path / 'outer')
        assert names(tmp_path) == ['mine']
        assert names(tmp_path / 'mine') == ['file']


def test_what_vanishes_while_a_folder_is_forced_to_the_disk_is_no_part_of_it(tmp_path: Path, monkeypatch) -> None:
    """Something that the objective function left still writes: `x.tmp`, then a rename."""
    (tmp_path / 'kept').write_text('12345')
    (tmp_path / 'below').mkdir()
    (tmp_path / 'below' / 'kept').write_text('123')
    walk = os.walk

    def with_ghosts(folder):
        for parent, folders, files in walk(folder):
            yield parent, folders, [*files, 'x.tmp']
        yield str(tmp_path / 'gone'), [], ['y.tmp']

    monkeypatch.setattr(os, 'walk', with_ghosts)
    assert sync_tree(tmp_path) == 8
    with pytest.raises(FileNotFoundError):
        sync_tree(tmp_path / 'gone')


@pytest.mark.parametrize('way', ['at once', 'one by one', 'broken'])
def test_many_files_are_forced_to_the_disk_at_once(tmp_path: Path, monkeypatch, way: str) -> None:
    """R19."""
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, 'fsync', lambda descriptor: (synced.append(descriptor), fsync(descriptor)))
    (tmp_path / 'below').mkdir()
    for n in range(300):
        (tmp_path / 'below' / str(n)).write_bytes(b'x' * 10)

    class Broken:
        def syncfs(self, descriptor: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    if way != 'at once':
        monkeypatch.setattr(ctypes, 'CDLL', lambda *arguments, **more: Broken() if way == 'broken' else object())
    if way == 'broken':
        with pytest.raises(OSError, match='error'):
            sync_tree(tmp_path)
        return
    assert sync_tree(tmp_path) == 3000
    assert len(synced) == (1 if way == 'at once' else 302)


def make_output(folder: Path, kind: str) -> Path:
    """Something that is named as an output, and cannot be one."""
    path = folder / 'output'
    if kind == 'pipe that nobody reads':
        os.mkfifo(path)
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'loop':
        path.symlink_to(path)
    elif kind == 'link to nowhere':
        path.symlink_to(folder / 'nowhere' / 'x')
    elif kind == 'too long':
        path = folder / ('x' * 300)
    else:
        path = Path({'full': '/dev/full', 'nul': 'x\0y'}[kind])
    return path


KINDS = ['pipe that nobody reads', 'folder', 'loop', 'link to nowhere', 'too long', 'full', 'nul']


@pytest.mark.parametrize('kind', KINDS)
def test_where_no_output_can_be_written_is_one_error_and_no_wait(tmp_path: Path, kind: str) -> None:
    with pytest.raises(StorageError, match='cannot be written'):
        write_output(make_output(tmp_path, kind), b'x')


def test_an_output_goes_where_the_user_said(tmp_path: Path) -> None:
    """Through a link, into a pipe, and not in the place of a device."""
    (tmp_path / 'link').symlink_to(tmp_path / 'file')
    write_output(tmp_path / 'link', b'long')
    write_output(tmp_path / 'link', b'x')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'file').read_bytes() == b'x'
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    write_output(tmp_path / 'pipe', b'read')
    assert os.read(reader, 10) == b'read'
    os.close(reader)
    write_output(Path('/dev/null'), b'x')
    assert not os.path.isfile('/dev/null')
