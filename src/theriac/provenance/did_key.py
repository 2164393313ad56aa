"""Ed25519 public keys written as ``did:key`` identifiers, and base58btc, the alphabet they are written in.

W3C Controlled Identifiers 1.0 (Multikey), did:key method v0.9.
"""

from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from theriac.provenance.canonical import Invalid
from theriac.provenance.leaked import LEAKED

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_ED25519 = b"\xed\x01"
_FIELD = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the points of order 1, 2, 4 and 8: one signature under such a key can fit many messages.
SMALL_ORDER = frozenset({1, _FIELD - 1, 0, _ORDER_8, _FIELD - _ORDER_8})


def base58_encode(data: bytes) -> str:
    """Returns ``data`` in base58btc.

    >>> base58_encode(b"hello")
    'Cn8eVZg'
    """
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, value = divmod(number, 58)
        text = ALPHABET[value] + text
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + text


def base58_decode(text: str, length: int) -> bytes:
    """Returns the ``length`` bytes written in ``text``.

    Raises:
        Invalid: If the text is not exactly what :func:`base58_encode` gives for that many bytes.
    """
    if len(text) > 2 * length:
        raise Invalid("base58 text of the wrong length")
    number = 0
    for character in text:
        if character not in _VALUES:
            raise Invalid(f"{character!r} is not base58")
        number = number * 58 + _VALUES[character]
    if number.bit_length() > 8 * length:
        raise Invalid("base58 text of the wrong length")
    data = number.to_bytes(length, "big")
    if len(text) - len(text.lstrip("1")) != length - len(data.lstrip(b"\0")):  # each zero byte is one "1" in front
        raise Invalid("base58 text of the wrong length")
    return data


def did_of(public: bytes) -> str:
    """Returns the ``did:key`` of 32 bytes of an Ed25519 public key."""
    return "did:key:z" + base58_encode(_ED25519 + public)


@lru_cache(maxsize=4096)
def public_key_of(did: str) -> Ed25519PublicKey:
    """Returns the Ed25519 public key that a ``did:key`` is.

    Raises:
        Invalid: If it is not a did:key of an Ed25519 key, is written in a second way, is a point of small order, or is
            a key that everybody has.
    """
    if did in LEAKED:
        raise Invalid("the key's private half was published: anybody can sign with it")
    prefix = "did:key:z"
    if not did.startswith(prefix):
        raise Invalid(f"{did[:80]!r} is not a did:key")
    multikey = base58_decode(did[len(prefix) :], 34)
    if multikey[:2] != _ED25519:
        raise Invalid("not an Ed25519 key")
    y = int.from_bytes(multikey[2:], "little") & ((1 << 255) - 1)
    if y >= _FIELD or y in SMALL_ORDER:
        raise Invalid("not a usable Ed25519 key")
    return Ed25519PublicKey.from_public_bytes(multikey[2:])
