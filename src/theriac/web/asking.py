"""What a visitor asks for, as it stands in the page's address, and what the page shows for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from markupsafe import Markup
from pydantic import BaseModel, Field, StringConstraints

from theriac.errors import UserError
from theriac.provenance.claims import Attestation
from theriac.provenance.query import QUERIES, Answer, Mode, ask
from theriac.provenance.snapshot import Entry, Snapshot
from theriac.provenance.verdict import Verdict, verdict_of
from theriac.provenance.walk import Node, walk
from theriac.web.attesting import Claim, Severity
from theriac.web.chain import ROLES, all_nodes, chain_html, nodes_on
from theriac.web.listing import find
from theriac.web.site import Site

MOST_CLAIMS = 200
MOST_IDS = 500
_Line = Annotated[str, StringConstraints(strip_whitespace=True)]
_Number = Annotated[int, Field(ge=0, le=2**62)]


class Asking(BaseModel):
    """The page's address: which system, which question, and which part of the list of systems."""

    system: _Line = Field(default="", max_length=500)
    query: str = Field(default="data-poisoning", max_length=100)
    mode: Mode = "extended"
    arguments: str = Field(default="", max_length=20_000)
    search: _Line = Field(default="", max_length=200)
    every: bool = False
    after: _Number = 0
    before: _Number = 0

    def address(self, anchor: str = "answer", **changes: str | int | bool) -> str:
        """Returns the address of the page with these changes."""
        return f"/?{self._text(changes)}#{anchor}"

    def address_of(self, digest: str) -> str:
        """Returns the address of a credential's page, from which the visitor can come back to this one."""
        return f"/credential/{digest}?{self._text({})}"

    def _text(self, changes: dict[str, str | int | bool]) -> str:
        values = self.back | changes
        return urlencode({name: it for name, it in values.items() if it != Asking.model_fields[name].default})

    @property
    def back(self) -> dict[str, str | int | bool]:
        """What forms must carry to come back to this page."""
        return {name: getattr(self, name) for name in Asking.model_fields}


class Attesting(Asking):
    """The form that adds a claim."""

    token: str = Field(max_length=100)
    component: str = Field(max_length=100)
    claim: Claim
    type: _Line = Field(min_length=1, max_length=200)
    severity: Severity
    description: _Line = Field(default="", max_length=4_000)


class Retracting(Asking):
    """The form that takes a claim back."""

    token: str = Field(max_length=100)
    credential: str = Field(max_length=100)
    reason: _Line = Field(default="", max_length=4_000)


@dataclass(frozen=True)
class Shown:
    """An answer with what the page shows of it.

    Attributes:
        answer: The answer.
        verdict: It in a word and a sentence.
        claims: The claims, and searches that found nothing.
        signers: Digest of a claim -> who signed it.
        listed: What the answer lists, as far as the store has it.
        chain: The chain as HTML.
        parts: Digest and description of what claims can be made about.
        unchecked: What nobody searched or spoke of.
    """

    answer: Answer
    verdict: Verdict
    claims: Sequence[Attestation]
    signers: dict[str, str]
    listed: Sequence[tuple[str, Entry | None]]
    chain: Markup
    parts: Sequence[tuple[str, str]]
    unchecked: Sequence[tuple[str, Entry | None]]


def answer(site: Site, asking: Asking) -> Shown:
    """Asks the store and prepares the answer for the page.

    Raises:
        UserError: If there is no such query, or its arguments are missing.
    """
    if asking.query not in QUERIES:
        raise UserError("there is no such question", do="choose one of the list")
    arguments = _arguments(asking)
    now = datetime.now(UTC)
    given = ask(site.store, asking.query, asking.system, arguments, mode=asking.mode, at=now, policy=site.policy)
    claims = [*given.attestations[:MOST_CLAIMS], *given.checks[:MOST_CLAIMS]]
    ids = given.answer[:MOST_IDS] if isinstance(given.answer, list) else []
    with site.store.snapshot() as view:
        nodes = _nodes(view, site, asking, given, now)
        signed = view.with_digests({claim.digest for claim in claims})
        unchecked = given.unchecked[:MOST_IDS]
        found = view.with_ids([*ids, *unchecked])
        return Shown(
            given,
            verdict_of(given),
            claims,
            {digest: entry.signer for digest, entry in signed.items()},
            [(id, next(iter(found.get(id, ())), None)) for id in ids],
            chain_html(nodes, given.attestations, asking.address_of),
            [(node.entry.digest, _described(node.entry)) for node in nodes[:MOST_IDS]],
            [(id, next(iter(found.get(id, ())), None)) for id in unchecked],
        )


def _arguments(asking: Asking) -> list[str]:
    """Returns what the question compares with; nothing if it compares with nothing."""
    wanted = QUERIES[asking.query].arguments
    given = list(dict.fromkeys(asking.arguments.split())) if wanted else []
    what = "hash" if wanted.startswith("HASH") else "provider"
    if wanted and not given:
        raise UserError(f"this question compares with a {what}", do="write it under “Compared with”, and ask")
    if len(given) > (1 if wanted == "HASH" else MOST_IDS):
        raise UserError(f"these are too many for this question: {len(given)}", do="leave some out")
    return given


def _nodes(view: Snapshot, site: Site, asking: Asking, given: Answer, now: datetime) -> list[Node]:
    if asking.query == "systems-using":
        return nodes_on(view, [[asking.system], *given.paths[:MOST_IDS]])
    return all_nodes(view, walk(view, asking.system, now, site.policy), given.attestations)


def _described(entry: Entry) -> str:
    return f"{ROLES.get(entry.role, entry.kind or 'Unknown')}: {entry.name or entry.id}"[:200]


def chosen(view: Snapshot, digest: str) -> Entry:
    """Returns the credential with a digest.

    Raises:
        UserError: If the store has none.
    """
    entry = find(view, digest)
    if entry is None:
        raise UserError("there is no such credential in the store")
    _ = entry.document  # is kept, so that it can be used when the view is gone
    return entry
