"""Adding verified credentials to a store: whole batches or nothing, and every link resolved as far as it can be."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BindParameter, ScalarSelect, bindparam, func, insert, select, update
from sqlalchemy.engine import Connection

from theriac.provenance.intake import Record
from theriac.provenance.kinds.ours import may_retract
from theriac.provenance.linking import CHAIN, Candidate, candidate_of, follow, role_of
from theriac.provenance.snapshot import chunks
from theriac.provenance.tables import CREDENTIALS, LINKS, RELATIONS, State, key_of_id, relation_code

_C, _L = CREDENTIALS.c, LINKS.c
_RETRACTS = RELATIONS["retracts"]
_KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
_CANDIDATES = select(_C.key, *(_C[name] for name in Candidate.__slots__)).where(_C.key.in_(_KEYS)).order_by(_C.pk)
_POINTING = (
    select(LINKS, _C.kind, _C.label)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.source))
    .where(_L.target.in_(_KEYS))
)
_RESOLVE = (
    update(LINKS)
    .where(_L.source == bindparam("s"), _L.position == bindparam("p"))
    .values(to=bindparam("new_to"), state=bindparam("new_state"), plain=bindparam("new_plain"))
)


def known_digests(connection: Connection, digests: Sequence[bytes]) -> set[bytes]:
    """Returns those of the digests that the store has."""
    found: set[bytes] = set()
    for chunk in chunks(list(digests)):
        found.update(bytes(row.digest) for row in connection.execute(select(_C.digest).where(_C.digest.in_(chunk))))
    return found


def insert_records(connection: Connection, records: Sequence[Record]) -> list[Record]:
    """Adds the records that are not there yet, in one transaction of the caller's, and returns them.

    The caller holds the only right to write.
    """
    known = known_digests(connection, [record.digest for record in records])
    fresh = list({record.digest: record for record in records if record.digest not in known}.values())
    if not fresh:
        return []
    first = int(connection.execute(select(func.max(_C.pk))).scalar() or 0) + 1
    connection.execute(insert(CREDENTIALS), [_row(pk, record) for pk, record in enumerate(fresh, first)])
    links = [link for pk, record in enumerate(fresh, first) for link in _links(pk, record)]
    own = [key_of_id(record.id) for record in fresh]
    now = int(time.time())
    candidates = _candidates(connection, {*own, *(link["target"] for link in links)})
    for link in links:
        target = follow(link.pop("role"), link["relation"], link["hash"], candidates.get(link["target"], ()), now)
        link |= {"to": target.to, "state": int(target.state), "plain": target.plain}
    waiting = _resolve_waiting(connection, own, candidates, now)
    if links:
        connection.execute(insert(LINKS), links)
    retractions = [(link["source"], link["to"]) for link in links if link["relation"] == _RETRACTS]
    _retract(connection, [*retractions, *waiting])
    return fresh


def _row(pk: int, record: Record) -> dict[str, Any]:
    facts = record.facts
    return {
        "pk": pk,
        "digest": record.digest,
        "key": key_of_id(record.id),
        "id": record.id,
        "kind": facts.kind,
        "label": facts.label,
        "name": facts.name,
        "content": facts.content,
        "issuer": record.issuer,
        "signer": record.signer,
        "profile": record.profile,
        "signature": record.signature,
        "valid": record.valid,
        "reason": record.reason,
        "starts": record.starts,
        "ends": record.ends,
        "fanout": sum(relation_code(link.relation, facts.kind) in CHAIN for link in facts.links),
        "retracted": None,
        "document": record.document,
    }


def _links(pk: int, record: Record) -> list[dict[str, Any]]:
    facts = record.facts
    role = role_of(facts.kind, facts.label)
    return [
        {
            "source": pk,
            "position": position,
            "relation": relation_code(link.relation, facts.kind),
            "target": key_of_id(link.target),
            "hash": link.hash,
            "role": role,
        }
        for position, link in enumerate(facts.links)
    ]


def _candidates(connection: Connection, keys: set[bytes]) -> dict[bytes, list[Candidate]]:
    found: dict[bytes, list[Candidate]] = {}
    for chunk in chunks(sorted(keys)):
        for row in connection.execute(_CANDIDATES, {"keys": chunk}):
            found.setdefault(bytes(row.key), []).append(candidate_of(row))
    return found


def _resolve_waiting(
    connection: Connection, keys: Sequence[bytes], candidates: dict[bytes, list[Candidate]], now: int
) -> list[tuple[int, int | None]]:
    """Looks again at the stored links that name what has arrived; returns the retractions among them."""
    changes, retractions = [], []
    for chunk in chunks(sorted(set(keys))):
        for row in connection.execute(_POINTING, {"keys": chunk}):
            target = follow(role_of(row.kind, row.label), row.relation, row.hash, candidates[bytes(row.target)], now)
            if (target.to, target.state, target.plain) != (row.to, row.state, row.plain):
                new = {"new_to": target.to, "new_state": int(target.state), "new_plain": target.plain}
                changes.append({"s": row.source, "p": row.position} | new)
            if row.relation == _RETRACTS:
                retractions.append((row.source, target.to))
    if changes:
        connection.execute(_RESOLVE, changes)
    return retractions


def _retract(connection: Connection, pairs: Sequence[tuple[int, int | None]]) -> None:
    """Marks what was retracted by whoever had issued it."""
    for pk in dict.fromkeys(target for _, target in pairs if target is not None):
        since = retracted_since(connection, pk)
        if since is not None:
            connection.execute(update(CREDENTIALS).where(_C.pk == pk).values(retracted=since))
            connection.execute(update(LINKS).where(_L.to == pk, _L.target == _key_of(pk)).values(plain=False))


def _key_of(pk: int) -> ScalarSelect[bytes]:
    return select(_C.key).where(_C.pk == pk).scalar_subquery()


def retracted_since(connection: Connection, pk: int) -> int | None:
    """Returns since when a credential is retracted, in seconds since 1970; None if it is not."""
    signer = connection.execute(select(_C.signer).where(_C.pk == pk)).scalar_one()
    query = (
        select(_C.signer, _C.starts)
        .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.source))
        .where(_L.target == _key_of(pk), _L.relation == _RETRACTS, _L.to == pk, _C.valid)
    )
    rows = connection.execute(query)
    return min((row.starts or 0 for row in rows if may_retract(row.signer, signer)), default=None)


def recheck_links(connection: Connection, pk: int, record: Record) -> bool:
    """Returns whether what is stored about a credential's links and retraction is what follows from the documents."""
    now = int(time.time())
    wanted = _links(pk, record)
    candidates = _candidates(connection, {link["target"] for link in wanted})
    rows = connection.execute(select(LINKS).where(_L.source == pk).order_by(_L.position)).all()
    retracted = connection.execute(select(_C.retracted).where(_C.pk == pk)).scalar()
    if len(rows) != len(wanted) or retracted != retracted_since(connection, pk):
        return False
    for row, link in zip(rows, wanted, strict=True):
        said = (row.position, row.relation, bytes(row.target), row.hash)
        if said != (link["position"], link["relation"], link["target"], link["hash"]):
            return False
        target = follow(link["role"], link["relation"], link["hash"], candidates.get(link["target"], ()), now)
        if (row.to, State(row.state)) != (target.to, target.state) or (row.plain and not target.plain):
            return False
    return True
