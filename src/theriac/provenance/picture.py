"""Pictures of a chain: Mermaid text for pages and issues, and SVG that needs nothing but a browser.

Every text in a credential is somebody else's: it is escaped, and what could steer or reverse a line is made visible.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from theriac.errors import UserError
from theriac.files import write_text
from theriac.provenance.answer import Answer
from theriac.provenance.claims import Attestation
from theriac.provenance.diagram import Box, Diagram, diagram_of
from theriac.provenance.drawing import draw, legible
from theriac.provenance.policy import EVERYBODY, Policy
from theriac.provenance.snapshot import Entry
from theriac.provenance.store import Store
from theriac.provenance.walk import Chain, Node, walk

_WHOLE = "the whole chain as theriac follows it: TAIBOM's rules, which were asked, see only part of it, and no gaps"
_SAFE = frozenset(" -_.,/()…·")
_SIGNS = {"alarm": "⚠ ", "asked": "◉ ", "doubt": "? ", "searched": "✓ ", "missing": "✗ "}
_CLASSES = (
    "classDef plain fill:#f4f6f8,stroke:#6b7a89,color:#17202a",
    "classDef crowd fill:#f4f6f8,stroke:#6b7a89,color:#17202a,stroke-dasharray:2 3",
    "classDef searched fill:#e6f4ea,stroke:#2e7d4f,color:#17202a",
    "classDef asked fill:#e5effc,stroke:#1f5fae,color:#17202a,stroke-width:2px",
    "classDef doubt fill:#fff4d6,stroke:#9a6700,color:#17202a",
    "classDef missing fill:#ffffff,stroke:#9a6700,color:#17202a,stroke-dasharray:5 4",
    "classDef alarm fill:#ffe1de,stroke:#c62828,color:#7f1010,stroke-width:3px",
)


def mermaid(chain: Chain, claims: Iterable[Attestation]) -> str:
    """Returns the picture as a Mermaid flowchart."""
    return _mermaid(diagram_of(chain, claims))


def svg(chain: Chain, claims: Iterable[Attestation]) -> str:
    """Returns the picture as a self-contained SVG document, for light and dark screens."""
    return draw(diagram_of(chain, claims))


def write_picture(path: Path, store: Store, answer: Answer, *, at: datetime | None, policy: Policy = EVERYBODY) -> None:
    """Draws the chain behind an answer into a file.

    Args:
        path: ``.svg``, or ``.mmd`` for Mermaid.
        store: Where the question was asked.
        answer: The answer; its claims are marked in the picture.
        at: The moment it was asked for; now if None.
        policy: Whose word counted.

    Raises:
        UserError: If the file is of another kind, or cannot be written.
    """
    write = {".svg": draw, ".mmd": _mermaid}.get(path.suffix.lower())
    if write is None:
        raise UserError("is not a picture's name", where=path, do="name it .svg or .mmd")
    claims = [*answer.attestations, *answer.checks]
    with store.snapshot() as view:
        if answer.query == "systems-using":
            diagram = _upwards(
                answer, [n for found in view.with_ids(answer.nodes).values() for n in map(_alone, found)]
            )
        else:
            diagram = diagram_of(walk(view, answer.system, at or datetime.now(UTC), policy), claims)
            diagram.remarks = list(dict.fromkeys([*diagram.remarks, *answer.warnings]))
            diagram.complete = diagram.complete and answer.complete
            if answer.mode == "taibom":
                diagram.remarks.insert(0, _WHOLE)
    write_text(path, write(diagram))


def _alone(entry: Entry) -> Node:
    return Node(entry, (entry.id,), True)


def _upwards(answer: Answer, nodes: Iterable[Node]) -> Diagram:
    """Returns the picture of everything that came of something: the same arrows, without its other parts."""
    chain = Chain(nodes={node.entry.pk: node for node in nodes if node.entry.valid})
    asked = next((node for node in chain.nodes.values() if node.entry.id == answer.system), None)
    diagram = diagram_of(chain, ())
    shown = {key for key, box in diagram.boxes.items() if box.tone != "missing"}
    diagram.boxes = {key: diagram.boxes[key] for key in diagram.boxes if key in shown}
    diagram.arrows = [arrow for arrow in diagram.arrows if arrow.target in shown]
    name = answer.system if asked is None else asked.entry.name or asked.entry.id
    for box in diagram.boxes.values():
        if box.id == answer.system:
            box.tone, box.marks = "asked", ["this was asked about"]
    return replace(diagram, title=f"What came of {name}", remarks=list(answer.warnings), complete=None)


def _mermaid(diagram: Diagram) -> str:
    lines = ["flowchart LR", f"  accTitle: {_spoken(diagram.title)}", *(f"  {line}" for line in _CLASSES)]
    for box in diagram.boxes.values():
        lines.append(f'  {box.key}["{_label(box)}"]:::{box.tone}')
    for arrow in diagram.arrows:
        label = f"|{_escaped(arrow.label)}|" if arrow.label else ""
        lines.append(f"  {arrow.source} {'-->' if arrow.holds else '-.->'}{label} {arrow.target}")
    if diagram.remarks:
        said = "<br/>".join(_escaped(remark) for remark in diagram.remarks[:5])
        more = f"<br/>… and {len(diagram.remarks) - 5} more" if len(diagram.remarks) > 5 else ""
        lines.append(f'  remarks["{"INCOMPLETE<br/>" if diagram.complete is False else ""}{said}{more}"]:::doubt')
    return "\n".join(lines) + "\n"


def _label(box: Box) -> str:
    lines = [box.role, legible(box.name, 60), *(f"{_SIGNS.get(box.tone, '')}{legible(m, 80)}" for m in box.marks)]
    return "<br/>".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    """Returns text as Mermaid shows it: what means something to Mermaid or to a browser becomes a number."""
    return "".join(c if c.isalnum() or c in _SAFE else f"#{ord(c)};" for c in legible(text, 500))


def _spoken(text: str) -> str:
    """Returns text for a title, which cannot hold such numbers: what Mermaid could misread becomes a space."""
    return " ".join("".join(c if c.isalnum() or c in "-_.," else " " for c in legible(text, 200)).split())
