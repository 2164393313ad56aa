"""The root is defined to the byte, and a manifest from a stranger is taken only if it is exactly what we write."""

import hashlib
import json
from pathlib import Path

import pytest

from theriac.errors import UserError
from theriac.manifest import Entry, Manifest, merkle_root, read_manifest, write_manifest
from theriac.manifest.record import unsafe_path

X = hashlib.sha256(b"x").hexdigest()
SOUND = Manifest((Entry("a", 1, X), Entry("b/c d", 0, X), Entry("é\n", 7, X)))


def written(tmp_path: Path, manifest: Manifest = SOUND) -> Path:
    write_manifest(manifest, tmp_path / "m.jsonl")
    return tmp_path / "m.jsonl"


def forged(tmp_path: Path, *entries: tuple[object, object, object], **header: object) -> Path:
    """Writes entries that no manifest holds, with an honest header about them as far as there is one."""
    try:
        root = f"sha256-merkle:{merkle_root(entries)}"  # type: ignore[arg-type]
        total = sum(size for _, size, _ in entries)  # type: ignore[misc]
    except Exception:
        root, total = "sha256-merkle:" + X, 0
    about = {"format": "theriac-manifest", "version": 1, "kind": "folder", "files": len(entries), "bytes": total}
    lines = [about | {"root": root} | header, *({"path": p, "size": s, "sha256": d} for p, s, d in entries)]
    path = tmp_path / "forged.jsonl"
    path.write_text("".join(json.dumps(x, ensure_ascii=False, separators=(",", ":")) + "\n" for x in lines))
    return path


def test_merkle_root_by_hand() -> None:
    leaves = [hashlib.sha256(b"\0" + n + b"\0" + b"1" + b"\0" + bytes.fromhex(X)).digest() for n in (b"a", b"b", b"c")]
    pair = hashlib.sha256(b"\1" + leaves[0] + leaves[1]).digest()
    assert merkle_root([(n, 1, X) for n in "abc"]) == hashlib.sha256(b"\1" + pair + leaves[2]).hexdigest()


def test_no_file_can_pass_for_an_inner_node() -> None:
    two = merkle_root([("a", 1, X), ("b", 1, X)])
    assert two not in {merkle_root([(name, size, X)]) for name in ("a", "b") for size in (1, 2)}


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read_manifest(path) == SOUND
    header = json.loads(path.read_text().splitlines()[0])
    assert header["root"] == SOUND.root == f"sha256-merkle:{merkle_root(SOUND.entries)}"
    assert (header["files"], header["bytes"]) == (3, SOUND.total) == (3, 8)


def test_of_a_single_file_the_root_is_its_digest(tmp_path: Path) -> None:
    single = Manifest((Entry("model.safetensors", 1, X),), single=True)
    assert single.root == f"sha256:{X}"
    assert read_manifest(written(tmp_path, single)) == single


def test_the_forger_forges_well(tmp_path: Path) -> None:
    assert read_manifest(forged(tmp_path, *SOUND.entries)) == SOUND


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "a/./b",
        "",
        "a\0b",
        "..\\x",
        "a\\..\\..\\x",
        "\\x",
        "\\\\host\\share",
        "C:\\x",
        "c:/x",
        "C:",
        "a/..",
        "x" * 5000,
    ],
)
def test_a_path_that_could_leave_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    assert unsafe_path(path)
    with pytest.raises(UserError):
        Manifest((Entry(path, 1, X),))
    with pytest.raises(UserError, match=r"forged\.jsonl"):
        read_manifest(forged(tmp_path, (path, 1, X)))


@pytest.mark.parametrize("path", ["a\\b", "..a", "a..", ".a", "a:b", "a b", "\n", "\x1b[31m", "é", "日本/語"])
def test_a_strange_but_harmless_path_is_taken(path: str, tmp_path: Path) -> None:
    assert read_manifest(forged(tmp_path, (path, 1, X))).entries[0].path == path


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("a", 1, X), ("a", 1, X)], "twice"),
        ([("b", 1, X), ("a", 1, X)], "out of order"),
        ([("ö", 1, X), ("z", 1, X)], "out of order"),
        ([("a", 1, X), ("a!", 1, X), ("a/b", 1, X)], "both a file and a folder"),
        ([("a", 1, X.upper())], "hexadecimal"),
        ([("a", 1, X[:-1])], "hexadecimal"),
        ([("a", 1, X + "\n")], "hexadecimal"),
        ([("a", 1, 5)], "hexadecimal"),
        ([("a", -1, X)], "size"),
        ([("a", 2**53, X)], "size"),
        ([("a", 1.0, X)], "size"),
        ([("a", True, X)], "size"),
        ([("a", float("nan"), X)], "size"),
        ([("a", "1", X)], "size"),
        ([(5, 1, X)], "not a path"),
        ([([], 1, X)], "not a path"),
        ([], "0 files"),
    ],
)
def test_an_unsound_entry_is_refused(entries: list[tuple[object, object, object]], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read_manifest(forged(tmp_path, *entries))


@pytest.mark.parametrize(
    "header",
    [
        {"files": 4},
        {"files": 3.0},
        {"bytes": 9},
        {"root": "sha256-merkle:" + X},
        {"version": 2},
        {"version": True},
        {"format": "x"},
        {"kind": "file"},
        {"kind": "x"},
        {"more": 1},
    ],
)
def test_a_header_about_something_else_is_refused(header: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_manifest(forged(tmp_path, *SOUND.entries, **header))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"size":0', '"size":2'),  # changed without the root
        ('"size":0', '"size": 0'),
        ('"size":0', '"size":0,"size":0'),
        ('"size":0', '"size":0,"more":0'),
        ('"size":0', '"size":1e0'),
        ('"path":"a"', '"path":"\\u0061"'),
        ('"path":"a"', '"path":"\\ud800"'),
        ('{"path":"a"', "[" * 20_000 + '{"path":"a"'),
        ('"size":0', '"size":' + "9" * 10_000),
        ("\n", "\n\n"),
        ("\n", "\r\n"),
    ],
)
def test_other_bytes_are_refused(old: str, new: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode()))
    with pytest.raises(UserError, match=r"m\.jsonl"):
        read_manifest(path)


def test_one_that_is_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(UserError):
            read_manifest(path)


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "array").write_text("[]\n")
    (tmp_path / "line").write_bytes(b"[" * (1 << 20) + b"\n")
    for name in ("binary", "array", "line", "absent"):
        with pytest.raises(UserError, match=name):
            read_manifest(tmp_path / name)


def test_a_failed_write_leaves_the_old_one(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError):
        write_manifest(SOUND, path / "below-a-file")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]
