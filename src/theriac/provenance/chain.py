"""Walking the chain of credentials from an AI system to everything that it was made of."""

from dataclasses import dataclass, field
from datetime import datetime

from theriac.provenance.canonical import Invalid
from theriac.provenance.credentials import check_time
from theriac.provenance.kinds import links_of
from theriac.provenance.snapshot import Entry, Snapshot, StoredLink

SYSTEMS = frozenset({"ai-system Training", "ai-system Inferencing"})
WEIGHTS = "data Weights"
# What a link may lead to. Anything else would let a stranger's credential stand in for a missing one.
_LEADS_TO = {
    ("ai-system Inferencing", "code"): {"code"},
    ("ai-system Inferencing", "data"): {"config", WEIGHTS},
    ("ai-system Training", "code"): {"code"},
    ("ai-system Training", "data"): {"data-pack", "data Training"},
    ("config", "aiSystem"): {"ai-system Training"},
    ("config", "data"): {WEIGHTS},
    ("data-pack", "datasets"): {"data-pack", "data Training"},
}


@dataclass(frozen=True)
class Node:
    """A part of the system: its credential, the ids that lead to it, and whether every link on that way holds."""

    entry: Entry
    path: tuple[str, ...]
    sound: bool

    @property
    def role(self) -> str:
        """The kind of the credential with its label."""
        return _role(self.entry)


@dataclass
class Chain:
    """Everything that a system was made of, as far as credentials tell.

    Attributes:
        nodes: Digest -> part.
        gaps: Why the chain is incomplete; empty if it is complete.
        notes: What else a reader should know.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def walk(view: Snapshot, system_id: str, at: datetime) -> Chain:
    """Follows all links from a system, breadth first: packs in packs too, and from weights to what trained them.

    Each credential is visited once, so that cycles end. Where a link's digest does not fit, the walk goes on to show
    what is there, but nothing found on that way is sound.
    """
    chain = Chain()
    level = _roots(view, system_id, at, chain)
    while level:
        fresh: dict[str, Node] = {}
        for node in level:
            known = chain.nodes.get(node.entry.digest)
            if known is None or (node.sound and not known.sound):
                chain.nodes[node.entry.digest] = fresh[node.entry.digest] = node
        level = _forward(view, fresh, at, chain) + _configs_of_weights(view, fresh, at)
    _check_origins(chain)
    chain.gaps = list(dict.fromkeys(chain.gaps))
    return chain


def _roots(view: Snapshot, system_id: str, at: datetime, chain: Chain) -> list[Node]:
    candidates = view.with_ids([system_id]).get(system_id, [])
    if not candidates:
        chain.gaps.append(f"{system_id} is not in the store")
    holding = [entry for entry in candidates if not _flaw(entry, at)]
    if len(holding) < len(candidates):
        chain.notes.append(f"{len(candidates) - len(holding)} credential(s) with the id {system_id} do not hold")
    issuers = {str(entry.document["issuer"]) for entry in holding}
    if len(issuers) > 1:
        chain.gaps.append(f"{system_id} is claimed by several issuers: {', '.join(sorted(issuers))}")
    elif len(holding) > 1:
        holding = [max(holding, key=lambda entry: (str(entry.document.get("validFrom")), entry.digest))]
    for entry in holding or candidates:
        if flaw := _flaw(entry, at):
            chain.gaps.append(f"{entry.id}: {flaw}")
        if _role(entry) not in SYSTEMS:
            chain.gaps.append(f"{entry.id} is not an AI system but: {_role(entry)}")
    return [Node(entry, (entry.id,), not _flaw(entry, at)) for entry in holding or candidates]


def _forward(view: Snapshot, level: dict[str, Node], at: datetime, chain: Chain) -> list[Node]:
    """Returns the parts that the credentials of this level name."""
    links = [
        (link, allowed)
        for link in view.links_from(level)
        if (allowed := _LEADS_TO.get((level[link.source].role, link.relation)))
    ]
    targets = view.with_ids({link.target for link, _ in links})
    found = []
    for link, allowed in links:
        parent, candidates = level[link.source], targets.get(link.target, [])
        named = [entry for entry in candidates if entry.digest == link.hash]
        gap = _gap(link, candidates, named)
        for entry in named or candidates:
            gap = gap or (f"{entry.id}: {flaw}" if (flaw := _flaw(entry, at)) else "")
            if not gap and _role(entry) not in allowed:
                gap = f"{parent.entry.id} names as {link.relation} {entry.id}, which is: {_role(entry)}"
            found.append(Node(entry, (*parent.path, entry.id), parent.sound and not gap))
        if gap:
            chain.gaps.append(gap)
    return found


def _configs_of_weights(view: Snapshot, level: dict[str, Node], at: datetime) -> list[Node]:
    """Returns the configs that name weights of this level: weights do not say themselves what trained them."""
    weights = {node.entry.id: node for node in level.values() if node.role == WEIGHTS}
    links = [link for link in view.links_to(weights, "data") if link.hash == weights[link.target].entry.digest]
    configs = view.with_digests({link.source for link in links})
    found = []
    for link in links:
        entry, parent = configs[link.source], weights[link.target]
        if entry.kind == "config" and not _flaw(entry, at):
            found.append(Node(entry, (*parent.path, entry.id), parent.sound))
    return found


def _check_origins(chain: Chain) -> None:
    """Notes the weights of which nothing says what they were trained on."""
    configs = [node.entry.subject for node in chain.nodes.values() if node.role == "config"]
    explained = {target for config in configs for relation, target, _ in links_of(config) if relation == "data"}
    for node in chain.nodes.values():
        if node.role == WEIGHTS and node.entry.id not in explained:
            chain.gaps.append(f"nothing says what the weights {node.entry.id} were trained on")


def _gap(link: StoredLink, candidates: list[Entry], named: list[Entry]) -> str:
    if not candidates:
        return f"{link.target} is not in the store"
    return "" if named else f"{link.target} is not the credential that was linked: its digest differs"


def _flaw(entry: Entry, at: datetime) -> str:
    """Returns why a credential does not hold at that time, or nothing."""
    if not entry.valid:
        return entry.reason
    try:
        check_time(entry.document, at)
    except Invalid as error:
        return str(error)
    return ""


def _role(entry: Entry) -> str:
    label = entry.subject.get("label")
    return f"{entry.kind} {label}" if isinstance(label, str) else str(entry.kind)
