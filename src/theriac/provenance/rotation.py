"""Replacing a signing key by a new one, with statements of both that let others follow."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from theriac.errors import UserError
from theriac.files import write_text
from theriac.provenance.canonical import Document, Invalid
from theriac.provenance.credentials import issue, open_envelope
from theriac.provenance.issuer import write_credential
from theriac.provenance.keys import PASSPHRASE, SigningKey, load, path_of, to_pem, write_private


@dataclass(frozen=True)
class Rotation:
    """A key that was replaced.

    Attributes:
        old: The key that was replaced.
        new: The key that has its name now.
        kept: Where the old one is kept.
        statements: The files of both keys' statements, the old one's first.
    """

    old: SigningKey
    new: SigningKey
    kept: Path
    statements: tuple[Path, Path]


def rotate(
    folder: Path,
    name: str,
    out: Path,
    *,
    passphrase: str | None = None,
    encrypt: bool = True,
    ask: Callable[[], str] | None = None,
) -> Rotation:
    """Makes a new key under the name of another, keeps that one as ``NAME.DATE``, and writes signed statements of both.

    The old key says who its successor is, and the new one who its predecessor was. If the statements cannot be
    written, all is as before.

    Args:
        folder: Where the keys are.
        name: The key to replace.
        out: Folder for the statements.
        passphrase: For the new key; ``$THERIAC_PASSPHRASE`` by default.
        encrypt: False keeps the new key in plain text.
        ask: Called for the passphrase of the old key.

    Raises:
        UserError: If there is no such key, or something cannot be written.
    """
    old, new = load(folder, name, ask=ask), SigningKey.new()
    path, kept = path_of(folder, name), _free(folder, name)
    fresh = kept.with_suffix(".new")
    try:
        write_private(fresh, to_pem(new, (passphrase or os.environ.get(PASSPHRASE)) if encrypt else None))
        try:
            os.link(path, kept)  # now the old key has two names, and loses the first in one step
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror}", where=folder) from None
    try:
        write_text(kept.with_suffix(".did"), old.did + "\n")
        write_text(path.with_suffix(".did"), new.did + "\n")
        statements = tuple(write_credential(document, out) for document in statements_of(name, old, new))
    except BaseException:
        kept.replace(path)
        kept.with_suffix(".did").unlink(missing_ok=True)
        write_text(path.with_suffix(".did"), old.did + "\n")
        raise
    return Rotation(old, new, kept, (statements[0], statements[1]))


def statements_of(name: str, old: SigningKey, new: SigningKey) -> tuple[Document, Document]:
    """Returns the identity credentials by which a key names its successor, and that one its predecessor."""
    return (
        issue("identity", {"name": name, "pub": old.did, "successor": new.did}, old),
        issue("identity", {"name": name, "pub": new.did, "predecessor": old.did}, new),
    )


def successors(credentials: Iterable[Document]) -> dict[str, str]:
    """Returns old key -> new key for every replacement that both keys state about themselves.

    One statement alone counts for nothing: anybody can name a stranger's key. A key that names two successors was
    perhaps stolen, and has none here.
    """
    forward: dict[str, set[str]] = {}
    backward: set[tuple[str, str]] = set()
    for document in credentials:
        try:
            envelope = open_envelope(document)
        except Invalid:
            continue
        subject = document["credentialSubject"]
        if envelope.kind != "identity" or envelope.facts.foreign or subject["pub"] != envelope.signer:
            continue
        if successor := subject.get("successor"):
            forward.setdefault(envelope.signer, set()).add(successor)
        if predecessor := subject.get("predecessor"):
            backward.add((predecessor, envelope.signer))
    single = {old: next(iter(names)) for old, names in forward.items() if len(names) == 1}
    return {old: new for old, new in single.items() if (old, new) in backward and old != new}


def _free(folder: Path, name: str) -> Path:
    """Returns the first name of today's that no kept key has."""
    today = datetime.now(UTC).date().isoformat()
    for number in range(1, 100):
        path = path_of(folder, f"{name}.{today}" + (f".{number}" if number > 1 else ""))
        if not path.exists():
            return path
    raise UserError("the key was replaced too often today", where=path_of(folder, name))
