"""The manifest itself: its entries, its root, and the one way to write them down."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

from theriac.errors import UserError
from theriac.files import replacing

MAX_FILES = 10_000_000
MAX_PATH = 4096
MAX_SIZE = 2**53 - 1
MAX_LINE = 6 * MAX_PATH + 256  # JSON writes a control character in six bytes

_FORMAT, _VERSION = "theriac-manifest", 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLAIN = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)  # what nearly every path is like, told quickly
_DRIVE = re.compile(r"[A-Za-z]:(/|$)")


class Entry(NamedTuple):
    """One file: its POSIX path below the folder, its size in bytes, its SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


def merkle_root(entries: Iterable[tuple[str, int, str]]) -> str:
    """Returns the Merkle root over (path, size, sha256) entries, at least one, in the order given.

    The root is taken over the leaves ``sha256(0x00 || path || 0x00 || size || 0x00 || sha256)`` with inner nodes
    ``sha256(0x01 || left || right)``, an odd node being carried up unchanged (RFC 6962 style domain separation).
    """
    sha256 = hashlib.sha256
    level = [sha256(f"\0{name}\0{size}\0".encode() + bytes.fromhex(digest)).digest() for name, size, digest in entries]
    while len(level) > 1:
        paired = [sha256(b"\1" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()


@dataclass(frozen=True)
class Manifest:
    """What a folder, or a single file, holds. One that exists is sound: its paths are safe, sorted and unique.

    Args:
        entries: Every file, sorted by the bytes of its path.
        single: Whether this is of a single file, whose name then does not matter.

    Raises:
        UserError: If there is no entry, or a path, size, digest or the order is wrong.
    """

    entries: tuple[Entry, ...]
    single: bool = False

    def __post_init__(self) -> None:
        if not self.entries or len(self.entries) > MAX_FILES or (self.single and len(self.entries) != 1):
            raise UserError(f"a manifest of {len(self.entries)} files")
        folders: set[str] = set()
        last = b""
        for entry in self.entries:
            if wrong := _wrong(entry):
                raise UserError(wrong, where=ascii(entry.path))
            if (path := entry.path.encode()) <= last:
                raise UserError("is there twice" if path == last else "is out of order", where=ascii(entry.path))
            last = path
            folder = entry.path.rpartition("/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition("/")[0]
        if both := next((entry.path for entry in self.entries if entry.path in folders), None):
            raise UserError("is both a file and a folder", where=ascii(both))

    @cached_property
    def root(self) -> str:
        """``sha256-merkle:`` and the Merkle root; of a single file ``sha256:`` and its digest."""
        if self.single:
            return f"sha256:{self.entries[0].sha256}"
        return f"sha256-merkle:{merkle_root(self.entries)}"

    @cached_property
    def total(self) -> int:
        """Bytes in all files together."""
        return sum(entry.size for entry in self.entries)


def unsafe_path(path: str) -> str | None:
    """Returns what is wrong with a path that shall stay below a folder on every system, or None.

    >>> unsafe_path("images/stop sign.png"), unsafe_path("images/../../etc/passwd")
    (None, 'leaves its folder')
    """
    if len(path) < 256 and _PLAIN.fullmatch(path):
        return None
    try:
        if len(path.encode()) > MAX_PATH:
            return "is too long"
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not path or "\0" in path:
        return "is not a path"
    # elsewhere a backslash separates folders and C: is absolute; a harmless backslash in a name stays allowed
    portable = path.replace("\\", "/")
    if portable.startswith("/") or _DRIVE.match(portable) or ".." in portable.split("/"):
        return "leaves its folder"
    return "is not in its simplest form" if {"", "."} & set(path.split("/")) else None


def _wrong(entry: Entry) -> str | None:
    path, size, digest = entry
    if wrong := unsafe_path(path) if isinstance(path, str) else "is not a path":
        return wrong
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        return "has an impossible size"
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return "has no SHA-256 in lower-case hexadecimal"
    return None


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes a manifest: a header line with the root, then one JSON line per file; whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_line(_header(manifest)))
        file.writelines(_line(entry._asdict()) for entry in manifest.entries)


def is_manifest(path: Path) -> bool:
    """Returns whether a file begins as a manifest does; :func:`read_manifest` says whether it is one.

    Raises:
        UserError: If it cannot be read.
    """
    begins = _line({"format": _FORMAT})[:-2]
    try:
        with path.open("rb") as file:
            return file.read(len(begins)) == begins
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest that may come from anybody; only the exact bytes that a sound one is written as are taken.

    Raises:
        UserError: If it is not a manifest, is cut off or damaged, or names a path outside its folder.
    """
    try:
        with path.open("rb") as file:
            lines = _parsed(file)
            header = next(lines, None)
            if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (_FORMAT, _VERSION):
                raise UserError("is not a manifest of theriac, or one of another version")
            entries = []
            for number, line in enumerate(lines, 2):
                if number > MAX_FILES + 1:
                    raise UserError(f"lists more than {MAX_FILES} files")
                if not isinstance(line, dict) or list(line) != list(Entry._fields):
                    raise UserError("is not an entry", where=f"line {number}")
                entries.append(Entry(**line))
            manifest = Manifest(tuple(entries), header.get("kind") == "file")
            if _line(header) != _line(_header(manifest)):
                raise UserError("its files are not those that its header is about: it is cut off or was changed")
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except UserError as error:
        where = path if error.where is None else f"{path}: {error.where}"
        raise UserError(error.what, where=where, do="get the manifest again") from None
    return manifest


def _header(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": "file" if manifest.single else "folder",
        "files": len(manifest.entries),
        "bytes": manifest.total,
        "root": manifest.root,
    }


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _parsed(file: IO[bytes]) -> Iterator[object]:
    number = 0
    while data := file.readline(MAX_LINE + 1):
        number += 1
        try:
            value = json.loads(data) if data.endswith(b"\n") else None
            # one way to write it: no key twice, no other number, no other spacing
            exact = value is not None and _line(value) == data
        except (ValueError, RecursionError):
            exact = False
        if not exact:
            raise UserError("is no line that a manifest has, or is cut off", where=f"line {number}")
        yield value
