"""Charts as inline SVG: styled by the page's own sheet, so that they follow light and dark and print well.

Kinds of data differ in shape (filled, outlined, dashed) and in words, never by colour alone.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from markupsafe import Markup

from theriac.finding import Histogram
from theriac.report.words import number, visible

WIDTH, HEIGHT = 420, 214
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 24, 44
MAX_BARS = 400
HUGE = 1e15
"""Numbers beyond this are not drawn: no honest score or count comes near, and arithmetic on them overflows."""

Scale = Callable[[float], float]


def histogram(data: Histogram) -> Markup | None:
    """Draws a histogram with its threshold; ``None`` if it holds nothing that can be drawn.

    The first series is filled, the others are outlined. When the tallest bin dwarfs the smallest, counts are drawn on a
    logarithmic axis, because a few poisoned examples among thousands are what the reader looks for.
    """
    edges, series = data.edges, drawable(data)
    if not series:
        return None
    low, high = edges[0], edges[-1]
    if data.threshold is not None:
        low, high = min(low, data.threshold), max(high, data.threshold)
    occupied = [c for counts in series.values() for c in counts if c]
    logarithmic = max(occupied) > 50 * min(occupied)
    x = linear(low, high, LEFT, WIDTH - RIGHT)
    y, marks = _count_axis(max(occupied), logarithmic)
    parts = [_rule("grid", y(mark), number(mark)) for mark in marks]
    for i, counts in enumerate(series.values()):
        parts.append(_filled(edges, counts, x, y) if i == 0 else _outlined(edges, counts, x, y, i))
    parts.append(_line("axis", LEFT, y(0), WIDTH - RIGHT, y(0)))
    parts += [_text(x(t), HEIGHT - BOTTOM + 17, number(t), "middle") for t in ticks(low, high, 7)]
    axis = f"{data.axis} (counts on a log scale)" if logarithmic else data.axis
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axis, "middle"))
    if data.threshold is not None:
        parts.append(_threshold(x(data.threshold), f"threshold {number(data.threshold)}"))
    totals = ", ".join(f"{name}: {sum(counts)}" for name, counts in series.items())
    limit = "" if data.threshold is None else f" Threshold at {number(data.threshold)}."
    return _svg(parts, f"Histogram of {data.axis}. Counts: {totals}.{limit}")


def drawable(data: Histogram) -> dict[str, list[int]]:
    """Returns the series of ``data`` that fit its edges; none if the edges are unusable or every bin is empty."""
    edges, bins = data.edges, len(data.edges) - 1
    ends = [edges[0], edges[-1], edges[0] if data.threshold is None else data.threshold] if edges else []
    if not 0 < bins <= MAX_BARS or edges != sorted(edges) or edges[0] == edges[-1] or max(map(abs, ends)) > HUGE:
        return {}
    counted = {n: c for n, c in data.series.items() if len(c) == bins and min(c) >= 0 and max(c) < HUGE}
    return counted if any(map(any, counted.values())) else {}


def columns(
    values: Sequence[tuple[str, float]], *, axis: str, marked: Collection[str], top: float = 0.0
) -> Markup | None:
    """Draws one upright bar per (class, value >= 0); the classes in ``marked`` are filled and named.

    The axis reaches from 0 to the largest value, or to ``top`` if that is larger.
    """
    numbers = [value for _, value in values]
    if not 0 < len(values) <= MAX_BARS or min(numbers) < 0 or not 0 < max(numbers) < HUGE:
        return None
    top = max(top, *numbers)
    base = HEIGHT - BOTTOM + 14
    y = linear(0, top, base, TOP)
    step = (WIDTH - LEFT - RIGHT) / len(values)
    parts = [_rule("grid", y(t), number(t)) for t in ticks(0, top)]
    for i, (name, value) in enumerate(values):
        left = LEFT + (i + 0.12) * step
        kind = "bar bar-marked" if name in marked else "bar"
        parts.append(_rect(kind, left, y(value), 0.76 * step, base - y(value), f"{name}: {number(value)}"))
        if name in marked:
            middle = left + 0.38 * step
            anchor = "start" if middle < WIDTH / 3 else "end" if middle > 2 * WIDTH / 3 else "middle"
            parts.append(_text(middle, max(y(value) - 6, 14), _shortened(name), anchor, "strong"))
    parts.append(_line("axis", LEFT, base, WIDTH - RIGHT, base))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, f"{axis} of {len(values)} classes", "middle"))
    name, value = max(values, key=lambda pair: pair[1])
    return _svg(parts, f"{axis} of {len(values)} classes; the highest is {name} with {number(value)}.")


def roc(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Markup | None:
    """Draws ROC curves: name -> (false positive rates, true positive rates), both ascending in [0, 1]."""
    if not curves or any(len(false) != len(true) or len(false) < 2 for false, true in curves.values()):
        return None
    side = 300
    x, y = linear(0, 1, LEFT, LEFT + side), linear(0, 1, TOP + side, TOP)
    parts = [_line("grid", x(0), y(0), x(1), y(1))]
    for tick in ticks(0, 1):
        parts.append(_line("grid", x(0), y(tick), x(1), y(tick)) + _text(LEFT - 6, y(tick) + 4, number(tick), "end"))
        parts.append(_text(x(tick), y(0) + 17, number(tick), "middle"))
    shape = Markup('<polyline class="curve curve-{}" points="{}"/>')
    for i, (false, true) in enumerate(curves.values()):
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in _thinned(list(zip(false, true, strict=True))))
        parts.append(shape.format(min(i, 3), points))
    parts.append(_line("axis", x(0), y(0), x(1), y(0)) + _line("axis", x(0), y(0), x(0), y(1)))
    parts.append(
        _text(x(0.5), y(0) + 36, "false positive rate", "middle") + _text(x(0), TOP - 8, "true positive rate", "start")
    )
    return _svg(parts, f"ROC curves of {', '.join(curves)}.", LEFT + side + 2 * RIGHT, TOP + side + BOTTOM)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *, low: float, high: float
) -> Markup | None:
    """Draws a table of numbers as cells, each with its number and the stronger in colour the nearer it is to ``high``.

    Cells of ``low`` and less are empty of colour; ``None`` is drawn as a dash.
    """
    if not rows or not columns or len(values) != len(rows) or any(len(row) != len(columns) for row in values):
        return None
    left, top = 16 + 7 * min(28, max(map(len, rows))), 20 + 5 * min(28, max(map(len, columns)))
    wide, tall = 58, 24
    shape = Markup('<rect class="cell" x="{:.1f}" y="{:.1f}" width="{}" height="{}" fill-opacity="{:.2f}"/>')
    slanted = Markup(
        '<text x="{0:.1f}" y="{1:.1f}" text-anchor="start" transform="rotate(-35 {0:.1f} {1:.1f})">{2}</text>'
    )
    parts = [
        slanted.format(left + (j + 0.4) * wide, top - 8, visible(_shortened(name))) for j, name in enumerate(columns)
    ]
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + i * tall
        parts.append(_text(left - 8, y + 16, _shortened(name), "end"))
        for j, value in enumerate(row):
            x = left + j * wide
            if value is None or not abs(value) < HUGE:
                parts.append(_text(x + wide / 2, y + 16, "–", "middle"))
                continue
            share = min(max((value - low) / (high - low), 0.0), 1.0)
            parts.append(shape.format(x + 1, y + 1, wide - 2, tall - 2, 0.04 + 0.56 * share**2))
            parts.append(_text(x + wide / 2, y + 16, f"{value:.3f}", "middle", "cell-number"))
    words = f"Table of {len(rows)} rows and {len(columns)} columns, from {number(low)} to {number(high)}."
    return _svg(parts, words, left + wide * len(columns) + 60, top + tall * len(rows) + 10)


def bar(share: float, *, marked: bool = False) -> Markup:
    """Draws a share in [0, 1] as a lying bar for a table cell; the cell holds the number itself."""
    kind = "bar bar-marked" if marked else "bar"
    width = 100 * min(max(share, 0.0), 1.0)
    opening = '<svg class="inline-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
    return Markup(opening) + _rect("trough", 0, 0, 100, 8) + _rect(kind, 0, 0, width, 8) + Markup("</svg>")


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Returns the function that maps [low, high] linearly to [start, end].

    >>> linear(0, 10, 100, 0)(2.5)
    75.0
    """
    return lambda value: start + (value - low) / (high - low) * (end - start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Returns round numbers from ``low`` to ``high``; ``low`` alone if they hardly differ.

    >>> ticks(0, 9.3)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if high - low < 1e-300:
        return [low]
    magnitude = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude * about >= (high - low) * 0.999)
    return [round(i * step, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _count_axis(top: int, logarithmic: bool) -> tuple[Scale, list[float]]:
    if not logarithmic:
        return linear(0, top, HEIGHT - BOTTOM, TOP), [t for t in ticks(0, top, 4) if t and t == int(t)]
    position = linear(0, math.log10(1 + top), HEIGHT - BOTTOM, TOP)
    return lambda count: position(math.log10(1 + count)), [10.0**i for i in range(int(math.log10(top)) + 1)]


def _filled(edges: Sequence[float], counts: Sequence[int], x: Scale, y: Scale) -> Markup:
    spans = zip(edges, edges[1:], counts, strict=False)
    return Markup().join(
        _rect("series-0", x(a) + 0.4, y(count), max(x(b) - x(a) - 0.8, 0.4), y(0) - y(count))
        for a, b, count in spans
        if count
    )


def _outlined(edges: Sequence[float], counts: Sequence[int], x: Scale, y: Scale, index: int) -> Markup:
    runs: list[list[tuple[float, float]]] = []
    for a, b, count, previous in zip(edges, edges[1:], counts, [0, *counts], strict=False):
        if count and not previous:
            runs.append([(x(a), y(0))])
        if count:
            runs[-1] += [(x(a), y(count)), (x(b), y(count))]
        elif previous:
            runs[-1].append((x(a), y(0)))
    if counts[-1]:
        runs[-1].append((x(edges[-1]), y(0)))
    lines = (" ".join(f"{px:.1f},{py:.1f}" for px, py in run) for run in runs)
    shape = Markup('<polyline class="series-{}" points="{}"/>')
    return Markup().join(shape.format(min(index, 3), line) for line in lines)


def _threshold(x: float, words: str) -> Markup:
    anchor, shift = ("end", -5) if x > WIDTH / 2 else ("start", 5)
    return _line("threshold", x, 4, x, HEIGHT - BOTTOM) + _text(x + shift, 13, words, anchor, "strong")


def _rule(kind: str, y: float, words: str) -> Markup:
    return _line(kind, LEFT, y, WIDTH - RIGHT, y) + _text(LEFT - 6, y + 4, words, "end")


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return line.format(kind, x1, y1, x2, y2)


def _rect(kind: str, x: float, y: float, width: float, height: float, title: str = "") -> Markup:
    tip = Markup("<title>{}</title>").format(visible(title)) if title else ""
    rect = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">{}</rect>')
    return rect.format(kind, x, y, width, height, tip)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
    text = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return text.format(kind, x, y, anchor, visible(words))


def _shortened(name: str, length: int = 28) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns ``points`` without those that lie on a straight stretch, which most points of a ROC curve do."""
    kept = points[:1]
    for before, point, after in zip(points, points[1:], points[2:], strict=False):
        (ax, ay), (bx, by), (cx, cy) = before, point, after
        if abs((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)) > 1e-12:
            kept.append(point)
    return [*kept, points[-1]]


def _svg(parts: Sequence[Markup], description: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opening.format(width, height, visible(description)) + Markup().join(parts) + Markup("</svg>")
