"""Every difference is named, among however many files."""

import os
from pathlib import Path

import pytest

from theriac.errors import UserError
from theriac.manifest import Mismatch, build, compare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b/c", "b/d", "e"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    return tmp_path / "d"


def test_nothing_differs(folder: Path) -> None:
    found = compare(build(folder), folder)
    assert not found
    assert found == Mismatch()


def test_every_difference_is_named(folder: Path) -> None:
    before = build(folder)
    (folder / "a").write_text("A")
    (folder / "b" / "c").unlink()
    (folder / "e").rename(folder / "b" / "é")
    found = compare(before, folder)
    assert found
    assert found == Mismatch(changed=("a",), missing=("b/c", "e"), added=("b/é",))


def test_an_emptied_folder_misses_everything(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert compare(build(folder), tmp_path / "empty").missing == ("a", "b/c", "b/d", "e")


def test_of_a_single_file_the_name_does_not_matter(folder: Path) -> None:
    before = build(folder / "a")
    (folder / "a").rename(folder / "renamed")
    assert not compare(before, folder / "renamed")
    (folder / "renamed").write_text("b")
    assert compare(before, folder / "renamed").changed == ("renamed",)


def test_a_file_and_a_folder_are_not_compared(folder: Path) -> None:
    for one, other in ((folder, folder / "a"), (folder / "a", folder)):
        with pytest.raises(UserError, match="manifest is of a"):
            compare(build(one), other)
    with pytest.raises(UserError, match="no such file or folder"):
        compare(build(folder), folder / "nowhere")


def test_one_changed_byte_in_one_of_100_000_files_is_named(tmp_path: Path) -> None:
    contents = os.urandom(300)
    for k in range(100):
        (tmp_path / f"{k:02}").mkdir()
        (tmp_path / f"{k:02}" / "000").write_bytes(contents)
        for i in range(1, 1000):
            if (k, i) != (57, 321):  # names of one file cost the disk nothing
                os.link(tmp_path / f"{k:02}" / "000", tmp_path / f"{k:02}" / f"{i:03}")
    (tmp_path / "57" / "321").write_bytes(contents)
    before = build(tmp_path)
    assert len(before.entries) == 100_000
    (tmp_path / "57" / "321").write_bytes(contents[:150] + bytes([contents[150] ^ 1]) + contents[151:])
    assert compare(before, tmp_path) == Mismatch(changed=("57/321",))
