"""Prolog facts in the layout of TAIBOM's inference engine, so that its own rules run on a store of ours.

A fact's predicate is the title of its schema, its arguments are the credential's id and then the subject's properties
by name; an object is a compound named by its property. Everything that a credential says is inside a quoted string or a
quoted name, in ASCII with everything else escaped: no credential can become code.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from theriac.provenance.facts import details_of
from theriac.provenance.kinds import is_foreign
from theriac.provenance.snapshot import Entry, Snapshot

_CLAIM = ("attestation", "component")
# Kind -> predicate and the properties of TAIBOM's schema, in alphabetical order.
_LAYOUT: dict[str, tuple[str, tuple[str, ...]]] = {
    "identity": ("identity_schema", ("email", "name", "pub", "role", "uuid")),
    "data": ("taibom_data", ("hash", "hashLocation", "label", "lastAccessed", "location", "name")),
    "data-pack": ("taibom_datapack", ("datasets", "name")),
    "config": ("trained_system_configs", ("aiSystem", "data", "name")),
    "sbom": ("sbom", ("bomFormat", "components", "metadata", "serialNumber", "specVersion", "version")),
    "code": ("code", ("hash", "location", "name", "sbom", "version")),
    "ai-system": ("ai_system", ("code", "data", "label", "name")),
    "attestation": ("attestations", _CLAIM),
    "licence-attestation": ("license_attestation", _CLAIM),
    "sbom-attestation": ("sbom_attestation", _CLAIM),
    "vulnerability-attestation": ("vulnerability_attestation", _CLAIM),
    "provided-attestation": ("provided_attestation", _CLAIM),
    "poisoning-attestation": ("poisoning_attestation", _CLAIM),
    "pollution-attestation": ("pollution_attestation", _CLAIM),
    "bias-attestation": ("bias_attestation", _CLAIM),
    "best-practice-attestation": ("best_practice_attestation", _CLAIM),
    "functional-performance-attestation": ("functional_performance_attestation", _CLAIM),
}
_NAME = re.compile(r"[a-z][A-Za-z0-9_]*")
_OURS = re.compile(r"sha256(?:-merkle)?:([0-9a-f]{64})")


def to_prolog(view: Snapshot) -> Iterator[str]:
    """Yields the lines of a Prolog file with a fact for every credential that holds and is not retracted.

    What has no counterpart in TAIBOM (negative results, retractions, and our own fields of its kinds) is left out; the
    last lines say how much that is. Digests are bare hexadecimal, as TAIBOM writes them.
    """
    yield "% Facts for TAIBOM's rules. Signatures were checked; times and trust are not looked at."
    yield ":- set_prolog_flag(double_quotes, string)."
    for predicate, names in _LAYOUT.values():
        yield f":- discontiguous {predicate}/{len(names) + 1}."
        yield f":- dynamic {predicate}/{len(names) + 1}."
    left_out: Counter[str] = Counter()
    for entry in view.entries():
        if not entry.valid:
            left_out["that do not hold"] += 1
        elif entry.retracted is not None:
            left_out["that are retracted"] += 1
        elif entry.kind not in _LAYOUT:
            left_out["of a kind that TAIBOM does not have"] += 1
        else:
            yield _fact(entry, entry.kind)
    for why, number in sorted(left_out.items()):
        yield f"% Left out: {number} credentials {why}."


def _fact(entry: Entry, kind: str) -> str:
    predicate, names = _LAYOUT[kind]
    subject = dict(entry.subject)
    if "attestation" in names:
        subject["attestation"] = _claimed(entry, subject["attestation"])
    bare = not is_foreign(entry.document)
    values = [_term(name, subject[name], bare) if subject.get(name) is not None else "_" for name in names]
    return f"{predicate}({', '.join([_string(entry.id), *values])})."


def _claimed(entry: Entry, claim: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what a claim says without what else it has: another argument would hide it from the rules."""
    inner = details_of(entry.document)
    held = {name: value for name, value in claim.items() if name == "type" or value is inner}
    return held if len(held) > 1 else claim


def _term(name: str, value: Any, bare: bool) -> str:
    """Returns a property's value as a term; ``bare`` takes the algorithm from our digests."""
    if isinstance(value, Mapping):
        return _compound(name, value, bare)
    if isinstance(value, list):
        singular = name[:-1] if name.endswith("s") and not name.endswith("ss") else name
        return f"[{', '.join(_term(singular, item, bare) for item in value)}]"
    if isinstance(value, str):
        ours = _OURS.fullmatch(value) if bare and name in ("hash", "value") else None
        return _string(ours[1] if ours else value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _number(value)


def _compound(name: str, value: Mapping[str, Any], bare: bool) -> str:
    functor = name if _NAME.fullmatch(name) else f"'{_escaped(name)}'"
    if not value:
        return f"({functor})"
    return f"{functor}({', '.join(_term(inner, value[inner], bare) for inner in sorted(value))})"


def _number(value: int | float) -> str:
    text = repr(value)
    return text if isinstance(value, int) or "." in text else text.replace("e", ".0e")


def _string(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Returns text for between quotes: what is not plain ASCII, and what ends or escapes, by its number."""
    return "".join(c if " " <= c <= "~" and c not in "\\\"'`~" else f"\\x{ord(c):x}\\" for c in text)
