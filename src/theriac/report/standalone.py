"""Charts and examples as files of their own: an SVG picture, an HTML page with examples."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from theriac.report.pictures import embed
from theriac.report.words import visible

_HEAD = 44
_STYLE = """
svg { --card: #fff; --ink: #1c1e22; --soft: #5a5f68; --line: #dedbd3; --quiet: #8d939d; --poisoned: #a3172a;
  --accent: #1d5a7a; background: var(--card); }
@media (prefers-color-scheme: dark) { svg { --card: #1b1e22; --ink: #e9e6df; --soft: #a4a9b2; --line: #33373e;
  --quiet: #727883; --poisoned: #ff8f93; --accent: #86c3e6; } }
text { font: 12px system-ui, "Segoe UI", Roboto, sans-serif; fill: var(--soft); }
.title, .strong, .cell-number { fill: var(--ink); } .title { font-weight: 650; font-size: 14px; }
.strong { font-weight: 650; } .grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.threshold { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 5 3; } .bar, .series-0 { fill: var(--quiet); }
.series-1 { fill: var(--poisoned); fill-opacity: .22; stroke: var(--poisoned); stroke-width: 1.6; }
.series-2 { fill: none; stroke: var(--accent); stroke-width: 1.6; stroke-dasharray: 4 2; }
.series-3 { fill: none; stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 1.5 2.5; }
.curve { fill: none; stroke-width: 2; } .curve-0 { stroke: var(--accent); }
.curve-1 { stroke: var(--poisoned); stroke-dasharray: 5 3; } .curve-2 { stroke: var(--quiet); }
.curve-3 { stroke: var(--ink); stroke-dasharray: 2 3; } .cell { fill: var(--accent); }
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
ol { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 1rem; } li { width: 9rem; font-size: .85rem; }
li.text { width: 100%; border-left: 3px solid #8888; padding-left: .6rem; white-space: pre-wrap; }
img { width: 8rem; image-rendering: pixelated; display: block; }
"""


@dataclass(frozen=True)
class Example:
    """One example to be shown: its caption, and its picture (base64 PNG) or its text."""

    caption: str
    png: str | None = None
    text: str | None = None


def svg_file(chart: Markup, title: str, names: Sequence[str] = ()) -> str:
    """Returns ``chart`` as a whole SVG file: with a style of its own, a title, and a legend if ``names`` are given.

    >>> from theriac.report import charts
    >>> svg_file(charts.roc({"all": ([0, 0, 1], [0, 1, 1])}), "ROC").startswith("<svg xmlns")
    True
    """
    size = re.match(r'<svg class="chart" viewBox="0 0 ([\d.]+) ([\d.]+)"', chart)
    if size is None:
        raise ValueError("not a chart of theriac.report.charts")
    width, height = float(size[1]), float(size[2])
    kind = "curve curve" if '<polyline class="curve' in chart else "series"
    legend, x = [], 12.0
    for i, name in enumerate(names):
        swatch = Markup(
            '<rect class="{}-{}" x="{:.0f}" y="27" width="14" height="9"/><text x="{:.0f}" y="36">{}</text>'
        )
        legend.append(swatch.format(kind, min(i, 3), x, x + 19, visible(name)))
        x += 34 + 7 * len(name)
    wide = max(width, x, 24 + 8 * len(title))
    opening = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1:.0f}" width="{0:.0f}" height="{1:.0f}">'
    )
    heading = Markup('<text class="title" x="12" y="19">{}</text>').format(visible(title))
    placed = Markup(f'<svg class="chart" y="{_HEAD}" width="{width:.0f}" height="{height:.0f}" ') + Markup(chart[18:])
    style = Markup(f"<style>{_STYLE}</style>")
    return str(
        opening.format(wide, height + _HEAD) + style + heading + Markup().join(legend) + placed + Markup("</svg>\n")
    )


def examples_page(title: str, groups: Sequence[tuple[str, Sequence[Example]]]) -> str:
    """Returns an HTML page of examples under headings; it loads nothing, runs nothing, and trusts none of them."""
    opening = Markup(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"><title>{0}</title>"
    )
    parts = [opening.format(visible(title)), Markup(f"<style>{_PAGE_STYLE}</style>")]
    parts.append(Markup("<h1>{}</h1>").format(visible(title)))
    for heading, examples in groups:
        parts.append(Markup("<h2>{}</h2><ol>").format(visible(heading)))
        parts += [_item(example) for example in examples]
        parts.append(Markup("</ol>"))
    return str(Markup().join(parts)) + "\n"


def _item(example: Example) -> Markup:
    caption = visible(example.caption)
    if (picture := embed(example.png)) is not None:
        image = Markup('<li><img src="{}" alt="">{}</li>')
        return image.format(picture.uri, caption)
    if example.text is not None:
        return Markup('<li class="text"><strong>{}</strong>\n{}</li>').format(caption, visible(example.text))
    return Markup("<li>{}</li>").format(caption)
