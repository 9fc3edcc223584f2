"""What an ordinary user cannot remove at once: a read-only folder in a checkpoint. Tests may run as root, who can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpo4dl.files import remove_tree

NOBODY = 65534


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become an ordinary user')
@pytest.mark.parametrize('mode', [0o555, 0o000, 0o100])
def test_read_only_folders_are_removed_and_what_links_lead_to_is_left(tmp_path: Path, mode: int) -> None:
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == os.getuid() and folder != folder.parent and 'pytest' in str(folder):
            folder.chmod(0o755)
    (tmp_path / 'mine').mkdir(mode=0o755)
    os.chown(tmp_path / 'mine', NOBODY, NOBODY)
    child = os.fork()
    if child == 0:  # as an ordinary user, to the end
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            tree, outside = tmp_path / 'mine' / 'tree', tmp_path / 'mine' / 'outside'
            (tree / 'snapshot' / 'inner').mkdir(parents=True)
            (tree / 'snapshot' / 'inner' / 'weights').write_text('')
            outside.mkdir(mode=0o500)
            (tree / 'snapshot' / 'link').symlink_to(outside)
            (tree / 'snapshot' / 'inner').chmod(mode)
            (tree / 'snapshot').chmod(mode)
            remove_tree(tree)
            code = 0 if not tree.exists() and outside.stat().st_mode & 0o777 == 0o500 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
