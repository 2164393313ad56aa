"""TAIBOM's directory hash, only to check old claims.

It is weak: it depends on how the path was typed, does not see links or empty folders, and says nothing about which file
differs. New claims carry a manifest's root.
"""

import hashlib
from pathlib import Path

from theriac.errors import UserError
from theriac.manifest.building import hash_files

_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r"}


def legacy_directory_hash(path: Path, as_typed: str) -> str:
    """Returns what ``find DIR -type f -exec sha256sum {} + | sort | sha256sum`` prints, without running anything.

    Args:
        path: The folder or file to read.
        as_typed: The text that stood for DIR, which is part of the hash; a leading ``file://`` is not.

    Raises:
        UserError: If a file cannot be read, or there is none (the reference then gives the hash of nothing).
    """
    typed = as_typed.removeprefix("file://")
    if path.is_dir():
        above = typed if typed.endswith("/") else f"{typed}/"
        named = [(f"{above}{entry.path}", entry.sha256) for entry in hash_files(path, symlinks=None)]
    else:
        named = [(typed, entry.sha256) for entry in hash_files(path)]
    if not named:
        raise UserError("the folder is empty", where=path)
    lines = sorted(_line(name, digest) for name, digest in named)
    return hashlib.sha256(b"".join(line + b"\n" for line in lines)).hexdigest()


def _line(name: str, digest: str) -> bytes:
    """Returns the line of coreutils' sha256sum, which marks a line whose name it had to escape."""
    escaped = "".join(_ESCAPES.get(character, character) for character in name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}".encode(errors="surrogateescape")
