"""Drawing a diagram as SVG: no library, no script, no font and nothing else from elsewhere."""

import unicodedata
from collections.abc import Sequence
from xml.sax.saxutils import escape

from theriac.provenance.diagram import Arrow, Box, Diagram
from theriac.provenance.layered import Placed, place

WIDTH, COLUMN = 240, 326
_MARGIN, _HEAD = 24, 76
_LINE, _PADDING = 17, 11
_REMARKS = 6

_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#17202a}
.page{fill:#ffffff}
.title{font-size:18px;font-weight:600}
.role{font-size:11px;letter-spacing:.04em;fill:#53616f}
.name{font-weight:600}
.box{fill:#f4f6f8;stroke:#8b99a7;stroke-width:1.2}
.crowd .box{stroke-dasharray:2 3}
.searched .box{fill:#e8f5ec;stroke:#2e7d4f}
.doubt .box{fill:#fff6dd;stroke:#9a6700}
.asked .box{fill:#e5effc;stroke:#1f5fae;stroke-width:2}
.missing .box{fill:none;stroke:#9a6700;stroke-dasharray:5 4}
.alarm .box{fill:#ffe5e2;stroke:#c62828;stroke-width:2.6}
.alarm .mark{fill:#a31515;font-weight:600}
.doubt .mark,.missing .mark,.warn{fill:#7a5200}
.searched .mark{fill:#1f6b3f}
.sign{fill:none;stroke:#9a6700;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.alarm .sign{stroke:#c62828}
.searched .sign{stroke:#2e7d4f}
.asked .sign{stroke:#1f5fae}
.arrow{fill:none;stroke:#6b7a89;stroke-width:1.4}
.tip{fill:#6b7a89}
.broken{stroke:#9a6700;stroke-dasharray:6 5}
.hot{stroke:#c62828;stroke-width:2.2}
.hottip{fill:#c62828}
.brokentip{fill:#9a6700}
.label{font-size:11px;fill:#53616f;paint-order:stroke;stroke:#ffffff;stroke-width:4px}
@media (prefers-color-scheme:dark){
text{fill:#e6ebf0}
.page{fill:#12181f}
.role{fill:#a3b0bd}
.box{fill:#1d2630;stroke:#708090}
.searched .box{fill:#15301f;stroke:#58b37d}
.doubt .box{fill:#33290f;stroke:#d9a520}
.asked .box{fill:#132840;stroke:#6ea8f0}
.missing .box{stroke:#d9a520}
.alarm .box{fill:#43181a;stroke:#ff6b62}
.alarm .mark{fill:#ff9a92}
.doubt .mark,.missing .mark,.warn{fill:#ecc25e}
.searched .mark{fill:#7fd0a0}
.sign{stroke:#d9a520}
.alarm .sign{stroke:#ff6b62}
.searched .sign{stroke:#58b37d}
.asked .sign{stroke:#6ea8f0}
.arrow{stroke:#8b9aa8}
.tip{fill:#8b9aa8}
.broken{stroke:#d9a520}
.brokentip{fill:#d9a520}
.hot{stroke:#ff6b62}
.hottip{fill:#ff6b62}
.label{fill:#a3b0bd;stroke:#12181f}
}
"""
# Drawn, not written: few fonts have these signs. Each fits 14 x 14.
_SIGNS = {
    "alarm": "M7 1 13.4 12.6H.6ZM7 5.2V8.6M7 10.6V10.7",
    "doubt": "M4 4.4A3 3 0 1 1 7 7.6V9.4M7 12.2V12.3",
    "asked": "M7 2.2A4.8 4.8 0 1 1 7 11.8 4.8 4.8 0 1 1 7 2.2M7 6.9V7.1",
    "missing": "M2.5 2.5 11.5 11.5M11.5 2.5 2.5 11.5",
    "searched": "M1.8 7.4 5.4 11.2 12.4 3",
}


def draw(diagram: Diagram) -> str:
    """Returns a diagram as a self-contained SVG document that follows the screen's light or dark."""
    rows = {key: _rows(box) for key, box in diagram.boxes.items()}
    heights = {key: 2.0 * _PADDING + _LINE * len(said) for key, said in rows.items()}
    placed = place(heights, [(arrow.source, arrow.target) for arrow in diagram.arrows])
    columns = max(placed.column.values(), default=0)
    notes = _notes(diagram)
    width = max(2 * _MARGIN + columns * COLUMN + WIDTH, 760)
    height = _HEAD + placed.height + _MARGIN + len(notes) * 20 + (12 if notes else 0)
    hot = _leading_to_alarms(diagram)
    arrows = [_arrow(arrow, placed, arrow.target in hot) for arrow in diagram.arrows]
    boxes = [_box(box, rows[key], placed, heights[key]) for key, box in diagram.boxes.items()]
    below = _HEAD + placed.height + _MARGIN + 8
    lines = [_text(_MARGIN, below + 20 * n, line, css, width) for n, (line, css) in enumerate(notes)]
    title = escape(legible(diagram.title, 200))
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}"',
            f' viewBox="0 0 {width} {height:.0f}" class="chain" role="img"',
            ' aria-labelledby="chain-title chain-about">\n',
            f'<title id="chain-title">{title}</title>\n<desc id="chain-about">{escape(_summary(diagram))}</desc>\n',
            f"<style>{_scoped(_STYLE)}</style>\n{_tips()}\n",
            '<rect class="page" width="100%" height="100%"/>\n',
            _text(_MARGIN, 32, diagram.title, "title", width, size=18),
            _text(_MARGIN, 54, *_status(diagram), width),
            *arrows,
            *boxes,
            *lines,
            "</svg>\n",
        )
    )


def _scoped(sheet: str) -> str:
    """Returns the style sheet for this picture alone, so that it can stand within a page."""
    lines = [".chain{color-scheme:light dark}"]
    for line in sheet.strip().splitlines():
        selectors, brace, rest = line.partition("{")
        if line.startswith(("@", "}")) or not brace:
            lines.append(line)
        else:
            lines.append(",".join(f".chain {one}" for one in selectors.split(",")) + brace + rest)
    return "\n".join(lines)


def legible(text: str, most: int) -> str:
    """Returns text on one line, at most so long, with everything shown that could hide or reverse a part of it.

    >>> legible("stop" + chr(0x202E) + "gpj" + chr(0), 20)
    'stop\ufffdgpj\ufffd'
    >>> legible("a very long name", 10)
    'a very lo…'
    """
    plain = "".join(
        c if c.isprintable() and not 0xE0000 <= ord(c) < 0xE1000 else "\ufffd" for c in " ".join(text.split())
    )
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _rows(box: Box) -> list[tuple[str, str, bool]]:
    """Returns what a box says: (text, style, whether the sign stands before it)."""
    rows = [(box.role, "role", False)]
    rows += [(line, "name", False) for line in _wrapped(box.name, (WIDTH - 24) / 14)]
    for number, mark in enumerate(box.marks):
        lines = _wrapped(mark, (WIDTH - (44 if box.tone in _SIGNS else 24)) / (14 if box.tone == "alarm" else 13))
        rows += [(line, "mark", box.tone in _SIGNS and place == number == 0) for place, line in enumerate(lines)]
    return rows


def _status(diagram: Diagram) -> tuple[str, str]:
    if diagram.complete is None:
        return "", "role"
    if diagram.complete:
        return "Every link of this chain of credentials holds.", "role"
    return "INCOMPLETE: not every link of this chain of credentials holds.", "warn"


def _notes(diagram: Diagram) -> list[tuple[str, str]]:
    remarks = diagram.remarks
    notes = [(f"! {remark}", "warn") for remark in remarks[:_REMARKS]]
    if len(remarks) > _REMARKS:
        notes.append((f"… and {len(remarks) - _REMARKS:,} more", "warn"))
    if not all(arrow.holds for arrow in diagram.arrows):
        notes.append(("Dashed: a link that does not hold, or that hangs on one.", "role"))
    return notes


def _summary(diagram: Diagram) -> str:
    marked = [f"{box.role} {box.name}: {'; '.join(box.marks)}" for box in diagram.boxes.values() if box.tone == "alarm"]
    said = ". ".join([f"{len(diagram.boxes)} parts", *marked[:20], *diagram.remarks[:20]])
    return legible(said, 4000)


def _leading_to_alarms(diagram: Diagram) -> set[str]:
    """Returns the boxes with an alarm, and those on the way to them."""
    above: dict[str, list[str]] = {}
    for arrow in diagram.arrows:
        above.setdefault(arrow.target, []).append(arrow.source)
    pending = [key for key, box in diagram.boxes.items() if box.tone == "alarm"]
    found = set(pending)
    while pending:
        for key in above.get(pending.pop(), ()):
            if key not in found:
                found.add(key)
                pending.append(key)
    return found


def _tips() -> str:
    names = ("tip", "brokentip", "hottip")
    marker = '<marker id="chain-{0}" viewBox="0 0 8 8" refX="7.4" refY="4" markerWidth="8" markerHeight="8" \
markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path class="{0}" d="M0 .6 8 4 0 7.4Z"/></marker>'
    return f"<defs>{''.join(marker.format(name) for name in names)}</defs>"


def _box(box: Box, rows: Sequence[tuple[str, str, bool]], placed: Placed, height: float) -> str:
    x, y = _MARGIN + placed.column[box.key] * COLUMN, _HEAD + placed.middle[box.key] - height / 2
    whole = escape(legible(f"{box.role}: {'; '.join(filter(None, (box.name, box.id, *box.marks)))}", 2000))
    parts = [
        f'<svg class="{box.tone}" x="{x}" y="{y:.1f}" width="{WIDTH}" height="{height:.0f}"><title>{whole}</title>',
        f'<rect class="box" x="1.5" y="1.5" width="{WIDTH - 3}" height="{height - 3:.0f}" rx="7"/>',
    ]
    for number, (line, css, signed) in enumerate(rows):
        level = _PADDING + 12 + _LINE * number
        if signed:
            parts.append(f'<path class="sign" transform="translate(12 {level - 11})" d="{_SIGNS[box.tone]}"/>')
        left = 32 if css == "mark" and box.tone in _SIGNS else 12
        parts.append(f'<text class="{css}" x="{left}" y="{level}">{escape(line)}</text>')
    return "".join(parts) + "</svg>\n"


def _arrow(arrow: Arrow, placed: Placed, hot: bool) -> str:
    way = placed.routes[arrow.source, arrow.target]
    kind = "hot" if hot and arrow.holds else "broken" if not arrow.holds else ""
    forward = way[0][0] <= way[-1][0]
    points = [(_MARGIN + column * COLUMN, _HEAD + level) for column, level in way]
    start = (points[0][0] + (WIDTH if forward else 0), points[0][1])
    end = (points[-1][0] + (0 if forward else WIDTH), points[-1][1])
    path = f"M{start[0]:.0f} {start[1]:.1f}"
    x, y = start
    for left, level in points[1:-1]:  # through the columns between, straight
        near, far = (left, left + WIDTH) if forward else (left + WIDTH, left)
        path += f"{_curve(x, y, near, level)}H{far:.0f}"
        x, y = far, level
    path += _curve(x, y, *end)
    css = f"arrow {kind}".strip()
    drawn = f'<path class="{css}" d="{path}" marker-end="url(#chain-{kind}tip)"/>\n'
    if arrow.label:
        middle = (x + end[0]) / 2, (y + end[1]) / 2 - 7
        at = f'text-anchor="middle" x="{middle[0]:.0f}" y="{middle[1]:.1f}"'
        drawn += f'<text class="label" {at}>{escape(arrow.label)}</text>\n'
    return drawn


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    bend = (x + to_x) / 2
    return f"C{bend:.0f} {y:.1f} {bend:.0f} {to_y:.1f} {to_x:.0f} {to_y:.1f}"


def _text(x: float, y: float, text: str, css: str, width: float, size: float = 13) -> str:
    shown = _fitting(legible(text, 500), (width - x - 10) / size)
    return f'<text class="{css}" x="{x:.0f}" y="{y:.0f}">{escape(shown)}</text>'


def _fitting(text: str, room: float) -> str:
    """Returns the text, cut so that it fits a width in units of the font's size."""
    used = 0.0
    for length, character in enumerate(text):
        used += _advance(character)
        if used > room:
            return text[: max(length - 2, 1)].rstrip() + "…"
    return text


def _wrapped(text: str, room: float) -> list[str]:
    """Returns the text in one or two lines, broken between words or at marks in a file's name if that is possible."""
    plain, used, fits = legible(text, 300), 0.0, 0
    while fits < len(plain) and used + _advance(plain[fits]) <= room:
        used += _advance(plain[fits])
        fits += 1
    if fits == len(plain):
        return [plain]
    breaks = [n + 1 for n in range(fits // 2, fits) if plain[n] in " -_./:,"]
    cut = fits if plain[fits] == " " else breaks[-1] if breaks else fits
    return [plain[:cut].rstrip(), _fitting(plain[cut:].lstrip(), room)]


def _advance(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in "mwMW@%—":
        return 1.08 if character in "MW@" else 0.95
    if character in "iljtf.,:;'|!()[] rI-":
        return 0.38
    return 0.72 if character.isupper() else 0.6
