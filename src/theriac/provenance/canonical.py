"""JSON that can only be read one way: strict parsing, canonical bytes and content digests."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, NoReturn

import rfc8785

from theriac.errors import UserError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NUMBER = 2**53 - 1

Document = dict[str, Any]


class Invalid(UserError):
    """A credential that does not hold; the message says why."""


def parse(data: bytes) -> Document:
    """Returns the JSON object in ``data``.

    Raises:
        Invalid: If it is not one UTF-8 JSON object of at most 1 MiB and 64 levels, if a key occurs twice in an object,
            or if a number is beyond 2^53 - 1: readers disagree about such files.
    """
    if len(data) > MAX_BYTES:
        raise Invalid(f"larger than {MAX_BYTES} bytes")
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_unique, parse_int=_integer, parse_float=_real, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"not JSON: {error}") from None
    except RecursionError:
        raise Invalid(f"more than {MAX_DEPTH} levels deep") from None
    if not isinstance(value, dict):
        raise Invalid("not a JSON object")
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises ``Invalid`` if ``value`` is nested more than 64 levels deep (or contains itself)."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise Invalid(f"more than {MAX_DEPTH} levels deep")


def canonical(value: Any) -> bytes:
    """Returns the JSON Canonicalization Scheme (RFC 8785) of a JSON value.

    Raises:
        Invalid: If the value has none: NaN, an integer beyond 2^53 - 1, a lone surrogate.

    >>> canonical({"b": 1.0, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise Invalid(f"not canonical JSON: {error}") from None


def digest_of(value: Any) -> str:
    """Returns ``"sha256:"`` and the SHA-256 of a JSON value's canonical bytes.

    >>> digest_of({})
    'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
    """
    return digest_of_bytes(canonical(value))


def digest_of_bytes(data: bytes) -> str:
    """Returns ``"sha256:"`` and the SHA-256 of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def to_bytes(document: Document) -> bytes:
    """Returns the bytes that theriac writes to a file: two spaces of indentation, UTF-8, one final newline."""
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def evenly_laid_out(data: bytes, document: Document) -> bool:
    """Returns whether ``data`` is what a JSON writer makes of ``document``, with one of the usual settings.

    A signature covers what a file means, not its white space and escapes. This closes the gap: in an evenly laid-out
    file every byte follows from the meaning, so that none can change unseen.
    """
    return any(data == layout for layout in _layouts(document))


def _layouts(document: Document) -> Iterator[bytes]:
    yield to_bytes(document)
    yield canonical(document)
    for ascii_only in (False, True):
        for indent, separators in ((2, None), (4, None), (1, None), ("\t", None), (None, None), (None, (",", ":"))):
            text = json.dumps(document, indent=indent, separators=separators, ensure_ascii=ascii_only).encode()
            yield text
            yield text + b"\n"


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise Invalid("a key occurs twice in one object")
    return value


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_NUMBER:
        raise Invalid("a number beyond 2^53 - 1")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if abs(value) > MAX_NUMBER:  # its canonical form may be such an integer
        raise Invalid("a number beyond 2^53 - 1")
    return value


def _no_constant(name: str) -> NoReturn:
    raise Invalid(f"{name} is not JSON")
