"""Archives that break the rules of torch.save's zip files, and files that are no archives."""

import io
import os
import pickle
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from theriac.errors import UserError
from theriac.models.inspection import inspect_model
from theriac.models.opening import open_model

Refusal = Callable[[bytes], str]

# A state dict {"weight": tensor of four ones}: what all archives below hold, so that only the archive is wrong.
PICKLE = (
    b"\x80\x02}X\x06\x00\x00\x00weightctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage"
    b"ctorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00(K\x04t(K\x01t\x89ccollections\nOrderedDict\n)RtRs."
)
ONES = struct.pack("<4f", 1, 1, 1, 1)
MEMBERS = {
    "archive/data.pkl": PICKLE,
    "archive/byteorder": b"little",
    "archive/data/0": ONES,
    "archive/version": b"3\n",
}


def archive(
    extra: Sequence[tuple[str | zipfile.ZipInfo, bytes]] = (), method: int = zipfile.ZIP_STORED, **changed: bytes
) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of duplicate names
        with zipfile.ZipFile(file, "w", method) as made:
            for name, data in (MEMBERS | {f"archive/{k}": v for k, v in changed.items()}).items():
                made.writestr(name, data)
            for info, data in extra:
                made.writestr(info, data)
    return file.getvalue()


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def central(content: bytes, name: bytes) -> int:
    """Returns where a member's entry in the central directory starts."""
    return content.rindex(name) - 46


def local(content: bytes, name: bytes) -> int:
    return content.index(name) - 30


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def hidden() -> bytes:
    """An archive with bytes between its last member and its directory."""
    content = archive()
    start = struct.unpack_from("<I", content, len(content) - 6)[0]
    moved = content[:start] + b"cos\nsystem\n." + content[start:]
    return patched(moved, len(moved) - 6, struct.pack("<I", start + 12))


def overlapping() -> bytes:
    """Two members that share their bytes, as in zip bombs that need no compression tricks."""
    content = archive([("archive/data/1", ONES)])
    first = struct.unpack_from("<I", content, central(content, b"archive/data/0") + 42)
    return patched(content, central(content, b"archive/data/1") + 42, struct.pack("<I", *first))


def tar(mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as made:  # type: ignore[call-overload]
        info = tarfile.TarInfo("pickle")
        info.size = len(PICKLE)
        made.addfile(info, io.BytesIO(PICKLE))
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    return file.getvalue()


def legacy() -> bytes:
    """The form before PyTorch 1.6: pickles one after the other, here with a call in the fourth."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in head) + b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


E0 = archive()
ARCHIVES: dict[str, bytes] = {
    "two members of one name": archive([("archive/data/0", ONES)]),
    "two pickles of one name": archive([("archive/data.pkl", b"\x80\x02cos\nsystem\n.")]),
    "a second pickle deeper": archive([("archive/inner/data.pkl", PICKLE)]),
    "two roots": archive([("other/data.pkl", PICKLE)]),
    "no root": archive([("data.pkl", PICKLE)]),
    "no pickle": archive().replace(b"data.pkl", b"data.pkk"),
    "wrong checksum of a storage": E0.replace(ONES, struct.pack("<4f", 1, 1, 1, 2)),
    "wrong checksum of the pickle": E0.replace(b"weight", b"weighs"),
    "compressed": archive(method=zipfile.ZIP_DEFLATED),
    "bz2": archive(method=zipfile.ZIP_BZIP2),
    "lzma": archive(method=zipfile.ZIP_LZMA),
    "bomb": archive(method=zipfile.ZIP_DEFLATED, **{"data/0": bytes(50_000_000)}),
    "overlapping members": overlapping(),
    "hidden bytes": hidden(),
    "a symbolic link": archive([(entry("archive/data/1", stat.S_IFLNK | 0o777), b"/etc/passwd")]),
    "a folder": archive([(entry("archive/data/1", stat.S_IFDIR | 0o755), b"")]),
    "a device": archive([(entry("archive/data/1", stat.S_IFCHR | 0o666), b"")]),
    "an absolute name": archive([("/etc/cron.d/evil", b"x")]),
    "a name that climbs": archive([("archive/../../evil", b"x")]),
    "a name with a backslash": archive([("archive\\..\\evil", b"x")]),
    "a name with a control character": archive([("archive/data/\x1b0", b"x")]),
    "a name that is not ASCII": archive([("archive/dätä", b"x")]),
    "an unknown member": archive([("archive/setup.py", b"import os")]),
    "TorchScript": archive([("archive/code/__torch__.py", b"def f(): pass"), ("archive/constants.pkl", b"\x80\x02).")]),
    "bytes before": b"#!/bin/sh\n" + E0,
    "bytes after": E0 + b"x",
    "a comment": patched(E0, len(E0) - 2, b"\x04\x00") + b"PK\5\6",
    "truncated": E0[:-30],
    "truncated in the directory": E0[:-80] + E0[-22:],
    "only the start": E0[:100],
    "names that disagree": patched(E0, local(E0, b"archive/data/0") + 30, b"archive/data/9"),
    "sizes that disagree": patched(E0, local(E0, b"archive/data/0") + 22, b"\x08"),
    "checksums that disagree": patched(E0, local(E0, b"archive/data/0") + 14, b"\0\0\0\0"),
    "methods that disagree": patched(E0, local(E0, b"archive/data/0") + 8, b"\x08"),
    "a promised descriptor that is missing": patched(
        patched(E0, local(E0, b"archive/data/0") + 6, b"\x08"), central(E0, b"archive/data/0") + 8, b"\x08"
    ),
    "encrypted": patched(
        patched(E0, local(E0, b"archive/data/0") + 6, b"\x01"), central(E0, b"archive/data/0") + 8, b"\x01"
    ),
    "a size beyond the file": patched(E0, central(E0, b"archive/data/0") + 20, b"\xf0\xff\xff\x7f\xf0\xff\xff\x7f"),
    "a 64-bit size that is missing": patched(E0, central(E0, b"archive/data/0") + 20, b"\xff" * 8),
    "an offset beyond the file": patched(E0, central(E0, b"archive/data/0") + 42, b"\xf0\xff\xff\x7f"),
    "more entries than there are": patched(E0, len(E0) - 14, b"\x09\x00\x09\x00"),
    "fewer entries than there are": patched(E0, len(E0) - 14, b"\x02\x00\x02\x00"),
    "two disks": patched(E0, len(E0) - 18, b"\x01\x00"),
    "big-endian": archive(byteorder=b"big"),
    "a pickle that is too large": archive(**{"data.pkl": b"\x80\x02" + b"N0" * (17 << 20) + b"."}),
    "tar": tar(),
    "tar, compressed": tar("w:gz"),
    "the form before 1.6": legacy(),
    "empty": b"",
    "one byte": b"P",
    "only an end": b"PK\5\6" + bytes(18),
    "an empty archive behind a start": b"PK\3\4" + bytes(96) + b"PK\5\6" + bytes(18),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(100),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "GGUF": b"GGUF" + bytes(100),
    "ONNX": b"\x08\x07\x12\x07pytorch" + bytes(100),
    "a script": b"#!/usr/bin/env python\nimport os\n",
    "a page": b"<!doctype html><title>404</title>",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 100\n",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_break_a_rule_are_refused(name: str, refused: Refusal) -> None:
    refused(ARCHIVES[name])


def test_the_archive_itself_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(E0)
    found = inspect_model(str(path))
    assert (found.safe, found.reason, found.tensors, found.tensor_bytes) == (True, None, 1, 16)


@pytest.mark.parametrize("at", range(0, len(E0), 7))
def test_no_flipped_byte_crashes_or_passes_as_another_model(at: int) -> None:
    """Reads the archive in this process, for speed: whatever the byte, it is refused or gives the same members."""
    import mmap

    from theriac.errors import Refused
    from theriac.models.archive import read_archive

    def members(content: bytes) -> dict[str, bytes]:
        with mmap.mmap(-1, len(content)) as data:
            data.write(content)
            return {name: data[member.start : member.end] for name, member in read_archive(data).items()}

    try:
        found = members(patched(E0, at, bytes([E0[at] ^ 0xFF])))
    except Refused:
        return
    assert found == members(E0)


def test_what_is_not_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(UserError):
            open_model(str(path))


def test_a_reason_shows_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(archive(**{"data.pkl": b"\x80\x04\x8c\x08os\x1b]0;ab\x8c\x06sys\ntm\x93."}))
    found = inspect_model(str(path))
    assert not found.safe
    assert found.reason is not None
    assert found.reason.isprintable()
    assert all(name.isprintable() for name in found.globals)
