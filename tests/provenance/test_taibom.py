"""The sixteen queries in TAIBOM's meaning: known answers, and a slow evaluator of the rules on random graphs."""

import json
import shutil

import pytest

from theriac.provenance import QUERIES, Accepted, Store, ask, taibom

from .random_graphs import SIGNS, SYSTEM, TRAINING, RandomGraph, hash_of, sample
from .reference import Reference

CLAIMS = {
    *("data-poisoning", "data-pollution", "data-bias", "inference-vulnerabilities", "training-vulnerabilities"),
    *("best-practice", "functional-performance"),
}
NAMES = [name for name, query in QUERIES.items() if query.predicate]


@pytest.fixture
def stored(empty_store, tmp_path):
    """Puts documents into a new store."""
    stores = []

    def fill(documents, path=tmp_path / "store.sqlite"):
        while stores:
            stores.pop().close()
        shutil.copy(empty_store, path)
        store = Store(path, write=True)
        stores.append(store)
        added = store.add(documents, accepted=Accepted(unsigned=True))
        assert (added.refused, added.invalid, added.kept_out) == ([], [], [])
        return store

    yield fill
    for store in stores:
        store.close()


def answered(store, query, system, arguments=()):
    """The answer in a form that can be compared: a set of ids, a set of claims, or yes and no."""
    answer = ask(store, query, system, arguments, mode="taibom")
    assert (answer.mode, answer.complete, answer.system) == ("taibom", True, system)
    if query == "data-in-system":
        return set(answer.answer)
    if query not in CLAIMS:
        return answer.answer
    assert answer.answer is bool(answer.attestations)
    return {(c.component["id"], c.component["hash"], json.dumps(c.details)) for c in answer.attestations}


def expected(reference, query, system, arguments=()):
    if query == "data-in-system":
        return reference.data_in_system_ids(system)
    found = reference.ask(query, system, arguments)
    if query not in CLAIMS:
        return found
    return {(id, hash, json.dumps(_details(claim), sort_keys=True)) for id, hash, claim in found}


def _details(claim):
    names = ("poisoning", "pollution", "bias", "vulnerability", "best_practice")
    inner = next((claim[name] for name in names if name in claim), None)
    return inner or {name: value for name, value in claim.items() if name != "type"}


def arguments_for(query, graph, reference, system):
    wants = QUERIES[query].arguments
    if not wants:
        return ()
    if wants == "PROVIDER ...":
        return tuple(graph.random.sample(graph.emails, graph.random.randint(1, 2)))
    if query == "training-data-matches":
        ids = reference.data_in_system_ids(system)
        right = {content for id, content, _ in reference.data if id in ids and isinstance(content, str)}
        if right and graph.random.random() < 0.7:
            return tuple(right)
        return tuple(hash_of(name) for name in graph.random.sample(graph.names, graph.random.randint(1, 4)))
    return (graph.random.choice(("one", "two")) if "sbom" in query else hash_of(graph.random.choice(graph.names)),)


def check(stored, seeds):
    """Compares all queries on these random graphs; returns how often each had something to find."""
    told = dict.fromkeys(NAMES, 0)
    for seed in seeds:
        graph = RandomGraph(seed)
        store, reference = stored(graph.documents), Reference(graph.documents)
        other = graph.random.choice((graph.ids["s"][2], graph.ids["t"][0], graph.ids["w"][0], "urn:uuid:nowhere"))
        for system in (*graph.ids["s"][:2], other):
            for query in NAMES:
                arguments = arguments_for(query, graph, reference, system)
                wanted = expected(reference, query, system, arguments)
                assert answered(store, query, system, arguments) == wanted, (seed, query, system, arguments)
                told[query] += bool(wanted)
    return told


@pytest.mark.parametrize("chunk", range(5))
def test_random_graphs_give_the_rules_answers(stored, chunk):
    told = check(stored, range(25 * chunk, 25 * chunk + 25))
    assert min(told.values()) > 2, told  # else the comparison means little


def test_data_too_many_to_list_give_the_same_answers(stored, monkeypatch):
    monkeypatch.setattr(taibom, "FEW", 0)
    told = check(stored, range(1000, 1030))
    assert told["data-poisoning"] > 3


def test_the_sample_topology(stored):
    documents = sample()
    assert len(documents) == 31
    store, signs = stored(documents), {f"urn:uuid:{sign}" for sign in SIGNS}
    about = {
        "data-poisoning": {"urn:uuid:national"},
        "data-pollution": {"urn:uuid:40mph"},
        "data-bias": {"urn:uuid:30mph", "urn:uuid:50mph"},
        "inference-vulnerabilities": {"urn:uuid:inference-sbom"},
        "training-vulnerabilities": {"urn:uuid:training-sbom"},
        "best-practice": {SYSTEM, TRAINING, "urn:uuid:30mph"},
        "functional-performance": {SYSTEM},
    }
    assert about.keys() == CLAIMS
    assert answered(store, "data-in-system", SYSTEM) == signs
    for query, components in about.items():
        assert {id for id, _, _ in answered(store, query, SYSTEM)} == components
    [found] = answered(store, "data-poisoning", SYSTEM)
    details = {"date": "31-03-2025", "description": "injection of malicious data"}
    details |= {"severity": "high", "type": "data injection"}
    assert found == ("urn:uuid:national", hash_of("national"), json.dumps(details))
    yes_and_no = {
        "providers-trusted-whitelist": (["tony@example.org"], ["eve@example.org"]),
        "providers-trusted-blacklist": (["eve@example.org"], ["tony@example.org"]),
        "code-hash-matches": ([hash_of("inference.py")], [hash_of("training.py")]),
        "sbom-hash-matches": (["inference sbom"], ["training sbom"]),
        "weights-hash-matches": ([hash_of("classifier.keras")], [hash_of("30mph")]),
        "training-data-matches": ([hash_of(sign) for sign in SIGNS], [hash_of(sign) for sign in SIGNS[1:]]),
        "training-sbom-hash-matches": (["training sbom"], ["inference sbom"]),
    }
    for query, (yes, no) in yes_and_no.items():
        assert (answered(store, query, SYSTEM, yes), answered(store, query, SYSTEM, no)) == (True, False), query
    for hash in (hash_of("training.py"), "deadbeef"):  # the reference's error
        assert answered(store, "training-code-hash-matches", SYSTEM, [hash])
    assert {*yes_and_no, *about, "data-in-system", "training-code-hash-matches"} == {*NAMES}
    assert len(NAMES) == 16


def test_the_evaluator_agrees_with_the_known_answers():
    reference = Reference(sample())
    assert [id for id, _, _ in reference.ask("data-poisoning", SYSTEM, ())] == ["urn:uuid:national"]
    assert reference.data_in_system_ids(SYSTEM) == {f"urn:uuid:{sign}" for sign in SIGNS}
    assert not reference.ask("providers-trusted-whitelist", SYSTEM, ["eve@example.org"])


@pytest.mark.parametrize("system", ["urn:uuid:unknown", TRAINING])
def test_an_unknown_or_training_id_has_no_poisoning(stored, system):
    assert answered(stored(sample()), "data-poisoning", system) == set()


def test_an_sbom_that_is_not_named_is_every_sbom(stored):
    """A missing optional fact is a variable in the rules: it fits everything."""
    documents = sample()
    for document in documents:
        document["credentialSubject"].pop("sbom", None)
    store = stored(documents)
    assert answered(store, "sbom-hash-matches", SYSTEM, ["anything"])
    assert len(answered(store, "inference-vulnerabilities", SYSTEM)) == 2


def test_taiboms_own_sample(stored, test_files):
    files = sorted((test_files / "fixtures" / "taibom" / "sample_vcs").rglob("*.json"))
    if not files:
        pytest.skip("no sample files; the same topology is tested above")
    documents = [json.loads(file.read_bytes()) for file in files]
    store, reference = stored(documents), Reference(documents)
    system = "urn:uuid:3a02992b-7a5b-4184-ba1e-358850e5344c"
    [claim] = ask(store, "data-poisoning", system, mode="taibom").attestations
    assert claim.component == {
        "id": "urn:uuid:5f6dc5e9-002e-4ec9-80c4-cae7e1940c6c",
        "hash": "9cb2cfd169166958a6f036eeb554fc72c4df43417b4d7a84e2a06a80eb4e0f97",
    }
    said = ("31-03-2025", "injection of malicious data", "high", "data injection")
    assert tuple(claim.details[name] for name in ("date", "description", "severity", "type")) == said
    starts = {"data-pollution": ["7b88099f"], "data-bias": ["447d1ddd", "dddce76c"]}
    for query, wanted in starts.items():
        found = answered(store, query, system)
        assert sorted(id.removeprefix("urn:uuid:")[:8] for id, _, _ in found) == wanted
    hashes = [content for _, content, label in reference.data if label == "Training"]
    own = {content for _, content, _ in reference.codes}
    arguments = {"PROVIDER ...": ["tony@nqminds.com"], "HASH ...": hashes, "HASH": sorted(own)[:1]}
    for name in NAMES:
        given = arguments.get(QUERIES[name].arguments, [])
        assert answered(store, name, system, given) == expected(reference, name, system, given), name
    assert answered(store, "training-data-matches", system, hashes)
    assert answered(store, "providers-trusted-whitelist", system, ["tony@nqminds.com"])
    assert len(answered(store, "best-practice", system)) == 3
