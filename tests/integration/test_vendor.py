"""A vendored copy: whole, stamped, checked, and replaced only as long as nobody changed it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import hpo4dl
from hpo4dl import ArgumentError, HPO4DLError
from hpo4dl.tools import vendor as module
from hpo4dl.tools.vendor import vendor

ROOT = Path(__file__).parents[2]


def test_a_copy_that_sha256sum_checks(tmp_path: Path) -> None:
    said = vendor(tmp_path / 'third_party')
    copy = tmp_path / 'third_party' / 'hpo4dl'
    assert 'checked by tuning with it' in said
    assert (copy / 'VENDORED').read_text() == f'hpo4dl {hpo4dl.__version__}\n'
    assert (copy / 'LICENSE').read_text() == (ROOT / 'LICENSE').read_text()
    files = {p.relative_to(ROOT / 'hpo4dl') for p in (ROOT / 'hpo4dl').rglob('*') if '__pycache__' not in p.parts}
    added = {Path('VENDORED'), Path('LICENSE'), Path('SHA256SUMS')}
    assert {p.relative_to(copy) for p in copy.rglob('*')} == files | added
    subprocess.run(['sha256sum', '--check', '--strict', '--quiet', 'SHA256SUMS'], cwd=copy, check=True)


@pytest.fixture
def no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is not tuned with, which takes seconds and is tested above."""
    monkeypatch.setattr(module, 'CHECK', '')


@pytest.mark.usefixtures('no_check')
def test_a_changed_copy_is_kept(tmp_path: Path) -> None:
    copy = tmp_path / 'hpo4dl'
    vendor(tmp_path)
    (copy / '__pycache__').mkdir()
    (copy / '__pycache__' / 'gp.pyc').touch()
    vendor(tmp_path)  # an unchanged one is replaced
    for name, text in [('gp.py', '# mine'), ('mine.py', ''), ('VENDORED', 'hpo4dl 0.0.1')]:
        before = (copy / name).read_text() if (copy / name).exists() else None
        (copy / name).write_text(text)
        with pytest.raises(ArgumentError, match=name):
            vendor(tmp_path)
        assert (copy / name).read_text() == text
        if before is None:
            (copy / name).unlink()
        else:
            (copy / name).write_text(before)
    vendor(tmp_path)


def test_what_is_no_copy_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'hpo4dl').mkdir()
    (tmp_path / 'hpo4dl' / 'thesis.tex').touch()
    with pytest.raises(ArgumentError, match='no copy made by this command'):
        vendor(tmp_path)
    assert (tmp_path / 'hpo4dl' / 'thesis.tex').exists()
    with pytest.raises(ArgumentError, match='this very package'):
        vendor(ROOT)
    with pytest.raises(HPO4DLError, match='cannot be written'):
        vendor(Path('/dev/null/below'))


def test_a_copy_that_does_not_tune_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'CHECK', 'raise SystemExit("broken")')
    with pytest.raises(HPO4DLError, match='does not tune: broken'):
        vendor(tmp_path)
