from html.parser import HTMLParser

import pytest

from theriac.provenance import Issuer, Store, describe_system
from theriac.provenance.claims import gather
from theriac.provenance.policy import EVERYBODY
from theriac.provenance.walk import walk
from theriac.web.chain import MOST_LEAVES, MOST_ROWS, all_nodes, chain_html, tree

from .conftest import KEY, artifact


@pytest.fixture
def issuer(tmp_path):
    with Store(tmp_path / "evidence.sqlite", write=True) as store:
        yield Issuer(KEY, store)


def look(issuer, system):
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    with issuer.store.snapshot() as view:
        chain = walk(view, system, now, EVERYBODY)
        claims = gather(view, chain, ["poisoning", "bias"], now, EVERYBODY)
        return all_nodes(view, chain, claims), claims


def described(issuer, data):
    artifacts = [artifact(f"{number} signs") for number in range(data)]
    return describe_system(issuer, "signs", weights=artifact("weights"), data=artifacts)


def poison(issuer, component):
    issuer.poisoning(component, type="data injection", severity="high", description="")


class Balanced(HTMLParser):
    """Fails on lists and items that are not closed in the order in which they were opened."""

    def __init__(self):
        super().__init__()
        self.open, self.items, self.deepest = [], 0, 0

    def handle_starttag(self, tag, attributes):
        if tag in ("ul", "li"):
            assert not self.open or self.open[-1] != tag
            self.open.append(tag)
            self.items += tag == "li"
            self.deepest = max(self.deepest, self.open.count("ul"))

    def handle_endtag(self, tag):
        if tag in ("ul", "li"):
            assert self.open.pop() == tag


def parsed(html):
    reader = Balanced()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_a_small_chain_is_drawn_whole(issuer):
    system = described(issuer, 3)
    html = chain_html(*look(issuer, system.id), str)
    assert (parsed(html).items, parsed(html).deepest) == (8, 5)
    assert "poisoned" not in html


@pytest.mark.parametrize("data", [MOST_LEAVES, MOST_LEAVES + 1, 60])
def test_of_a_large_pack_a_few_are_drawn_and_the_poisoned_one_always(issuer, data):
    system = described(issuer, data)
    poison(issuer, system.data[-1])
    nodes, claims = look(issuer, system.id)
    html = chain_html(nodes, claims, str)
    drawn = min(data, MOST_LEAVES + 1)
    more = f"and {data - drawn} more" in html
    assert parsed(html).items == 5 + drawn + more
    assert more == (data > drawn)
    assert html.count("part-alarming") == 1
    assert [row.entry.id for row in tree(nodes, claims) if row.alarming] == [system.data[-1]["id"]]


def test_the_way_to_what_is_claimed_is_hot_only_if_the_claim_counts(issuer):
    system = described(issuer, 2)
    poison(issuer, system.data[0])
    nodes, claims = look(issuer, system.id)
    hot = [row.entry.id for row in tree(nodes, claims) if row.hot]
    assert tuple(hot) == claims[0].path
    broken = dict(issuer.credentials[claims[0].id], validFrom="2026-01-01T00:00:00Z")
    other = describe_system(issuer, "other", weights=artifact("x"), data=[artifact("y")])
    issuer.store.add([dict(broken, credentialSubject=_about(other.data[0]))])
    nodes, claims = look(issuer, other.id)
    assert [claim.accepted for claim in claims] == [False]
    assert not any(row.hot for row in tree(nodes, claims))
    assert "claimed, does not count" in chain_html(nodes, claims, str)


def _about(document):
    from theriac.provenance import link_to

    said = {"date": "2026-03-31", "type": "x", "severity": "low", "description": ""}
    return {"component": link_to(document), "attestation": {"type": "poisoning", "poisoning": said}}


def test_a_million_data_sets_are_not_drawn(issuer):
    # 2,500 stand for them: more than the walk looks at one by one
    system = described(issuer, 2_500)
    assert "and 2,500 more" in (empty := chain_html(*look(issuer, system.id), str))
    assert parsed(empty).items == 6
    poison(issuer, system.data[1_234])
    nodes, claims = look(issuer, system.id)
    html = chain_html(nodes, claims, str)
    assert parsed(html).items <= MOST_ROWS
    assert "and 2,499 more" in html
    assert [row.entry.id for row in tree(nodes, claims) if row.alarming] == [system.data[1_234]["id"]]


def test_a_deep_chain_of_models_is_drawn_to_its_end(issuer):
    previous = issuer.data(artifact("base"), weights=True)
    first = previous
    for number in range(150):
        subject = dict(previous["credentialSubject"], name=f"tuned {number}")
        subject["derivedFrom"] = [{"id": previous["id"], "hash": _digest(previous)}]
        previous = issuer.issue("data", subject)
    link = {"id": previous["id"], "hash": _digest(previous)}
    system = issuer.issue("ai-system", {"name": "deep", "label": "Inferencing", "data": link})
    poison(issuer, first)
    nodes, claims = look(issuer, system["id"])
    html = chain_html(nodes, claims, str)
    assert parsed(html).items == 152
    assert html.count('class="hot"') == 152


def _digest(document):
    from theriac.provenance import digest_of

    return digest_of(document)
