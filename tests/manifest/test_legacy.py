"""The old hash equals what the old shell pipeline gives; only this test runs that pipeline."""

import os
import subprocess
from pathlib import Path

import pytest

from theriac.errors import UserError
from theriac.manifest import legacy_directory_hash

NAMES = ["b", "a c", "a/b", "a.b", "a-1", "é", "Z", "sub/deep er/x", "back\\slash", "new\nline", "car\rriage", "tab\t"]
NAMES += ["quote'", 'double"', "$(touch pwned)", "`id`", "; ls", "-n"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        (tmp_path / "my data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my data" / name).write_text(f"{name} {len(name) % 3}")
    (tmp_path / "my data" / "twin").write_text("b 1")
    (tmp_path / "my data" / "link").symlink_to("/etc/hostname")
    (tmp_path / "my data" / "nothing").mkdir()
    os.mkfifo(tmp_path / "my data" / "pipe")
    return tmp_path / "my data"


def pipeline(typed: str) -> str:
    script = 'find "$1" -type f -exec sha256sum {} + | sort | sha256sum'
    run = ["sh", "-c", script, "sh", typed]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"})
    return done.stdout.split()[0]


@pytest.mark.parametrize(
    "typed", ["my data", "./my data", "my data/", "my data//", "../{}/my data", "{absolute}", ".", "my data/b"]
)
def test_equals_the_pipeline(typed: str, folder: Path) -> None:
    typed = typed.format(folder.parent.name, absolute=folder)
    assert legacy_directory_hash(Path(typed), typed) == pipeline(typed)
    assert not (folder.parent / "pwned").exists()


def test_it_depends_on_the_path_as_typed(folder: Path) -> None:
    assert legacy_directory_hash(folder, "my data") != legacy_directory_hash(folder, "./my data")


def test_the_scheme_is_no_part_of_it(folder: Path) -> None:
    assert legacy_directory_hash(folder, f"file://{folder}") == pipeline(str(folder))


def test_nothing_to_hash_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty"):  # the reference claims the hash of no bytes, which fits any such
        legacy_directory_hash(tmp_path, str(tmp_path))
