"""Reading a store as it was at one moment."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Row, Select, bindparam, case, func, select
from sqlalchemy.engine import Connection

from theriac.errors import UserError
from theriac.provenance.canonical import Document, Invalid, parse
from theriac.provenance.linking import CHAIN, role_of
from theriac.provenance.tables import CLAIM, CREDENTIALS, LINKS, RELATIONS, State, key_of_id

BATCH = 500
_C, _L = CREDENTIALS.c, LINKS.c
_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """A stored credential; ``valid`` says whether shape, proof and issuer held when it was added (time aside).

    Times are seconds since 1970: it holds from ``starts`` to ``ends``, and no longer once it is ``retracted``.
    """

    pk: int
    digest: str
    id: str
    kind: str | None
    label: str
    name: str
    content: str
    issuer: str
    signer: str
    profile: str
    valid: bool
    reason: str
    starts: int | None
    ends: int | None
    fanout: int
    retracted: int | None
    data: bytes | None = field(repr=False)
    view: "Snapshot" = field(repr=False, compare=False)

    @property
    def role(self) -> str:
        """The kind with its label."""
        return role_of(self.kind or "", self.label)

    @property
    def signed(self) -> bytes:
        """The bytes of the signed document; those of a large one are fetched only now."""
        return self.view.document(self.pk) if self.data is None else self.data

    @cached_property
    def document(self) -> Document:
        """The signed document."""
        data = self.signed
        try:
            if not isinstance(data, bytes):
                raise Invalid("not bytes")
            return parse(data, max_bytes=len(data))
        except Invalid as error:
            raise UserError(f"credential {self.digest} in the store is damaged: {error}") from None

    @property
    def subject(self) -> Document:
        """What the credential claims; empty if it is malformed."""
        subject = self.document.get("credentialSubject")
        return subject if isinstance(subject, dict) else {}


_LARGE = 1 << 16
_SMALL_DOCUMENT = case((func.length(_C.document) <= _LARGE, _C.document)).label("data")
_ENTRY = [*(_C[name] for name in Entry.__dataclass_fields__ if name not in ("data", "view")), _SMALL_DOCUMENT]


@dataclass(frozen=True)
class Step:
    """A link that a walk has to look at: ``entry`` is what it leads to, None if it cannot be followed."""

    source: int
    position: int
    relation: int
    state: State
    target: bytes
    entry: Entry | None


@dataclass(frozen=True)
class Claim:
    """An attestation and the link by which it names its component."""

    entry: Entry
    target: bytes
    to: int | None
    state: State
    hash: str


_RESOLVED = _L.to.is_not(None)
_IN_PKS: BindParameter[Any] = bindparam("pks", expanding=True)
_IN_KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
_IN_CODES: BindParameter[Any] = bindparam("codes", expanding=True)
_STEPS = (
    select(_L.source, _L.position, _L.relation, _L.state, _L.target, *_ENTRY)
    .select_from(LINKS.outerjoin(CREDENTIALS, _C.pk == _L.to))
    .where(_L.source.in_(_IN_PKS), ~_L.plain, _L.relation < CLAIM)
    .order_by(_L.source, _L.position)
)
_CONFIGS = (
    select(_L.to.label("weights"), *_ENTRY)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.source))
    .where(_L.target.in_(_IN_KEYS), _L.relation == RELATIONS["data"], _RESOLVED, _C.kind == "config", _C.valid)
    .order_by(_C.pk)
)
_CLAIMS = (
    select(_L.target, _L.to, _L.state, _L.hash, *_ENTRY)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.source))
    .where(_L.relation.in_(_IN_CODES), _L.target.in_(_IN_KEYS))
    .order_by(_C.pk)
)
_CLAIMED = select(_L.target).where(_L.relation.in_(_IN_CODES), _L.relation >= CLAIM).distinct()
# Not by source: a database that begins there reads a million links for every few keys.
_HELD = select(_L.source, _L.target, _L.to, _L.plain).where(_L.target.in_(_IN_KEYS), _L.relation.in_(sorted(CHAIN)))
_LEAVES = (
    select(_L.source.label("holder"), *_ENTRY)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.to))
    .where(_L.source.in_(_IN_PKS), _L.plain)
    .order_by(_L.source, _L.position)
)
_BEGUN_AFTER = (
    select(*_ENTRY)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.to))
    .where(_L.source.in_(_IN_PKS), _L.plain, _C.starts > bindparam("moment"))
    .limit(20)
)
_TARGETS = (
    select(_L.target)
    .where(_L.source.in_(_IN_PKS), _L.relation == bindparam("relation"))
    .order_by(_L.source, _L.position)
)
_NAMING = (
    select(*_ENTRY)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.source))
    .where(_L.target.in_(_IN_KEYS), _L.relation == bindparam("relation"))
    .order_by(_C.pk)
)
_BY_KEY = select(*_ENTRY).where(_C.key.in_(_IN_KEYS)).order_by(_C.digest)
_BY_PK = select(*_ENTRY).where(_C.pk.in_(_IN_PKS)).order_by(_C.pk)
_UP = (
    select(_L.to.label("below"), _L.relation, *_ENTRY)
    .select_from(LINKS.join(CREDENTIALS, _C.pk == _L.source))
    .where(_L.target.in_(_IN_KEYS), _RESOLVED, _L.relation.in_(sorted(CHAIN)))
    .order_by(_C.pk)
)


class Snapshot:
    """The store as it was at one moment, whatever is added meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def with_ids(self, ids: Collection[str]) -> dict[str, list[Entry]]:
        """Returns id -> the credentials with that id (there may be several), in order of their digests."""
        found: dict[str, list[Entry]] = {}
        for entry in self._by_key(key_of_id(id) for id in ids):
            if entry.id in ids:
                found.setdefault(entry.id, []).append(entry)
        return found

    def with_keys(self, keys: Collection[bytes]) -> dict[bytes, list[Entry]]:
        """Returns key -> the credentials whose id has that key."""
        found: dict[bytes, list[Entry]] = {}
        for entry in self._by_key(keys):
            found.setdefault(key_of_id(entry.id), []).append(entry)
        return found

    def with_pks(self, pks: Collection[int]) -> dict[int, Entry]:
        """Returns number -> credential."""
        rows = self._rows(_BY_PK, "pks", pks)
        return {entry.pk: entry for entry in map(self._entry, rows)}

    def with_digests(self, digests: Collection[str]) -> dict[str, Entry]:
        """Returns digest -> credential."""
        found = {}
        for chunk in chunks([bytes.fromhex(digest.removeprefix("sha256:")) for digest in sorted(digests)]):
            for row in self.connection.execute(select(*_ENTRY).where(_C.digest.in_(chunk))):
                entry = self._entry(row)
                found[entry.digest] = entry
        return found

    def steps(self, pks: Collection[int]) -> list[Step]:
        """Returns the links in these credentials that a walk has to look at: all but the plain ones."""
        return [self._step(row) for row in self._rows(_STEPS, "pks", pks)]

    def configs_of(self, weights: Collection[Entry]) -> list[tuple[int, Entry]]:
        """Returns (number of the weights, config) for every sound config that names these weights."""
        pks = {entry.pk for entry in weights}
        rows = self._rows(_CONFIGS, "keys", [key_of_id(entry.id) for entry in weights])
        return [(row.weights, self._entry(row, 1)) for row in rows if row.weights in pks]

    def claims(self, keys: Collection[bytes], codes: Sequence[int]) -> list[Claim]:
        """Returns the claims of these kinds about the ids with these keys."""
        return [self._claim(row, 4) for row in self._rows(_CLAIMS, "keys", keys, codes=codes)]

    def claimed_among(self, pks: Collection[int], codes: Sequence[int]) -> list[tuple[int, bytes, int | None, bool]]:
        """Returns (holder, key, number, plain) of what these credentials link to and claims of these kinds are about.

        It starts from the claims, and so is as quick for a pack of a million data sets as for one of ten.
        """
        keys = [bytes(row.target) for row in self.connection.execute(_CLAIMED, {"codes": codes})]
        holders = set(pks)
        rows = self._rows(_HELD, "keys", keys)
        return [(row.source, bytes(row.target), row.to, row.plain) for row in rows if row.source in holders]

    def targets(self, pks: Collection[int], relation: int) -> list[bytes]:
        """Returns the keys of what these credentials name by this relation, in their order."""
        return [bytes(row.target) for row in self._rows(_TARGETS, "pks", pks, relation=relation)]

    def naming(self, keys: Collection[bytes], relation: int) -> list[Entry]:
        """Returns the credentials that name one of these ids by this relation, whatever they say of its hash."""
        return [self._entry(row) for row in self._rows(_NAMING, "keys", keys, relation=relation)]

    def of_kind(self, kind: str) -> Iterator[Entry]:
        """Yields the credentials of a kind."""
        return (self._entry(row) for row in self.connection.execute(select(*_ENTRY).where(_C.kind == kind)))

    def leaves(self, pks: Collection[int]) -> Iterator[tuple[int, Entry]]:
        """Yields (holder, entry) for the plain parts of these credentials."""
        for row in self._rows(_LEAVES, "pks", pks):
            yield row.holder, self._entry(row, 1)

    def leaves_begun_after(self, pks: Collection[int], moment: int) -> list[Entry]:
        """Returns some of the plain parts of these that did not hold yet; none only if all did."""
        return [self._entry(row) for row in self._rows(_BEGUN_AFTER, "pks", pks, moment=moment)]

    def above(self, entries: Collection[Entry]) -> list[tuple[int, int, Entry]]:
        """Returns (number of the part, relation, credential) for every sound link of a chain to one of these."""
        pks = {entry.pk for entry in entries}
        rows = self._rows(_UP, "keys", [key_of_id(entry.id) for entry in entries])
        return [(row.below, row.relation, self._entry(row, 2)) for row in rows if row.below in pks]

    def count(self) -> int:
        """Returns the number of credentials."""
        return int(self.connection.execute(select(func.count()).select_from(CREDENTIALS)).scalar_one())

    def count_claims(self, codes: Sequence[int]) -> int:
        """Returns the number of claims of these kinds."""
        query = select(func.count()).select_from(LINKS).where(_L.relation.in_(codes), _L.relation >= CLAIM)
        return int(self.connection.execute(query).scalar_one())

    def entries(self) -> Iterator[Entry]:
        """Yields every credential."""
        query = select(*_ENTRY).order_by(_C.pk).execution_options(yield_per=BATCH)
        return (self._entry(row) for row in self.connection.execute(query))

    def document(self, pk: int) -> bytes:
        """Returns the bytes of a signed document."""
        return self.connection.execute(select(_C.document).where(_C.pk == pk)).scalar_one()  # type: ignore[no-any-return]

    def _by_key(self, keys: Any) -> list[Entry]:
        return [self._entry(row) for row in self._rows(_BY_KEY, "keys", list(dict.fromkeys(keys)))]

    def _rows(self, query: Select[Any], name: str, values: Collection[Any], **others: Any) -> Iterator[Row[Any]]:
        for chunk in chunks(list(values)):
            yield from self.connection.execute(query, {name: chunk, **others})

    def _entry(self, row: Row[Any], skip: int = 0) -> Entry:
        values: list[Any] = [*row[skip:], self]
        values[1] = f"sha256:{bytes(values[1]).hex()}"
        return Entry(*values)

    def _step(self, row: Row[Any]) -> Step:
        entry = None if row.pk is None else self._entry(row, 5)
        return Step(row.source, row.position, row.relation, State(row.state), bytes(row.target), entry)

    def _claim(self, row: Row[Any], skip: int) -> Claim:
        return Claim(self._entry(row, skip), bytes(row.target), row.to, State(row.state), row.hash)


def chunks(values: list[_T], size: int = BATCH) -> Iterator[list[_T]]:
    """Yields ``values`` in lists of at most ``size``."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
