"""Finding credentials in folders: TAIBOM's batteries, files of one credential each, and JSON Lines of many."""

from collections.abc import Iterator
from pathlib import Path

from theriac.errors import UserError
from theriac.provenance.canonical import MAX_BYTES

_SUFFIXES = frozenset({".json", ".jsonld", ".jsonl", ".ndjson"})
_NOT_CREDENTIALS = frozenset({"schema.json", "scenarios.json", "claim_cascade_config.json"})
_SKIPPED = frozenset({"keys", "rules", "policy_claims", "node_modules"})


def credential_files(path: Path) -> list[Path]:
    """Returns the files that may hold credentials, in order: ``path`` itself, or those below it.

    In a TAIBOM battery the rules (programs, which are never run), policy claims, keys and schemas are left out.

    Raises:
        UserError: If there is no such file or folder, or a link leads out of it.
    """
    if not path.exists():
        raise UserError("no such file or folder", where=path)
    if path.is_file():
        return [path]
    found = []
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.suffix.lower() not in _SUFFIXES or file.name in _NOT_CREDENTIALS or _SKIPPED & set(inside.parts[:-1]):
            continue
        if file.is_symlink() or not file.is_file():
            raise UserError("is no regular file", where=file, do="replace it by what it points to, or remove it")
        found.append(file)
    return found


def read_credentials(files: list[Path], max_bytes: int = MAX_BYTES) -> Iterator[tuple[str, bytes]]:
    """Yields (where, bytes) of every credential; one that is too long is cut, and refused later.

    Raises:
        UserError: If a file cannot be read.
    """
    for file in files:
        try:
            with file.open("rb") as opened:
                if file.suffix.lower() in (".jsonl", ".ndjson"):
                    number = 0
                    while line := opened.readline(max_bytes + 2):
                        number += 1
                        if line.strip():
                            yield f"{file}, line {number}", line.strip()
                        while len(line) == max_bytes + 2 and not line.endswith(b"\n"):  # the rest belongs to it
                            line = opened.readline(max_bytes + 2)
                else:
                    yield str(file), opened.read(max_bytes + 1)
        except OSError as error:
            raise UserError(f"cannot read: {error.strerror}", where=file) from None
