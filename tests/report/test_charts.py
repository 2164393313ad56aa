import base64
import re
import struct
from xml.etree import ElementTree

import pytest

from theriac.finding import Histogram, Table
from theriac.report import charts, tables
from theriac.report.pictures import embed


def _histogram(**changes: object) -> Histogram:
    given = {"title": "t", "axis": "score", "edges": [0.0, 1.0, 2.0], "series": {"a": [4, 2]}} | changes
    return Histogram.model_validate(given)


def _tree(svg: str | None) -> ElementTree.Element:
    assert svg is not None
    return ElementTree.fromstring(str(svg))


def test_bars_of_a_histogram_are_as_tall_as_their_counts() -> None:
    bars = _tree(charts.histogram(_histogram())).findall("rect")
    tall, low = (float(bar.attrib["height"]) for bar in bars)
    assert tall == pytest.approx(2 * low, abs=0.2)


def test_a_few_among_many_stay_visible_on_a_log_axis() -> None:
    svg = charts.histogram(_histogram(series={"a": [10_000, 1]}))
    rare = float(_tree(svg).findall("rect")[1].attrib["height"])
    assert rare > 5
    assert "log scale" in str(svg)


def test_the_second_series_is_an_outline_per_run_of_full_bins() -> None:
    data = _histogram(edges=[0, 1, 2, 3, 4], series={"a": [9, 9, 1, 1], "b": [1, 0, 2, 3]})
    outlines = _tree(charts.histogram(data)).findall("polyline")
    assert [len(o.attrib["points"].split()) for o in outlines] == [4, 6]


def test_a_threshold_outside_the_scores_is_still_inside_the_picture() -> None:
    tree = _tree(charts.histogram(_histogram(threshold=50.0)))
    line = next(e for e in tree.findall("line") if e.attrib["class"] == "threshold")
    assert 0 <= float(line.attrib["x1"]) <= charts.WIDTH
    assert "threshold 50" in "".join(tree.itertext())


@pytest.mark.parametrize(
    "changes",
    [
        {"edges": []},
        {"edges": [1.0]},
        {"edges": [1.0, 1.0, 1.0]},
        {"edges": [2.0, 1.0, 0.0]},
        {"edges": [-1e308, 0.0, 1e308]},
        {"edges": [float(i) for i in range(5000)], "series": {"a": [1] * 4999}},
        {"series": {}},
        {"series": {"a": [0, 0]}},
        {"series": {"a": [1]}},
        {"series": {"a": [-1, 2]}},
        {"series": {"a": [10**400, 2]}},
        {"threshold": 1e308},
    ],
)
def test_histograms_that_make_no_sense_are_not_drawn(changes: dict[str, object]) -> None:
    assert charts.histogram(_histogram(**changes)) is None


def test_scores_that_hardly_differ_are_drawn() -> None:
    assert charts.histogram(_histogram(edges=[0.0, 5e-324, 1e-323])) is not None


def test_the_suspected_class_is_marked_and_named_in_the_chart() -> None:
    tree = _tree(charts.columns([("a", 1.0), ("<b>", 9.0)], axis="anomaly", marked={"<b>"}))
    marked = [r for r in tree.findall("rect") if "bar-marked" in r.attrib["class"]]
    assert len(marked) == 1
    assert "<b>" in [t.text for t in tree.findall("text")]


def test_probabilities_per_class_are_drawn_up_to_one_and_not_up_to_the_largest() -> None:
    table = Table(title="t", columns=["class", "P(poisoned)"], rows=[["a", 0.1], ["b", 0.05]])
    tree = _tree(tables.lay_out(table).chart)
    tall = max(float(bar.attrib["height"]) for bar in tree.findall("rect"))
    assert tall < 0.15 * charts.HEIGHT


@pytest.mark.parametrize("values", [[], [("a", 0.0)], [("a", -1.0)], [("a", 1.0)] * 500, [("a", 10**400)]])
def test_columns_that_make_no_sense_are_not_drawn(values: list[tuple[str, float]]) -> None:
    assert charts.columns(values, axis="x", marked=()) is None


def test_a_bar_stays_inside_its_trough() -> None:
    widths = [float(re.findall(r'width="([\d.]+)"', str(charts.bar(share)))[1]) for share in (-1, 0, 0.25, 1, 7)]
    assert widths == [0, 0, 25, 100, 100]


def test_ragged_tables_and_huge_numbers_are_laid_out() -> None:
    shown = tables.lay_out(Table(title="t", columns=["a", "b"], rows=[[], ["x"], ["x", 10**400, 3], [None, 1.5]]))
    assert [len(row) for row in shown.rows] == [2, 2, 2, 2]
    assert shown.rows[1][1].text == "–"
    assert shown.rows[3][1].text == "1.5"


def test_only_shares_are_printed_as_percentages() -> None:
    rows: list[list[str | float | int | None]] = [["clean accuracy", 0.97, 0.96], ["loss", 0.5, 0.25]]
    shown = tables.lay_out(Table(title="t", columns=["measure", "before", "after"], rows=rows))
    assert [cell.text for row in shown.rows for cell in row[1:]] == ["97\u202f%", "96\u202f%", "0.5", "0.25"]
    assert [bool(cell.bar) for row in shown.rows for cell in row[1:]] == [True, True, False, False]


def _png(width: int, height: int) -> str:
    header = struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + bytes(4)).decode()


def test_only_small_pngs_are_embedded() -> None:
    good = _png(64, 48)
    shown = embed(good)
    assert shown is not None
    assert (shown.width, shown.height) == (64, 48)
    svg = base64.b64encode(b"<svg onload='alert(1)' xmlns='http://www.w3.org/2000/svg'></svg>").decode()
    for bad in (None, "", "%%%", svg, _png(0, 5), _png(10**6, 5), good[:20], good + '" onerror="x', "A" * 3_000_000):
        assert embed(bad) is None
