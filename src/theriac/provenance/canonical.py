"""JSON that can only be read one way: strict parsing, canonical bytes and content digests."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

import rfc8785

from theriac.errors import UserError

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NUMBER = 2**53 - 1

_encode = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
).encode
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")
_KEYS = frozenset({str})
_LEAVES = frozenset({str, bool, type(None)})
_PLAIN = _LEAVES | {int, dict, list}

Document = dict[str, Any]


class Invalid(UserError):
    """A credential that does not hold; the message says why."""


def parse(data: bytes, *, max_bytes: int = MAX_BYTES) -> Document:
    """Returns the JSON object in ``data``.

    Raises:
        Invalid: If it is not one UTF-8 JSON object of at most ``max_bytes`` and 64 levels, if a key occurs twice in an
            object, or if a number is beyond 2^53 - 1: readers disagree about such files.
    """
    if len(data) > max_bytes:
        raise Invalid(f"larger than {max_bytes} bytes")
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
    if data.count(b"{") + data.count(b"[") >= MAX_DEPTH:  # else it cannot be so deep
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
        return _canonical_by_json(value) or rfc8785.dumps(value)
    except ValueError as error:  # a CanonicalizationError, or a UnicodeError for a key
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


def _canonical_by_json(value: Any) -> bytes | None:
    """Returns the canonical form if the standard encoder is sure to give it, else None.

    That encoder is twenty times as fast. It differs from RFC 8785 in fractions, in numbers that JSON cannot hold, in
    keys that are not text, and in the order of keys with characters beyond U+FFFF: none of these may occur.
    """
    try:
        text = _encode(value)
        data = text.encode()
    except (TypeError, ValueError, RecursionError):  # the slow way says what is wrong
        return None
    if not text.isascii() and _BEYOND_BMP.search(text):
        return None
    level = [value]
    for item in level:  # grows while it is read; ends, since the encoder came to an end
        if type(item) is dict:
            if not _KEYS.issuperset(map(type, item)):
                return None
            values: Collection[Any] = item.values()
        elif type(item) is list:
            values = item
        else:
            return None
        kinds = set(map(type, values))
        if not kinds <= _LEAVES:
            if not kinds <= _PLAIN or (int in kinds and not all(map(_exact, values))):
                return None
            level += [child for child in values if type(child) is dict or type(child) is list]
    return data


def _exact(value: Any) -> bool:
    return type(value) is not int or -MAX_NUMBER <= value <= MAX_NUMBER


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
