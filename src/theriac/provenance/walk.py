"""Walking the graph of credentials from an AI system to everything that it was made of."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from theriac.provenance.facts import facts_of
from theriac.provenance.linking import CHAIN, INFERENCING, TRAINING, WEIGHTS
from theriac.provenance.policy import Policy
from theriac.provenance.snapshot import Entry, Snapshot, Step
from theriac.provenance.tables import RELATIONS, State

SKEW = 300  # seconds of clock skew that are forgiven
FEW = 2000  # so many plain parts are looked at one by one


@dataclass(frozen=True)
class Node:
    """A part of the system: its credential, the ids that lead to it, and whether every link on that way holds."""

    entry: Entry
    path: tuple[str, ...]
    sound: bool

    @property
    def role(self) -> str:
        """The kind of the credential with its label."""
        return self.entry.role


@dataclass
class Chain:
    """Everything that a system was made of, as far as credentials tell.

    Attributes:
        nodes: Number of the credential -> part, breadth first.
        roots: The credentials of the system itself.
        crowds: The parts whose plain parts are too many to be among ``nodes``.
        at: The moment for which it was walked.
        gaps: Why the chain is incomplete; empty if it is complete.
        notes: What else a reader should know.
    """

    nodes: dict[int, Node] = field(default_factory=dict)
    roots: list[Node] = field(default_factory=list)
    crowds: list[Node] = field(default_factory=list)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every link holds."""
        return not self.gaps

    def gap(self, text: str) -> None:
        """Notes why the chain is incomplete."""
        if text not in self.gaps:
            self.gaps.append(text)

    def with_role(self, *roles: str) -> list[Node]:
        """Returns the parts of these kinds."""
        return [node for node in self.nodes.values() if node.role in roles]


def walk(view: Snapshot, system_id: str, at: datetime, policy: Policy) -> Chain:
    """Follows all links from a system, breadth first: packs in packs, derived data, and from weights to what made them.

    Each credential is visited once, so that cycles end. Where a link does not hold, the walk goes on to show what is
    there, but nothing found on that way is sound.
    """
    chain = Chain(at=at)
    level = chain.roots = _roots(view, system_id, at, policy, chain)
    explained: set[int] = set()
    holders: dict[int, int] = {}
    while level:
        fresh: dict[int, Node] = {}
        for node in level:
            known = chain.nodes.get(node.entry.pk)
            if known is None or (node.sound and not known.sound):
                chain.nodes[node.entry.pk] = fresh[node.entry.pk] = node
        level = _forward(view, fresh, at, chain, explained, holders)
        level += _configs(view, fresh, at, policy, chain, explained)
    _add_leaves(view, holders, at, chain)
    for node in chain.with_role(WEIGHTS):
        if node.entry.pk not in explained:
            chain.gap(f"nothing says what the weights {node.entry.id} were trained on")
    return chain


def flaw(entry: Entry, at: datetime) -> str:
    """Returns why a credential does not hold at that time, or nothing."""
    moment = at.timestamp()
    if not entry.valid:
        return entry.reason
    if entry.retracted is not None and entry.retracted <= moment:
        return f"retracted at {_day(entry.retracted)}"
    if entry.starts is not None and moment + SKEW < entry.starts:
        return f"not valid before {_day(entry.starts)}"
    if entry.ends is not None and moment > entry.ends:
        return f"expired at {_day(entry.ends)}"
    return ""


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _roots(view: Snapshot, system_id: str, at: datetime, policy: Policy, chain: Chain) -> list[Node]:
    candidates = view.with_ids([system_id]).get(system_id, [])
    if not candidates:
        chain.gap(f"{system_id} is not in the store")
    holding = [entry for entry in candidates if not flaw(entry, at)]
    if policy.given:
        holding = [entry for entry in holding if not policy.refuses(entry, "describe", [system_id])] or holding
    if len(holding) < len(candidates):
        number = len(candidates) - len(holding)
        chain.notes.append(f"{number} credential(s) with the id {system_id} do not hold or do not count")
    issuers = {entry.issuer for entry in holding}
    if len(issuers) > 1:
        chain.gap(f"{system_id} is claimed by several issuers: {', '.join(sorted(issuers))}")
    elif len(holding) > 1:
        holding = [max(holding, key=lambda entry: (entry.starts or 0, entry.digest))]
    for entry in holding or candidates:
        if why := flaw(entry, at) or policy.refuses(entry, "describe", [system_id]):
            chain.gap(f"{entry.id}: {why}")
        if entry.role not in (INFERENCING, TRAINING):
            chain.gap(f"{entry.id} is not an AI system but: {entry.role or 'of an unknown kind'}")
    return [Node(entry, (entry.id,), not flaw(entry, at)) for entry in holding or candidates]


def _forward(
    view: Snapshot, level: dict[int, Node], at: datetime, chain: Chain, explained: set[int], holders: dict[int, int]
) -> list[Node]:
    """Returns the parts that the credentials of this level name; ``holders`` gets the number of plain ones of each."""
    found: list[Node] = []
    for pk, node in level.items():
        holders[pk] = node.entry.fanout
    broken: list[Step] = []
    for step in view.steps(level):
        if step.relation not in CHAIN:
            continue
        parent = level[step.source]
        holders[step.source] -= 1
        if step.entry is None:
            broken.append(step)
            continue
        why = flaw(step.entry, at)
        if why:
            chain.gap(f"{step.entry.id}: {why}")
        elif parent.sound and parent.role == "config" and step.relation == RELATIONS["data"]:
            explained.add(step.entry.pk)
        found.append(Node(step.entry, (*parent.path, step.entry.id), parent.sound and not why))
    candidates = view.with_keys({step.target for step in broken}) if broken else {}
    for step in broken:
        parent, there = level[step.source], candidates.get(step.target, [])
        chain.gap(_why(parent, step, there))
        found += [Node(entry, (*parent.path, entry.id), sound=False) for entry in there]
    return found


def _configs(
    view: Snapshot, level: dict[int, Node], at: datetime, policy: Policy, chain: Chain, explained: set[int]
) -> list[Node]:
    """Returns the configs that name weights of this level: weights do not say themselves what trained them."""
    weights = {pk: node for pk, node in level.items() if node.role == WEIGHTS}
    found = []
    for pk, entry in view.configs_of([node.entry for node in weights.values()]):
        parent = weights[pk]
        if entry.pk in chain.nodes or flaw(entry, at):
            continue
        why = policy.refuses(entry, "describe", parent.path)
        if why:
            chain.notes.append(f"{entry.id}, which says what trained {parent.entry.id}, does not count: {why}")
        else:
            explained.add(pk)
        found.append(Node(entry, (*parent.path, entry.id), parent.sound and not why))
    return found


def _add_leaves(view: Snapshot, holders: dict[int, int], at: datetime, chain: Chain) -> None:
    """Adds the plain parts, unless there are too many: claims about those are looked for from the claims' side."""
    plain = [pk for pk, number in holders.items() if number > 0]
    if sum(holders[pk] for pk in plain) > FEW:
        chain.crowds = [chain.nodes[pk] for pk in plain]
        if at.timestamp() + SKEW < time.time():  # plain parts hold for ever once they have begun
            for entry in view.leaves_begun_after(plain, int(at.timestamp()) + SKEW):
                chain.gap(f"{entry.id}: {flaw(entry, at)}")
        return
    for _, node in leaves(view, [chain.nodes[pk] for pk in plain], at):
        why = flaw(node.entry, at)
        if why:
            chain.gap(f"{node.entry.id}: {why}")
        known = chain.nodes.get(node.entry.pk)
        if known is None or (node.sound and not known.sound):
            chain.nodes[node.entry.pk] = node


def leaves(view: Snapshot, holders: Iterable[Node], at: datetime) -> Iterable[tuple[Node, Node]]:
    """Yields (holder, part) for the plain parts of these: once for each holder, by a sound way or a broken one."""
    by_pk = {node.entry.pk: node for node in holders}
    for pk, entry in view.leaves(by_pk):
        holder = by_pk[pk]
        yield holder, Node(entry, (*holder.path, entry.id), holder.sound and not flaw(entry, at))


def _why(parent: Node, step: Step, candidates: list[Entry]) -> str:
    link = facts_of(parent.entry.document).links[step.position]
    return {
        State.ABSENT: f"{link.target} is not in the store",
        State.DIFFERS: f"{link.target} is not the credential that was linked: its digest differs",
        State.CONFLICT: f"several credentials have the id {link.target}, and {parent.entry.id} does not say which",
        State.BROKEN: f"{link.target}: {'; '.join(dict.fromkeys(entry.reason for entry in candidates))}",
        State.WRONG: f"{parent.entry.id} names as {link.relation} {link.target}, which is of another kind",
    }.get(step.state, f"{link.target} cannot be followed")
