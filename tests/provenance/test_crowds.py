"""Packs too large to look at each data set: the answers are those of small packs."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from theriac.provenance import ask, walk

from .conftest import PAST
from .random_graphs import hash_of
from .signed import SignedGraph, data

NOW = datetime(2026, 9, 1, tzinfo=UTC)
MOMENTS = (NOW, datetime(2026, 2, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))


def random_graph(store, key, stranger, seed):
    """A system whose packs share, nest and lack data, some of them expired, retracted, derived or of the wrong kind."""
    graph, chance = SignedGraph(store, key), random.Random(seed)
    leaves = [f"d{n}" for n in range(8)]
    for name in leaves:
        derived = [graph[f"d{chance.randrange(int(name[1:]))}"]] if name != "d0" and chance.random() < 0.1 else []
        label = "Weights" if chance.random() < 0.05 else "Training"
        until = datetime(2026, chance.choice((1, 5)), 20, tzinfo=UTC) if chance.random() < 0.1 else None
        start = PAST + timedelta(days=60 * (chance.random() < 0.1))
        graph.add(name, "data", data(name, label, derived), valid_until=until, valid_from=start)
    graph.pack("inner", *chance.sample(leaves, 5))
    graph.pack("outer", *chance.sample([*leaves, "inner"], 6))
    for weights, pack in (("base", "inner"), ("weights", "outer")):
        derived = [graph["base"]] if weights == "weights" else []
        graph.add(weights, "data", data(weights, "Weights", derived))
        graph.trained(weights, pack)
    graph.system("system", "Inferencing", "weights-config")
    graph.identity("tony")
    for name in leaves:
        for _ in range(chance.randrange(3)):
            kind = chance.choice(("poisoning", "poisoning", "poisoning-check", "bias", "provided"))
            wrong = {"id": graph.id(name), "hash": "sha256:" + "0" * 64} if chance.random() < 0.2 else None
            signer = chance.choice((key, stranger))
            claimed = {"provider": {"uuid": "urn:uuid:tony"}} if kind == "provided" else None
            graph.claim(kind, name, signer, link=wrong, claimed=claimed)
            if chance.random() < 0.2:
                graph.retract(list(graph.documents)[-1])
    if chance.random() < 0.3:
        graph.retract(chance.choice([*leaves, "inner"]))
    return graph


def answers(store, trust):
    given = {
        "providers-trusted-whitelist": ["tony@example.org"],
        "providers-trusted-blacklist": ["eve@example.org"],
        "training-data-matches": [hash_of("d0"), hash_of("d1")],
    }
    queries = ("data-poisoning", "data-bias", "data-in-system", "functional-performance", *given)
    for query in queries:
        for moment in MOMENTS:
            answer = ask(store, query, "urn:x:system", given.get(query, ()), at=moment, policy=trust)
            claims = {
                (claim.id, claim.component["id"], claim.accepted, claim.why_not, claim.path[-1])
                for claim in (*answer.attestations, *answer.checks)
            }
            listed = set(answer.answer) if isinstance(answer.answer, list) else answer.answer
            yield (query, moment), (listed, answer.complete, answer.status, claims)


@pytest.mark.parametrize("seed", range(12))
def test_huge_packs_are_answered_as_small_ones(store, key, stranger, policy, monkeypatch, seed):
    random_graph(store, key, stranger, seed)
    trust = policy(f'did = "{key.did}"\nmay = ["*"]') if seed % 2 else policy(*_both(key, stranger))
    small = dict(answers(store, trust))
    monkeypatch.setattr(walk, "FEW", 3)
    chain = walk.walk
    crowded = []
    monkeypatch.setattr("theriac.provenance.extended.walk", lambda *args: crowded.append(chain(*args)) or crowded[-1])
    large = dict(answers(store, trust))
    for asked, answer in small.items():
        assert large[asked] == answer, asked
    assert any(chain.crowds for chain in crowded)


def _both(*keys):
    return [f'did = "{key.did}"\nmay = ["*"]' for key in keys]
