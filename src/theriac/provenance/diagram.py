"""What a picture of a chain shows: a box for each part, an arrow for each link, and what is claimed about the parts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from theriac.provenance.claims import Attestation
from theriac.provenance.facts import Link, facts_of
from theriac.provenance.linking import CHAIN, Candidate, follow
from theriac.provenance.snapshot import Entry
from theriac.provenance.tables import RELATIONS, State
from theriac.provenance.walk import Chain, Node

FEW = 40  # if more parts of one kind than this are beside each other …
SHOWN = 12  # … only so many are drawn, and the rest becomes one box
MANY = 400  # so many boxes are drawn before only those are that claims are about
MOST = 500  # so many are drawn of those

Tone = Literal["plain", "alarm", "asked", "doubt", "searched", "missing", "crowd"]
WORDS = {
    "ai-system Inferencing": "AI system",
    "ai-system Training": "training system",
    "config": "config",
    "data Weights": "weights",
    "data Training": "data set",
    "data-pack": "data pack",
    "code": "code",
    "sbom": "SBOM",
}
_ALARMS = {"poisoning": "POISONED", "pollution": "POLLUTED", "bias": "BIASED", "vulnerability": "VULNERABLE"}
_FLAWS = {
    State.DIFFERS: "not the credential that was linked",
    State.CONFLICT: "several credentials have this id",
    State.WRONG: "of the wrong kind to be linked here",
    State.BROKEN: "does not hold",
}


@dataclass
class Box:
    """A part of the system, or what stands for many.

    Attributes:
        key: Unique in its diagram, of letters and digits.
        role: What kind of thing it is, in words.
        name: Its name, or its id.
        id: The id of its credential; empty if it stands for many.
        tone: ``alarm`` if a claim about it counts, ``doubt`` if one does not or its credential does not hold.
        marks: What is said about it, a line each.
    """

    key: str
    role: str
    name: str
    id: str = ""
    tone: Tone = "plain"
    marks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Arrow:
    """A link between the boxes with these keys; ``holds`` is false for one that cannot be relied on."""

    source: str
    target: str
    holds: bool
    label: str = ""


@dataclass
class Diagram:
    """Boxes and arrows, from the system to its parts.

    Attributes:
        title: What it is a picture of.
        boxes: By key, near ones first.
        arrows: From boxes to boxes.
        remarks: Why the chain is incomplete, and what else to know.
        complete: Whether every link holds; None where that is not the question.
    """

    title: str
    boxes: dict[str, Box] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    complete: bool | None = None


def diagram_of(chain: Chain, claims: Iterable[Attestation]) -> Diagram:
    """Returns what a picture of a chain and of the claims about its parts shows.

    Of more than 40 parts of one kind beside each other the first twelve are drawn, and the rest becomes "… and 37
    more"; except those that a claim that counts is about: these are always drawn, with their whole way to the system,
    or counted in red beyond 500.
    """
    builder = _Builder(chain)
    builder.add_parts()
    builder.add_claims(list(claims))
    builder.add_crowds()
    diagram = builder.diagram
    _collapse(diagram, {f"n{node.entry.pk}" for node in chain.roots})
    return diagram


def parts_of(chain: Chain) -> Diagram:
    """Returns every part of a chain, and every link as it was found, with nothing left out; no crowds, no claims.

    The key of a part's box is :func:`key_of` it; those of missing parts are others.
    """
    builder = _Builder(chain)
    builder.add_parts()
    return builder.diagram


def key_of(node: Node) -> str:
    """Returns the key of a part's box."""
    return f"n{node.entry.pk}"


class _Builder:
    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        names = [node.entry.name or node.entry.id for node in chain.roots[:1]]
        title = f"What {names[0] if names else 'the system'} was made of"
        self.diagram = Diagram(title, remarks=list(chain.gaps), complete=chain.complete)
        self.by_id: dict[str, list[Node]] = {}
        self.by_path: dict[tuple[str, ...], Node] = {}
        for node in chain.nodes.values():
            self.by_id.setdefault(node.entry.id, []).append(node)
            self.by_path[node.path] = node
        self.joined: set[tuple[str, str]] = set()
        self.others: dict[str, Box] = {}
        self.links: dict[int, dict[str, Link]] = {}
        self.crowds = {node.entry.pk for node in chain.crowds}
        self.gaps: dict[str, list[str]] = {}
        for gap in chain.gaps:
            id, _, why = gap.partition(": ")
            self.gaps.setdefault(id, []).append(why)

    def add_parts(self) -> None:
        """Adds a box for each part that the walk found, and one for each that it missed."""
        for node in self.chain.nodes.values():
            self.diagram.boxes[key_of(node)] = self._box(node)
        for node in self.chain.nodes.values():
            self._join_parent(node)
        for node in self.chain.nodes.values():
            for link in self._links(node).values():
                self._follow(node, link)

    def add_claims(self, claims: Sequence[Attestation]) -> None:
        """Marks the parts that claims are about, adding those that are in a crowd."""
        about: dict[str, list[Attestation]] = {}
        for claim in claims:
            if box := self._about(claim):
                about.setdefault(box.key, []).append(claim)
        for key, said in about.items():
            _mark(self.diagram.boxes[key], said)

    def add_crowds(self) -> None:
        """Adds one box for the plain parts of each pack that has too many of them."""
        for node in self.chain.crowds:
            holder = key_of(node)
            rest = node.entry.fanout - sum(arrow.source == holder for arrow in self.diagram.arrows)
            if rest > 0:
                more = "more " if rest < node.entry.fanout else ""
                name = f"{rest:,} {more}data sets".replace(",", " ")
                box = Box(f"c{node.entry.pk}", "data sets", name, tone="crowd")
                self.diagram.boxes[box.key] = box
                self._join(holder, box.key, node.sound)

    def _box(self, node: Node) -> Box:
        entry = node.entry
        box = Box(
            key_of(node), WORDS.get(node.role, node.role or "of an unknown kind"), entry.name or entry.id, entry.id
        )
        gaps = list(self.gaps.get(entry.id, ()))
        if not entry.valid:
            gaps.insert(0, f"does not hold: {entry.reason}")
        if gaps and not node.sound:
            box.tone, box.marks = "doubt", gaps[:1]
        return box

    def _join_parent(self, node: Node) -> None:
        """Draws the way by which the walk came to a part."""
        if len(node.path) < 2:
            return
        parent = self.by_path.get(node.path[:-1]) or next(iter(self.by_id.get(node.path[-2], [])), None)
        if parent is None or parent is node:
            return
        backwards = node.role == "config" and parent.role == "data Weights"
        named = None if backwards else self._links(parent).get(node.entry.id)
        if named:
            self._follow(parent, named, node)
        else:
            self._join(key_of(parent), key_of(node), parent.sound and node.sound, "trained by" if backwards else "")

    def _follow(self, node: Node, link: Link, only: Node | None = None) -> None:
        label = "derived from" if link.relation == "derivedFrom" else ""
        candidates = self.by_id.get(link.target, [])
        if not candidates:
            absent = self._other(link.target, "missing", link.target, "missing")
            absent.marks = ["is not in the store"]
            self._join(key_of(node), absent.key, False, label)
            return
        offered = [_candidate(candidate.entry) for candidate in candidates]
        target = follow(node.role, RELATIONS[link.relation], link.hash, offered, 0)
        for candidate in [only] if only else candidates:
            held = target.to == candidate.entry.pk
            if held or target.to is None:
                flaw = "" if held else _FLAWS.get(target.state, "")
                box = self.diagram.boxes[key_of(candidate)]
                if flaw and not box.marks:
                    box.tone, box.marks = "doubt", [flaw]
                self._join(key_of(node), box.key, held and node.sound and candidate.sound, label)

    def _join(self, source: str, target: str, holds: bool, label: str = "") -> None:
        if (source, target) not in self.joined and (target, source) not in self.joined:
            self.joined.add((source, target))
            self.diagram.arrows.append(Arrow(source, target, holds, label))

    def _about(self, claim: Attestation) -> Box | None:
        """Returns the box of what a claim is about, making it if the part is one of a crowd."""
        nodes = self.by_id.get(claim.component["id"], [])
        if nodes:
            return self.diagram.boxes[key_of(next((node for node in nodes if node.path == claim.path), nodes[0]))]
        holder = self.by_path.get(claim.path[:-1])
        if holder is None:
            return None
        id = claim.component["id"]
        box = self._other(id, WORDS["data Training"], claim.component_name or id)
        self._join(key_of(holder), box.key, holder.sound)
        return box

    def _other(self, id: str, role: str, name: str, tone: Tone = "plain") -> Box:
        """Returns the box of something that the walk did not look at, making it if there is none."""
        if id not in self.others:
            box = self.others[id] = Box(f"x{len(self.others)}", role, name, id, tone)
            self.diagram.boxes[box.key] = box
        return self.others[id]

    def _links(self, node: Node) -> dict[str, Link]:
        """Returns target -> link of a part; nothing of a crowd, whose links are too many, or of what does not hold."""
        if node.entry.pk not in self.links:
            usable = node.entry.valid and node.entry.pk not in self.crowds
            links = facts_of(node.entry.document).links if usable else ()
            chosen = [link for link in links if RELATIONS.get(link.relation) in CHAIN]
            self.links[node.entry.pk] = {link.target: link for link in chosen}
        return self.links[node.entry.pk]


def _candidate(entry: Entry) -> Candidate:
    proof = None if entry.profile == "w3c" else entry.document.get("proof")  # as the store has it
    signature = proof.get("proofValue") if isinstance(proof, dict) else ""
    return Candidate(
        pk=entry.pk,
        digest=bytes.fromhex(entry.digest.removeprefix("sha256:")),
        kind=entry.kind or "",
        label=entry.label,
        content=entry.content,
        profile=entry.profile,
        signature=signature if isinstance(signature, str) else "",
        valid=entry.valid,
        starts=entry.starts,
        ends=entry.ends,
        fanout=entry.fanout,
        retracted=None,  # of no matter to where a link leads
    )


def _mark(box: Box, claims: Sequence[Attestation]) -> None:
    """Says on a box what is claimed about it: what counts first, and what does not count as such."""
    alarms = [claim for claim in claims if claim.accepted and claim.type in _ALARMS]
    doubts = [claim for claim in claims if not claim.accepted]
    others = [claim for claim in claims if claim.accepted and claim.type not in _ALARMS]
    said = [f"{_ALARMS[claim.type]}: {_details(claim)}".removesuffix(": ") for claim in alarms]
    said = said[:2] + ([f"and {len(said) - 2} more claims"] if len(said) > 2 else [])
    if doubts:
        number = f"{len(doubts)} claims do" if len(doubts) > 1 else f"a claim of {doubts[0].type} does"
        said.append(f"{number} not count")
    searched = [claim for claim in others if claim.type.endswith("check") or claim.type == "checked"]
    verdicts = [str(claim.details.get("verdict", "")) for claim in searched]
    said += [f"searched: {'nothing found' if verdicts[0] == 'clean' else verdicts[0]}"] if verdicts else []
    plain = sorted({claim.type.replace("-", " ") for claim in others if claim not in searched})
    said += [f"attested: {', '.join(plain)}"] if plain else []
    box.marks = [*said, *box.marks]
    if alarms:
        box.tone = "alarm"
    elif doubts:
        box.tone = "doubt"
    elif searched and box.tone == "plain":
        box.tone = "searched"


def _details(claim: Attestation) -> str:
    types = claim.details.get("types")
    words = [claim.details.get("type"), *(types if isinstance(types, list) else []), claim.details.get("severity")]
    named = claim.details.get("id") if claim.type == "vulnerability" else None
    return ", ".join(word for word in (named, *words) if isinstance(word, str) and word)


def _collapse(diagram: Diagram, roots: set[str]) -> None:
    """Leaves out what is too much to look at, saying how many parts that is; never what a claim is about."""
    parents: dict[str, list[str]] = {}
    children: dict[str, list[str]] = {}
    for arrow in diagram.arrows:
        parents.setdefault(arrow.target, []).append(arrow.source)
        children.setdefault(arrow.source, []).append(arrow.target)
    alarms = [key for key, box in diagram.boxes.items() if box.tone == "alarm"][:MOST]
    wanted, pending = set(alarms), alarms
    while pending:  # what leads to them stays, too
        for above in parents.get(pending.pop(), ()):
            if above not in wanted:
                wanted.add(above)
                pending.append(above)
    kept = [key for key in diagram.boxes if key in roots or not parents.get(key)]
    kept = kept or list(diagram.boxes)[:1]  # a circle has no beginning
    seen = set(kept)
    left_out: dict[tuple[str, str, bool], list[str]] = {}
    for holder in kept:  # grows as it goes
        room = _room(diagram, children.get(holder, ()))
        for key in sorted(children.get(holder, ()), key=lambda key: _RANK.index(diagram.boxes[key].tone)):
            box = diagram.boxes[key]
            if key in seen:
                continue
            usual = room[box.role] > 0 and len(kept) < MANY and box.tone != "alarm"
            if key in wanted or box.tone == "crowd" or usual:
                room[box.role] -= 1
                seen.add(key)
                kept.append(key)
            else:
                left_out.setdefault((holder, box.role, box.tone == "alarm"), []).append(key)
    _cut(diagram, seen, left_out)


def _room(diagram: Diagram, keys: Iterable[str]) -> dict[str, int]:
    """Returns how many parts of each kind to draw."""
    numbers = Counter(diagram.boxes[key].role for key in keys)
    return {role: number if number <= FEW else SHOWN for role, number in numbers.items()}


_RANK: tuple[Tone, ...] = ("alarm", "asked", "doubt", "missing", "crowd", "searched", "plain")


def _cut(diagram: Diagram, seen: set[str], left_out: dict[tuple[str, str, bool], list[str]]) -> None:
    held = {(arrow.source, arrow.target): arrow.holds for arrow in diagram.arrows}
    diagram.boxes = {key: box for key, box in diagram.boxes.items() if key in seen}
    diagram.arrows = [arrow for arrow in diagram.arrows if arrow.source in seen and arrow.target in seen]
    for number, ((holder, role, alarming), keys) in enumerate(left_out.items()):
        hidden = [key for key in keys if key not in seen]
        if hidden:
            plural = role if role in ("code", "missing", "weights") or len(hidden) == 1 else f"{role}s"
            box = Box(f"h{number}", plural, f"… and {len(hidden):,} more".replace(",", " "), tone="crowd")
            if alarming:
                box.tone, box.marks = "alarm", ["claims about them count"]
            diagram.boxes[box.key] = box
            diagram.arrows.append(Arrow(holder, box.key, all(held[holder, key] for key in hidden)))
