"""The root digest of the OpenSSF model signing specification (OMS) v1, so that any ``model.sig`` can be matched.

A signature is a sigstore bundle around an in-toto statement whose only subject is this digest. Nothing here checks who
signed: that needs the specification's own tool.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from theriac.errors import UserError
from theriac.manifest.record import Manifest

GIT_PATHS = (".git", ".gitattributes", ".github", ".gitignore")
"""What signers leave out unless told otherwise, at the top of the folder only."""

MAX_BYTES = 256 << 20

_PREDICATE = "https://model_signing/signature/v1.0"


@dataclass(frozen=True)
class OmsStatement:
    """What a ``model.sig`` says about a model.

    Attributes:
        subject: The root digest in hexadecimal.
        ignored: Paths below the folder that it does not cover.
    """

    subject: str
    ignored: tuple[str, ...]


def oms_root_digest(manifest: Manifest, ignored: Iterable[str] = GIT_PATHS) -> str:
    """Returns SHA-256 over the files' raw digests, sorted by the parts of their paths, in hexadecimal.

    Args:
        manifest: Of the model. Its links are files here; the specification's tool refuses them by default.
        ignored: Paths below the folder that are left out with all below them; a signature inside the folder is one.

    Raises:
        UserError: If nothing is left to cover: such a digest would fit any model.
    """
    left_out = set(oms_left_out(manifest, ignored))
    covered = [entry for entry in manifest.entries if entry.path not in left_out]
    if not covered:
        raise UserError("every file is left out", where="OMS root digest")
    covered.sort(key=lambda entry: entry.path.split("/"))  # by parts, not by the whole text: a/b comes before a-1
    return hashlib.sha256(b"".join(bytes.fromhex(entry.sha256) for entry in covered)).hexdigest()


def oms_left_out(manifest: Manifest, ignored: Iterable[str] = GIT_PATHS) -> tuple[str, ...]:
    """Returns the files that a signature which ignores these paths does not cover; never a single file."""
    prefixes = {PurePosixPath(path).parts for path in ignored} - {()}

    def below(path: str) -> bool:
        parts = tuple(path.split("/"))
        return any(parts[:length] in prefixes for length in range(1, len(parts) + 1))

    return () if manifest.single else tuple(entry.path for entry in manifest.entries if below(entry.path))


def oms_subject(path: Path) -> str:
    """Returns the subject digest of a ``model.sig`` in hexadecimal, without checking its signature.

    Raises:
        UserError: As :func:`read_oms`.
    """
    return read_oms(path).subject


def read_oms(path: Path) -> OmsStatement:
    """Reads a ``model.sig``, checking that it agrees with itself but not who signed it.

    Raises:
        UserError: If it is no OMS v1 bundle over whole files with SHA-256, or contradicts itself.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    if len(data) > MAX_BYTES:
        raise UserError(f"has more than {MAX_BYTES} bytes", where=path)
    try:
        statement = _json(base64.b64decode(_json(data)["dsseEnvelope"]["payload"], validate=True))
        kind, serialization = statement["predicateType"], statement["predicate"]["serialization"]
        method = serialization["method"], serialization["hash_type"]
        if kind != _PREDICATE or method != ("files", "sha256"):
            what = f"is of kind {kind} over {' and '.join(map(str, method))}"
            raise UserError(what, where=path, do="only OMS v1 over files and sha256 can be compared")
        [subject] = statement["subject"]
        digest = subject["digest"]["sha256"]
        said = b"".join(bytes.fromhex(resource["digest"]) for resource in statement["predicate"]["resources"])
        ignored = tuple(serialization.get("ignore_paths", ()))
        if not all(isinstance(name, str) for name in ignored):
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error):
        raise UserError("is not an OMS v1 signature", where=path) from None
    if not said or hashlib.sha256(said).hexdigest() != digest:
        raise UserError("its subject is not the digest of the files that it lists", where=path)
    return OmsStatement(digest, ignored)


def _json(data: bytes) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    return json.loads(data, object_pairs_hook=unique)
