"""The chain of credentials as a tree: what a system was made of, what is claimed about it, and the way there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from theriac.provenance.claims import Attestation
from theriac.provenance.snapshot import Entry, Snapshot
from theriac.provenance.walk import FEW, Chain, Node
from theriac.web.rendering import environment

MOST_ROWS = 400
MOST_LEAVES = 12
MOST_CLAIMED = 200
_ALARMING = frozenset({"poisoning", "pollution", "bias", "vulnerability"})
_WORDS = {"poisoning": "poisoned", "pollution": "polluted", "bias": "biased", "vulnerability": "vulnerable"}
ROLES = {
    "ai-system Inferencing": "System in use",
    "ai-system Training": "Training run",
    "config": "Configuration",
    "data Weights": "Weights",
    "data Training": "Data set",
    "data-pack": "Data pack",
    "code": "Code",
    "sbom": "Software list",
}


@dataclass(frozen=True)
class Mark:
    """What is claimed of a part: a word, and whether the claim counts and is one to act on."""

    word: str
    counts: bool
    alarming: bool


@dataclass
class Row:
    """A part in the tree; ``closes`` says how many lists end after it, ``hidden`` how many parts below are left out."""

    entry: Entry
    sound: bool
    path: tuple[str, ...]
    marks: list[Mark] = field(default_factory=list)
    hot: bool = False
    opens: bool = False
    closes: int = 0
    hidden: int = 0

    @property
    def role(self) -> str:
        """What the part is, in words."""
        return ROLES.get(self.entry.role, self.entry.kind or "Unknown")

    @property
    def alarming(self) -> bool:
        """Whether a claim to act on counts."""
        return any(mark.alarming and mark.counts for mark in self.marks)


def chain_html(nodes: Iterable[Node], claims: Sequence[Attestation], link: Callable[[str], str]) -> Markup:
    """Returns the parts of a chain as nested lists, those that claims are about marked, the way to them highlighted.

    At most 400 parts are drawn, and of each pack twelve; those that claims are about come first.

    Args:
        nodes: The parts.
        claims: What is claimed about them.
        link: Returns the address of the credential with a digest.
    """
    rows = tree(list(nodes), claims)
    return Markup(environment().get_template("chain.html.j2").render(rows=rows, link=link))


def all_nodes(view: Snapshot, chain: Chain, claims: Sequence[Attestation]) -> list[Node]:
    """Returns the parts of a chain, and those that claims are about of packs too large to be part of it."""
    nodes = list(chain.nodes.values())
    known = {node.entry.id for node in nodes}
    far = {claim.path: claim for claim in claims[:MOST_CLAIMED] if claim.path and claim.path[-1] not in known}
    found = view.with_ids({path[-1] for path in far})
    for path, claim in far.items():
        nodes += [Node(entry, path, claim.accepted) for entry in found.get(path[-1], ())[:1]]
    return nodes


def nodes_on(view: Snapshot, paths: Iterable[Sequence[str]]) -> list[Node]:
    """Returns what lies on these ways, each part once, as far as the store has it."""
    steps = {tuple(path[:length]): None for path in paths for length in range(1, len(path) + 1)}
    found = view.with_ids({step[-1] for step in steps})
    return [Node(found[step[-1]][0], step, True) for step in steps if step[-1] in found]


def tree(nodes: Sequence[Node], claims: Sequence[Attestation]) -> list[Row]:
    """Returns the rows of the tree, depth first."""
    marks = _marks(claims)
    rows = [Row(node.entry, node.sound, node.path, list(marks.get(node.entry.id, ()))) for node in nodes]
    hot = _ways([row for row in rows if row.alarming])
    claimed = _ways([row for row in rows if row.marks][:MOST_CLAIMED]) | hot
    below: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        row.hot = row.path in hot
        below.setdefault(row.path[:-1], []).append(row)
    drawn: list[Row] = []
    # An own stack: a chain of base models may be deeper than Python's
    stack = [(row, 0) for row in reversed(_kept(below.pop((), []), below, claimed)[0])]
    while stack:
        row, depth = stack.pop()
        children, row.hidden = _kept(below.pop(row.path, []), below, claimed)
        if len(drawn) + len(stack) + len(children) > MOST_ROWS:
            fewer = [child for child in children if child.path in claimed]
            row.hidden += len(children) - len(fewer)
            children = fewer
        if row.entry.fanout > FEW:  # so many are no part of the walked chain, only those that claims are about
            row.hidden = max(row.hidden, row.entry.fanout - len(children))
        row.opens = bool(children or row.hidden)
        drawn.append(row)
        stack += [(child, depth + 1) for child in reversed(children)]
        following = stack[-1][1] if stack else 0
        row.closes = depth - following if not children else 0
        if not children and row.hidden:
            row.closes += 1
    return drawn


def _kept(
    rows: list[Row], below: dict[tuple[str, ...], list[Row]], claimed: set[tuple[str, ...]]
) -> tuple[list[Row], int]:
    """Returns which of the parts of one holder are drawn, and how many are not."""
    plain = [row for row in rows if row.path not in below and row.path not in claimed]
    left_out = {id(row) for row in plain[MOST_LEAVES:]}
    return [row for row in rows if id(row) not in left_out], len(left_out)


def _ways(rows: Iterable[Row]) -> set[tuple[str, ...]]:
    return {row.path[:length] for row in rows for length in range(1, len(row.path) + 1)}


def _marks(claims: Iterable[Attestation]) -> dict[str, list[Mark]]:
    marks: dict[str, dict[Mark, None]] = {}
    for claim in claims:
        mark = Mark(_WORDS.get(claim.type, claim.type.replace("-", " ")), claim.accepted, claim.type in _ALARMING)
        marks.setdefault(claim.path[-1] if claim.path else claim.component["id"], {})[mark] = None
    return {id: list(found) for id, found in marks.items()}
