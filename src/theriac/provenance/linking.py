"""Which credential a link leads to, and whether it can be followed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theriac.provenance.tables import RELATIONS, State

WEIGHTS, TRAINING_DATA = "data Weights", "data Training"
INFERENCING, TRAINING = "ai-system Inferencing", "ai-system Training"
# What a link may lead to. Anything else would let a stranger's credential stand in for a missing one.
LEADS_TO = {
    (INFERENCING, "code"): {"code"},
    (INFERENCING, "data"): {"config", WEIGHTS, TRAINING_DATA, "data-pack"},
    (TRAINING, "code"): {"code"},
    (TRAINING, "data"): {"data-pack", TRAINING_DATA, WEIGHTS, "config"},
    ("config", "aiSystem"): {TRAINING},
    ("config", "data"): {WEIGHTS},
    ("data-pack", "datasets"): {"data-pack", TRAINING_DATA, WEIGHTS},
    (WEIGHTS, "derivedFrom"): {WEIGHTS},
    (TRAINING_DATA, "derivedFrom"): {TRAINING_DATA, WEIGHTS, "data-pack"},
    ("code", "sbom"): {"sbom"},
}
ALLOWED = {(role, RELATIONS[relation]): roles for (role, relation), roles in LEADS_TO.items()}
CHAIN = frozenset(code for _, code in ALLOWED)
_LEAVES = frozenset({TRAINING_DATA, "code", "sbom"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A credential that has the id that a link names."""

    pk: int
    digest: bytes
    kind: str
    label: str
    content: str
    profile: str
    signature: str
    valid: bool
    starts: int | None
    ends: int | None
    fanout: int
    retracted: int | None

    @property
    def role(self) -> str:
        """The kind with its label."""
        return role_of(self.kind, self.label)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a link leads; ``plain`` if a walk need not look at it: sound, for ever, and with nothing behind it."""

    to: int | None
    state: State
    plain: bool


def role_of(kind: str, label: str) -> str:
    """Returns the kind with its label, if it has one."""
    return f"{kind} {label}" if label else kind


def follow(role: str, relation: int, hash: str, candidates: Sequence[Candidate], now: int) -> Target:
    """Returns where a link leads.

    Args:
        role: Of the credential that holds the link.
        relation: The link's code.
        hash: What it says about the credential that it names.
        candidates: All stored credentials with the id that it names.
        now: Seconds since 1970.
    """
    named, state = _named(hash, candidates)
    if named is None:
        return Target(None, state, plain=False)
    if not named.valid:
        return Target(None, State.BROKEN, plain=False)
    if relation in CHAIN and named.role not in ALLOWED.get((role, relation), ()):
        return Target(None, State.WRONG, plain=False)
    return Target(named.pk, state, plain=relation in CHAIN and _is_plain(named, now))


def _named(hash: str, candidates: Sequence[Candidate]) -> tuple[Candidate | None, State]:
    if not candidates:
        return None, State.ABSENT
    kind, mark, value = hash.partition(":")
    for candidate in candidates:
        if kind == "sha256" and candidate.digest.hex() == value:
            return candidate, State.DIGEST
    by_signature = [c for c in candidates if c.signature and c.signature == hash]
    if by_signature:
        return by_signature[0], State.SIGNATURE
    valid = [candidate for candidate in candidates if candidate.valid]
    if not valid:
        return None, State.BROKEN
    by_content = [c for c in valid if c.content and same_digest(c.content, hash)]
    if len(by_content) == 1:
        return by_content[0], State.CONTENT
    if len(valid) > 1:
        return None, State.CONFLICT
    if valid[0].profile != "unsigned" or mark or _is_digest(hash):
        return None, State.DIFFERS
    return valid[0], State.UNCHECKED


def same_digest(one: str, other: str) -> bool:
    """Returns whether two digests are the same; one that names no algorithm, as TAIBOM's, is compared by its value.

    An empty value is no digest, and the same as nothing.

    >>> same_digest("sha256:ab", "ab"), same_digest("sha256:ab", "sha256-merkle:ab")
    (True, False)
    """
    (kind, _, value), (other_kind, _, other_value) = one.rpartition(":"), other.rpartition(":")
    return bool(value) and value == other_value and (kind == other_kind or not kind or not other_kind)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(character in "0123456789abcdef" for character in text)


def _is_plain(target: Candidate, now: int) -> bool:
    begun = target.starts is None or target.starts <= now
    lasts = target.ends is None and target.retracted is None
    return target.role in _LEAVES and target.fanout == 0 and begun and lasts


def candidate_of(row: Any) -> Candidate:
    """Returns the candidate in a row of the store."""
    return Candidate(*(getattr(row, name) for name in Candidate.__slots__))
