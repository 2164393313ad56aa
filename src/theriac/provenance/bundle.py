"""Everything that a store holds about one system, to be taken in elsewhere."""

from collections.abc import Iterator

from theriac.provenance.facts import details_of
from theriac.provenance.snapshot import Entry, Snapshot
from theriac.provenance.tables import CLAIMS, RELATIONS, key_of_id
from theriac.provenance.walk import Chain


def credentials_of(view: Snapshot, chain: Chain) -> Iterator[Entry]:
    """Yields every credential of a chain and about it, each once: parts first, then claims, who is who, retractions.

    Those that do not hold are among them: whoever takes them in must see what is wrong, too.
    """
    parts = {entry.pk: entry for entry in _parts(view, chain)}
    yield from parts.values()
    keys = {key_of_id(entry.id) for entry in parts.values()}
    claims = {claim.entry.pk: claim.entry for claim in view.claims(keys, sorted(CLAIMS.values()))}
    yield from claims.values()
    uuids = {
        details_of(entry.document).get("uuid") for entry in claims.values() if entry.kind == "provided-attestation"
    }
    people = {e.pk: e for e in view.of_kind("identity") if e.subject.get("uuid") in uuids} if uuids else {}
    yield from (entry for pk, entry in people.items() if pk not in parts)
    keys |= {key_of_id(entry.id) for entry in (*claims.values(), *people.values())}
    seen: set[int] = set()
    while keys:  # a retraction may be retracted
        named = {e.pk: e for e in view.naming(keys, RELATIONS["retracts"]) if e.pk not in seen}
        yield from named.values()
        seen |= named.keys()
        keys = {key_of_id(entry.id) for entry in named.values()}


def _parts(view: Snapshot, chain: Chain) -> Iterator[Entry]:
    yield from (node.entry for node in chain.nodes.values())
    yield from (node.entry for node in chain.roots if node.entry.pk not in chain.nodes)
    yield from (entry for _, entry in view.leaves([node.entry.pk for node in chain.crowds]))
