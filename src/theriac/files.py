"""Paths that may be anywhere, digests, and files that are either whole or absent."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from theriac.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary file name beside ``path``; renames it to ``path`` when the block ends well, else removes it.

    Raises:
        UserError: If the folder cannot be written to or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another place") from None
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror or error}", where=path, do="free some space") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside ``path``; renames it to ``path`` when the block ends well, else removes it.

    Raises:
        UserError: If ``path`` exists and is not an empty folder, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError("exists already", where=path, do="choose another name or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror}", where=path, do="choose another place") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.rmdir()
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror or error}", where=path, do="free some space") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` to ``path`` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None


def manifest(path: Path) -> list[tuple[str, int, str]]:
    """Returns (relative POSIX path, size, sha256) of every file below ``path``, sorted by the bytes of the path.

    A single file is one entry under its own name. Symbolic links are refused: what they point to may change unseen.

    Raises:
        UserError: If something is unreadable, or is a link or a special file.
    """
    if path.is_file() and not path.is_symlink():
        return [(path.name, path.stat().st_size, sha256_file(path))]
    entries = []
    for folder, folders, names in os.walk(path, onerror=_unreadable):
        for name in (*folders, *names):
            if (Path(folder) / name).is_symlink():
                raise UserError("is a symbolic link", where=Path(folder) / name, do="replace it by what it points to")
        for name in names:
            file = Path(folder) / name
            if not file.is_file():
                raise UserError("is not a regular file", where=file, do="remove it")
            entries.append((file.relative_to(path).as_posix(), file.stat().st_size, sha256_file(file)))
    return sorted(entries, key=lambda entry: entry[0].encode())


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot read: {error.strerror}", where=error.filename) from None


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, or the Merkle root of a folder's manifest.

    The root is taken over the leaves ``sha256(0x00 || path || 0x00 || size || 0x00 || sha256)`` with inner nodes
    ``sha256(0x01 || left || right)``, an odd node being carried up unchanged (RFC 6962 style domain separation).
    """
    if path.is_file():
        return sha256_file(path)
    if not path.exists():
        raise UserError("no such file or folder", where=path)
    level = [
        hashlib.sha256(b"\0" + name.encode() + b"\0" + str(size).encode() + b"\0" + bytes.fromhex(digest)).digest()
        for name, size, digest in manifest(path)
    ]
    if not level:
        raise UserError("the folder is empty", where=path)
    while len(level) > 1:
        paired = [hashlib.sha256(b"\1" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0].hex()
