"""The order in which credentials arrive, and in which batches, changes nothing."""

import random
import shutil

import pytest
from sqlalchemy import select

from theriac.provenance import Accepted, Store, issue, link_to
from theriac.provenance.tables import CREDENTIALS, LINKS

from .random_graphs import RandomGraph
from .signed import data
from .test_crowds import random_graph


@pytest.fixture
def filled(tmp_path, empty_store):
    """Adds credentials in batches to a new store; returns what follows from them, by digest instead of by number."""

    def fill(documents, sizes):
        path = tmp_path / "filled.sqlite"
        shutil.copy(empty_store, path)
        with Store(path, write=True) as store:
            rest = list(documents)
            while rest:
                size = next(sizes)
                store.add(rest[:size], accepted=Accepted(unsigned=True))
                rest = rest[size:]
            store.recheck()
            with store.snapshot() as view:
                digests = dict(view.connection.execute(select(CREDENTIALS.c.pk, CREDENTIALS.c.digest)).tuples().all())
                retracted = {entry.digest: entry.retracted for entry in view.entries()}
                links = {
                    (digests[row.source], row.position): (digests.get(row.to), row.state, row.plain)
                    for row in view.connection.execute(select(LINKS))
                }
        return retracted, links

    return fill


def in_any_order(filled, documents, seed):
    chance = random.Random(seed)
    wanted = filled(documents, iter(lambda: 1000, 0))
    orders = [list(reversed(documents)), chance.sample(documents, len(documents))]
    for order in orders:
        assert filled(order, iter(lambda: chance.choice((1, 3, 17)), 0)) == wanted
    return wanted


@pytest.mark.parametrize("seed", range(5))
def test_unsigned_credentials_with_doubled_ids(filled, seed):
    _, links = in_any_order(filled, RandomGraph(seed).documents, seed)
    assert len({state for _, state, _ in links.values()}) >= 2


@pytest.mark.parametrize("seed", range(5))
def test_signed_credentials_with_twins_and_retractions(filled, store, key, stranger, seed):
    graph = random_graph(store, key, stranger, seed)
    documents = list(graph.documents.values())
    for signer in (key, stranger):
        documents.append(issue("data", data("twin"), signer, id="urn:x:d1"))
        documents.append(issue("retraction", {"retracts": link_to(graph["d2"]), "reason": "x"}, signer))
    documents.append(dict(graph["d3"], validFrom="2020-01-01T00:00:00Z"))
    retracted, links = in_any_order(filled, documents, seed)
    assert any(retracted.values())
    assert len({state for _, state, _ in links.values()}) >= 2
