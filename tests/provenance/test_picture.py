import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from itertools import combinations
from types import SimpleNamespace

import pytest

from theriac.errors import UserError
from theriac.provenance import ask, describe_system, diagram, issue, link_to
from theriac.provenance.layered import GAP, place
from theriac.provenance.picture import mermaid, svg, write_picture
from theriac.provenance.policy import EVERYBODY, Policy, TrustedIssuer
from theriac.provenance.walk import Chain, walk

from .conftest import PAST, artifact
from .graphs import (
    HOSTILE,
    POISONED,
    SAMPLE,
    add_taibom_sample,
    broken,
    crowded,
    fine_tuned,
    hostile,
    poison,
    poisoning_of,
)
from .graphs import road_signs as make_road_signs

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawn(store, tmp_path):
    def draw(answer, at=None, policy=EVERYBODY):
        path = tmp_path / "chain.svg"
        write_picture(path, store, answer, at=at, policy=policy)
        return read(path.read_text(encoding="utf-8"))

    return draw


def read(text):
    """What an SVG picture shows."""
    root = ElementTree.fromstring(text)
    boxes = [
        SimpleNamespace(
            tone=box.get("class"),
            title=box.find(f"{SVG}title").text,
            texts=[line.text for line in box.iter(f"{SVG}text")],
            signed=any(path.get("class") == "sign" for path in box.iter(f"{SVG}path")),
            area=tuple(float(box.get(name)) for name in ("x", "y", "width", "height")),
        )
        for box in root.findall(f"{SVG}svg")
    ]
    arrows = [path.get("class") for path in root.findall(f"{SVG}path")]
    ends = [list(map(float, re.findall(r"-?[\d.]+", path.get("d")))) for path in root.findall(f"{SVG}path")]
    texts = [line.text or "" for line in root.findall(f"{SVG}text")]
    return SimpleNamespace(root=root, boxes=boxes, arrows=arrows, ends=ends, texts=texts, text=text)


def named(picture, name):
    [box] = [box for box in picture.boxes if name in " ".join(box.texts)]
    return box


def apart(picture):
    for (x, y, width, height), (x2, y2, width2, height2) in combinations([box.area for box in picture.boxes], 2):
        if x < x2 + width2 and x2 < x + width and y < y2 + height2 and y2 < y + height:
            return False
    return True


def on_edges(picture):
    """Whether every arrow starts at the right side of a box and ends at the left side of one (to the drawn digit)."""
    right = {(round(x + width), round(y + height / 2)) for x, y, width, height in (b.area for b in picture.boxes)}
    left = {(round(x), round(y + height / 2)) for x, y, width, height in (box.area for box in picture.boxes)}

    def near(point, sides):
        return any(abs(point[0] - x) <= 1 and abs(point[1] - y) <= 1 for x, y in sides)

    return all(near(points[:2], right) and near(points[-2:], left) for points in picture.ends)


def test_poison_is_seen_by_colour_sign_and_word(store, issuer, evidence, drawn):
    described = make_road_signs(issuer, evidence)
    picture = drawn(poisoning_of(store, described.id))
    [alarm] = [box for box in picture.boxes if box.tone == "alarm"]
    assert alarm.texts[:2] == ["data set", "national speed limit"]
    assert "POISONED: data injection, high" in " ".join(alarm.texts)
    assert alarm.signed
    assert described.data[4]["id"] in alarm.title
    assert sorted(picture.arrows) == ["arrow"] * 7 + ["arrow hot"] * 4
    searched = named(picture, "model.safetensors")
    assert (searched.tone, searched.texts[-1]) == ("searched", "searched: nothing found")
    assert len(picture.boxes) == 12
    assert "Every link of this chain of credentials holds." in picture.texts
    assert "@media (prefers-color-scheme:dark){" in picture.text
    rules = [line for line in picture.root.find(f"{SVG}style").text.splitlines() if line[0] not in "@}"]
    assert all(one.startswith(".chain") for rule in rules for one in rule.partition("{")[0].split(","))
    assert picture.root.find(f"{SVG}title").text == "What road signs was made of"
    assert "national speed limit: POISONED" in picture.root.find(f"{SVG}desc").text


@pytest.mark.parametrize(
    ("query", "name", "word"),
    [("data-pollution", "40mph", "POLLUTED: mislabelled"), ("data-bias", "30mph", "BIASED: selection bias, low")],
)
def test_other_claims_have_their_own_words(store, issuer, evidence, drawn, query, name, word):
    described = make_road_signs(issuer, evidence)
    box = named(drawn(ask(store, query, described.id)), name)
    assert (box.tone, word in " ".join(box.texts)) == ("alarm", True)
    box = named(drawn(ask(store, "best-practice", described.id)), "attested: best practice")
    assert (box.tone, box.texts[0]) == ("plain", "AI system")


def test_packs_in_packs_and_base_models(store, issuer, drawn):
    picture = drawn(poisoning_of(store, fine_tuned(issuer)["id"]))
    assert sum(box.tone == "alarm" for box in picture.boxes) == 2
    assert {"derived from", "trained by"} <= set(picture.texts)
    assert apart(picture)
    assert on_edges(picture)
    # system, config, weights, training system, 2 packs, 3 data; base: weights, config, training system, pack
    assert len(picture.boxes) == 13 + 12 + 1
    assert named(picture, "… and 65 more").tone == "crowd"
    assert named(picture, "crawl 76").tone == "alarm"
    assert named(picture, "signs 0")  # once, though two packs have it


def test_forty_are_drawn_one_by_one(store, issuer, drawn):
    picture = drawn(poisoning_of(store, fine_tuned(issuer, 40)["id"]))
    assert sum("crawl" in " ".join(box.texts) for box in picture.boxes) == 40


def test_poison_beyond_measure_is_counted_in_red(store, issuer, drawn, monkeypatch):
    described = describe_system(issuer, "s", weights=artifact("w"), data=[artifact(f"part {n}") for n in range(6)])
    for data in described.data[1:]:
        poison(issuer, data)
    monkeypatch.setattr(diagram, "MOST", 2)
    picture = drawn(poisoning_of(store, described.id))
    assert sorted(box.tone for box in picture.boxes) == ["alarm"] * 3 + ["plain"] * 6
    assert named(picture, "… and 3 more").texts[2:] == ["claims about them count"]
    monkeypatch.setattr(diagram, "MANY", 3)
    picture = drawn(poisoning_of(store, described.id))
    assert named(picture, "part 2").tone == "alarm"  # with its whole way to the system
    assert {box.texts[0] for box in picture.boxes if box.tone == "plain"} >= {
        "AI system",
        "training system",
        "data pack",
    }
    assert not any("part 0" in box.texts for box in picture.boxes)


def test_links_that_do_not_hold_are_dashed(store, issuer, key, drawn):
    described = broken(store, issuer, key)
    picture = drawn(poisoning_of(store, described.id))
    assert picture.arrows.count("arrow broken") == 2
    swapped, gone = named(picture, "another"), named(picture, "is not in the store")
    assert swapped.tone == "doubt"
    assert "2 claims do not count" in swapped.texts
    assert "not the credential that was" in " ".join(swapped.texts)
    assert (gone.tone, described.data[2]["id"] in gone.title) == ("missing", True)
    assert any(text.startswith("INCOMPLETE") for text in picture.texts)
    assert any(f"{described.data[2]['id']} is not in the store" in text for text in picture.texts)
    assert not any(box.tone == "alarm" for box in picture.boxes)
    assert on_edges(picture)


def test_a_claim_of_somebody_unknown_is_shown_as_not_counting(store, issuer, described, key, drawn):
    poison(issuer, described.data[0])
    trusted = TrustedIssuer(name="we", did=key.did, may=["describe"])
    policy = Policy((trusted,), given=True)
    picture = drawn(poisoning_of(store, described.id, policy=policy), policy=policy)
    box = named(picture, "20mph")
    assert (box.tone, box.signed, "a claim of poisoning does not" in " ".join(box.texts)) == ("doubt", True, True)


def test_the_moment_counts(store, issuer, evidence, drawn):
    described = make_road_signs(issuer, evidence)
    past = drawn(poisoning_of(store, described.id, at=PAST), at=PAST)
    assert not any(box.tone == "alarm" for box in past.boxes)
    assert "broken" in " ".join(past.arrows)
    assert "not valid before" in " ".join(named(past, "model.safetensors").texts)


def test_a_crowd_is_one_box_and_its_poison_another(store, key, drawn):
    picture = drawn(poisoning_of(store, crowded(store, key).id))
    assert len(picture.boxes) == 7
    assert named(picture, "part 2001").tone == "alarm"
    assert named(picture, "more data sets").texts[1] == "2 001 more data sets"
    assert apart(picture)


def test_texts_of_others_stay_texts(store, issuer, drawn, tmp_path):
    described = hostile(issuer)
    answer = poisoning_of(store, described.id)
    picture = drawn(answer)
    tags = {element.tag.removeprefix(SVG) for element in picture.root.iter()}
    assert tags == {"svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text"}
    assert "\u202e" not in picture.text
    assert any(HOSTILE[0] in box.title for box in picture.boxes)
    assert apart(picture)
    write_picture(tmp_path / "chain.mmd", store, answer, at=None, policy=EVERYBODY)
    lines = (tmp_path / "chain.mmd").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "flowchart LR"
    label = r"(?:[\w\-.,/()…·\s]|#\d+;|<br/>)+"
    allowed = rf'  (?:accTitle: [\w\-., ]+|classDef .*|\w+\["{label}"\]:::\w+|\w+ (?:-->|-\.->)(?:\|[\w ]+\|)? \w+)'
    assert [line for line in lines[1:] if not re.fullmatch(allowed, line)] == []


def test_the_same_in_mermaid(store, issuer, key):
    described = broken(store, issuer, key)
    answer = poisoning_of(store, described.id)
    with store.snapshot() as view:
        chain = walk(view, described.id, datetime.now(UTC), EVERYBODY)
    text = mermaid(chain, answer.attestations)
    assert text.count("-.->") == 2
    assert "is not in the store" in text
    assert "INCOMPLETE" in text
    assert ":::alarm" not in text
    poisoned = mermaid(chain, [answer.attestations[0].__class__(**vars(answer.attestations[0]) | {"accepted": True})])
    assert "#9888; POISONED#58; data injection, high" in poisoned


def test_what_came_of_poisoned_data(store, issuer, drawn):
    system = fine_tuned(issuer, 3)
    data = next(
        id for id, document in issuer.credentials.items() if document["credentialSubject"].get("name") == "crawl 0"
    )
    picture = drawn(ask(store, "systems-using", data))
    assert named(picture, "this was asked about").tone == "asked"
    assert any(system["id"] in box.title for box in picture.boxes)
    assert not any("crawl 1" in box.title for box in picture.boxes)
    assert "What came of crawl 0" in picture.texts


def test_cycles_end(store, issuer, key, drawn):
    data, link = issuer.data(artifact("data")), {"id": "urn:uuid:outer", "hash": "sha256:" + "0" * 64}
    inner = issue("data-pack", {"name": "inner", "datasets": [link_to(data), link]}, key)
    outer = issue("data-pack", {"name": "outer", "datasets": [link_to(inner)]}, key, id="urn:uuid:outer")
    system = issue("ai-system", {"name": "s", "label": "Training", "data": link_to(outer)}, key)
    store.add([inner, outer, system])
    picture = drawn(poisoning_of(store, system["id"]))
    assert len(picture.boxes) == 4


def test_an_unknown_system_is_said(store, described, drawn):
    picture = drawn(poisoning_of(store, "urn:uuid:unknown"))
    assert picture.boxes == []
    assert any("urn:uuid:unknown is not in the store" in text for text in picture.texts)
    assert ElementTree.fromstring(svg(Chain(), ())) is not None


def test_a_picture_says_if_other_rules_were_asked(store, described, tmp_path):
    for mode in ("taibom", "extended"):
        answer = ask(store, "data-poisoning", described.id, mode=mode)
        for suffix in ("svg", "mmd"):
            path = tmp_path / f"chain.{suffix}"
            write_picture(path, store, answer, at=None)
            assert ("see only part of it" in path.read_text()) is (mode == "taibom")


def test_only_pictures_are_drawn(store, described, tmp_path):
    with pytest.raises(UserError, match=r"name it \.svg or \.mmd"):
        write_picture(tmp_path / "x.png", store, poisoning_of(store, described.id), at=None, policy=EVERYBODY)
    assert not (tmp_path / "x.png").exists()


def test_taiboms_own_sample(store, test_files, drawn):
    if not add_taibom_sample(store, test_files):
        pytest.skip("no sample of TAIBOM here")
    picture = drawn(poisoning_of(store, SAMPLE))
    [alarm] = [box for box in picture.boxes if box.tone == "alarm"]
    assert POISONED in alarm.title
    assert len(picture.boxes) == 14
    assert set(picture.arrows) == {"arrow", "arrow hot"}


def test_boxes_are_placed_right_of_what_leads_to_them():
    edges = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "a"), ("c", "c"), ("a", "d")]
    placed = place(dict.fromkeys("abcd", 10.0), edges)
    assert placed.column == {"a": 0, "b": 1, "c": 2, "d": 1}
    assert [column for column, _ in placed.routes["a", "c"]] == [0, 1, 2]
    assert placed.routes["c", "a"] == placed.routes["a", "c"][::-1]
    assert abs(placed.middle["b"] - placed.middle["d"]) >= 10 + GAP
    assert min(placed.middle.values()) >= 5
    assert max(placed.middle.values()) <= placed.height - 5


def test_arrows_do_not_cross_without_need():
    edges = [("r", "a"), ("r", "b"), ("a", "y"), ("b", "x")]
    placed = place(dict.fromkeys("rabxy", 10.0), edges)
    assert (placed.middle["a"] < placed.middle["b"]) == (placed.middle["y"] < placed.middle["x"])
    assert place({}, []).height == 0
