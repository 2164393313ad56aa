"""``theriac hash`` as a user meets it: what it prints, its exit status, and what it leaves behind."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from theriac.cli import run
from theriac.manifest import build, legacy_directory_hash, oms_root_digest, read_manifest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b/c d", "b/\x1b[31m"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    return tmp_path / "d"


def output(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert run(["hash", *arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_prints_the_digests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = build(folder)
    expected = {"root": manifest.root, "files": 3, "bytes": manifest.total, "oms": oms_root_digest(manifest)}
    assert output(capsys, "d") == expected | {"manifest": None}
    assert run(["hash", "d"]) == 0
    printed = capsys.readouterr().out
    assert all(str(value) in printed for value in expected.values())


def test_of_a_file_it_is_what_everybody_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "d/a")["root"] == f"sha256:{hashlib.sha256(b'a').hexdigest()}"


def test_writes_a_manifest_and_finds_what_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "d", "--out", "m.jsonl")["manifest"] == "m.jsonl"
    assert read_manifest(Path("m.jsonl")) == build(folder)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["d", "m.jsonl"]
    assert output(capsys, "d", "--against", "m.jsonl")["equal"] is True
    assert run(["hash", "d", "--against", "m.jsonl"]) == 0
    assert "equal: 3 files" in capsys.readouterr().out
    (folder / "a").write_text("A")
    (folder / "b" / "c d").rename(folder / "new")
    (folder / "b" / "\x1b[31m").unlink()
    found = output(capsys, "d", "--against", "m.jsonl", "--workers", "1", status=1)
    assert (found["changed"], found["missing"], found["added"]) == (["a"], ["b/\x1b[31m", "b/c d"], ["new"])
    assert run(["hash", "d", "--against", "m.jsonl"]) == 1
    printed = capsys.readouterr().out
    assert "changed  a\n" in printed
    assert "missing  b/c d\n" in printed
    assert "DIFFERENT: 1 changed, 2 missing, 1 added" in printed
    assert "\x1b" not in printed


def test_links(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "link").symlink_to("a")
    assert run(["hash", "d"]) == 2
    assert "d/link: is a symbolic link" in capsys.readouterr().err
    assert output(capsys, "d", "--symlinks", "follow-inside")["files"] == 4


def test_copies_are_named_and_contradicting_labels_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train/cat/1", "train/dog/2", "train/cat/\x1b[31m", "test/dog/3", "test/bird/4"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("bird" if "bird" in name else "same")
    assert run(["hash", "train", "--duplicates"]) == 1
    printed = capsys.readouterr().out
    assert "same bytes, conflicting labels: cat, dog\n" in printed
    assert "  cat/1\n" in printed
    assert "DUPLICATES: 1 group of files with the same bytes, 1 with conflicting labels, among 3 files\n" in printed
    assert "\x1b" not in printed
    assert run(["hash", "train", "--overlap", "test"]) == 1
    printed = capsys.readouterr().out
    assert "  train: cat/1\n" in printed
    assert "  test: dog/3\n" in printed
    assert "bird" not in printed
    found = output(capsys, "train", "--overlap", "test", status=1)
    assert (found["conflicting"], found["files"], found["empty"]) == (1, [3, 2], 0)
    assert found["repeats"][0] | {"sha256": "", "size": 0} == {
        "sha256": "",
        "size": 0,
        "here": ["cat/\x1b[31m", "cat/1", "dog/2"],
        "there": ["dog/3"],
        "labels": ["cat", "dog"],
    }
    for name in ("train", "test"):  # manifests will do, in any place
        assert run(["hash", name, "--out", f"{name}.manifest"]) == 0
    capsys.readouterr()
    for one in ("train", "train.manifest"):
        for other in ("test", "test.manifest"):
            assert output(capsys, one, "--overlap", other, status=1) == found
    (folder.parent / "test" / "dog" / "3").unlink()
    assert output(capsys, "train", "--overlap", "test")["repeats"] == []
    assert output(capsys, "test", "--duplicates")["repeats"] == []
    assert run(["hash", "test", "--duplicates"]) == 0
    assert capsys.readouterr().out == "no duplicates among 1 files\n"


def test_legacy_says_that_it_is_weak(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for typed in ("d", "./d/", f"file://{folder}"):
        assert run(["hash", typed, "--legacy"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(legacy_directory_hash(folder, typed) + "\n")
        assert "WEAK" in printed
    assert output(capsys, "./d/", "--legacy") == {
        "legacy": legacy_directory_hash(folder, "./d/"),
        "as_typed": "./d/",
        "weak": True,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["empty"],
        ["empty", "--out", "m"],
        ["d", "--against", "nowhere"],
        ["d", "--against", "d/a"],
        ["d", "--signature", "d/a"],
        ["d", "--out", "d/m"],
        ["d", "--out", "m", "--legacy"],
        ["d", "--workers", "0"],
        ["d", "--duplicates", "--overlap", "d"],
        ["d", "--overlap", "empty"],
        ["d", "--overlap", "nowhere"],
        ["d", "--symlinks", "follow"],
        ["nowhere", "--legacy"],
    ],
)
def test_bad_input_is_one_line(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert run(["hash", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("theriac: ")
    assert shown.err.count("\n") == 1
    assert sorted(p.name for p in folder.parent.iterdir()) == ["d", "empty"]


def test_torch_is_not_imported(folder: Path) -> None:
    code = "import sys; from theriac.cli import run; run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "hash", "d"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
