"""The list of AI systems, a page at a time: a store may hold a million credentials."""

from dataclasses import dataclass

from sqlalchemy import or_, select

from theriac.provenance.snapshot import Entry, Snapshot
from theriac.provenance.tables import CREDENTIALS, key_of_id

PAGE = 12
_C = CREDENTIALS.c
_COLUMNS = (_C.pk, _C.id, _C.name, _C.label, _C.issuer, _C.profile, _C.valid, _C.retracted)


@dataclass(frozen=True)
class System:
    """One line of the list."""

    pk: int
    id: str
    name: str
    label: str
    issuer: str
    profile: str
    valid: bool
    retracted: int | None


@dataclass(frozen=True)
class Page:
    """A part of the list; ``earlier`` and ``later`` are the numbers where the parts beside it begin, 0 if none do."""

    systems: list[System]
    earlier: int = 0
    later: int = 0


def list_systems(view: Snapshot, search: str = "", *, every: bool = False, after: int = 0, before: int = 0) -> Page:
    """Returns one page of AI systems in the order in which they came.

    Pages are found by number, not by skipping, so that the last page comes as fast as the first.

    Args:
        view: Where to look.
        search: Part of a name or id, or a whole id.
        every: List the systems that train models, too.
        after: Only systems with larger numbers.
        before: Only systems with smaller numbers.
    """
    query = select(*_COLUMNS).where(_C.kind == "ai-system")
    if named := _with_id(view, search):
        query = query.where(_C.pk.in_(named))
    elif search:
        query = query.where(or_(_C.name.icontains(search, autoescape=True), _C.id.icontains(search, autoescape=True)))
    if not every:
        query = query.where(_C.label != "Training")
    if before:
        rows = view.connection.execute(query.where(_C.pk < before).order_by(_C.pk.desc()).limit(PAGE + 1)).all()
        more, kept = len(rows) > PAGE, rows[:PAGE][::-1]
        systems = [System(*row) for row in kept]
        return Page(systems, systems[0].pk if more else 0, systems[-1].pk if systems else 0)
    rows = view.connection.execute(query.where(_C.pk > after).order_by(_C.pk).limit(PAGE + 1)).all()
    systems = [System(*row) for row in rows[:PAGE]]
    return Page(systems, systems[0].pk if after and systems else 0, systems[-1].pk if len(rows) > PAGE else 0)


def _with_id(view: Snapshot, id: str) -> list[int]:
    query = select(_C.pk).where(_C.key == key_of_id(id), _C.id == id).limit(PAGE)
    return list(view.connection.execute(query).scalars())


def find(view: Snapshot, digest: str) -> Entry | None:
    """Returns the credential with a digest (``sha256:`` and 64 hexadecimal digits)."""
    value = digest.removeprefix("sha256:")
    if digest == value or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        return None
    return view.with_digests([digest]).get(digest)
