"""The question the other way round: what came of this?"""

import pytest

from theriac.errors import UserError
from theriac.provenance import Store, ask, issue, link_to

from .signed import data, signs


@pytest.fixture
def graph(store, key):
    return signs(store, key)


def using(store, name, **options):
    return ask(store, "systems-using", f"urn:x:{name}", **options)


@pytest.mark.parametrize("part", ["red", "pack", "weights-training", "weights-config", "weights", "serve", "system"])
def test_every_part_leads_to_the_system(graph, store, part):
    answer = using(store, part)
    assert (answer.answer, answer.complete) == (["urn:x:system"], True)
    [path] = answer.paths
    assert (path[0], path[-1]) == (f"urn:x:{part}", "urn:x:system")


def test_who_runs_them_is_said(graph, store, stranger):
    graph.system("theirs", "Inferencing", "weights-config", key=stranger)
    answer = using(store, "red")
    assert answer.answer == ["urn:x:system", "urn:x:theirs"]
    assert {system["id"]: system["issuer"] for system in answer.extra["systems"]} == {
        "urn:x:system": graph.key.did,
        "urn:x:theirs": stranger.did,
    }
    assert [model["id"] for model in answer.extra["models"]] == ["urn:x:weights"]


def test_through_fine_tunes_nested_packs_and_derived_data(graph, store):
    graph.add("translated", "data", data("translated", derived=[graph["red"]]))
    graph.pack("inner", "translated")
    graph.pack("outer", "inner")
    graph.add("other", "data", data("other", "Weights"))
    graph.trained("other", "outer")
    graph.add("tuned", "data", data("tuned", "Weights", derived=[graph["other"]]))
    graph.add("clean", "data", data("clean"))
    graph.pack("clean-pack", "clean")
    graph.trained("tuned", "clean-pack")
    graph.system("product", "Inferencing", "tuned-config")
    answer = using(store, "red")
    assert set(answer.answer) == {"urn:x:system", "urn:x:product"}
    assert {model["id"] for model in answer.extra["models"]} == {"urn:x:weights", "urn:x:other", "urn:x:tuned"}
    assert using(store, "clean").answer == ["urn:x:product"]
    assert using(store, "blue").answer == ["urn:x:system"]


def test_it_is_the_forward_question_turned_round(graph, store):
    """Whatever a system's chain contains leads back to that system, and nothing else does."""
    graph.pack("second", "blue")
    graph.add("second-weights", "data", data("second-weights", "Weights", derived=[graph["weights"]]))
    graph.trained("second-weights", "second", "train")
    graph.system("second-system", "Inferencing", "second-weights-config")
    systems = ("urn:x:system", "urn:x:second-system")
    chains = {id: set(ask(store, "data-poisoning", id).nodes) for id in systems}
    for document in graph.documents.values():
        expected = {id for id, chain in chains.items() if document["id"] in chain}
        assert set(ask(store, "systems-using", document["id"]).answer) == expected, document["id"]


def test_by_a_policy_it_is_the_forward_question_turned_round(graph, store, key, stranger, policy):
    """A stranger says that our weights were made of their data, and runs systems on everything."""
    graph.add("green", "data", data("green"))
    graph.pack("their-pack", "green")
    graph.system("their-training", "Training", "their-pack", key=stranger)
    parts = {"aiSystem": link_to(graph["their-training"]), "data": link_to(graph["weights"])}
    graph.add("their-config", "config", {"name": "theirs", **parts}, stranger)
    graph.system("theirs", "Inferencing", "weights-config", key=stranger)
    everybody, own = using(store, "green"), f'did = "{key.did}"\nmay = ["*"]'
    assert everybody.answer == ["urn:x:system", "urn:x:theirs"]
    other = f'did = "{stranger.did}"\nmay = ["describe"]\nabout = '
    cases = {
        "nobody": ([], [], []),
        "us": ([own], ["urn:x:system"], []),
        "them about our system": ([own, other + '["urn:x:system"]'], ["urn:x:system"], ["urn:x:system"]),
        "them about theirs": ([own, other + '["urn:x:theirs"]'], ["urn:x:system", "urn:x:theirs"], ["urn:x:theirs"]),
        "them about weights": ([own, other + '["urn:x:weights"]'], ["urn:x:system"], ["urn:x:system"]),
    }
    for case, (trusted, of_red, of_green) in cases.items():
        trust = policy(*trusted)
        forward = ask(store, "data-in-system", "urn:x:system", policy=trust).answer
        for part, systems in (("red", of_red), ("green", of_green)):
            assert using(store, part, policy=trust).answer == systems, case
            if trusted:
                assert (f"urn:x:{part}" in forward) == ("urn:x:system" in systems), case


def test_what_does_not_count_by_the_policy_is_shown_with_the_reason(graph, store, key, stranger, policy):
    graph.system("theirs", "Inferencing", "weights-config", key=stranger)
    answer = using(store, "red", policy=policy(f'did = "{key.did}"\nmay = ["*"]'))
    assert (answer.answer, answer.complete, len(answer.paths)) == (["urn:x:system"], True, 1)
    shown = {system["id"]: (system["accepted"], system["why_not"]) for system in answer.extra["systems"]}
    why = f"the policy does not know its issuer {stranger.did}"
    assert shown == {"urn:x:system": (True, ""), "urn:x:theirs": (False, why)}
    assert f"urn:x:theirs does not count: {why}" in answer.warnings


def test_a_part_that_was_swapped_leads_nowhere(graph, store, key, tmp_path):
    """The pack names another document with that id: this one is in no system."""
    with Store(tmp_path / "second.sqlite", write=True) as second:
        second.add(document for name, document in graph.documents.items() if name != "red")
        second.add([issue("data", data("harmless"), key, id="urn:x:red")])
        assert using(second, "red").answer == []


def test_a_retracted_link_leads_nowhere_from_then_on(graph, store):
    assert using(store, "red").answer
    graph.retract("pack")
    answer = using(store, "red")
    assert answer.answer == []
    assert any("urn:x:pack: retracted" in warning for warning in answer.warnings)
    assert using(store, "weights").answer == ["urn:x:system"]


def test_a_forged_link_leads_nowhere(graph, store):
    subject = {"name": "x", "label": "Inferencing", "data": link_to(graph["pack"])}
    forged = graph["system"] | {"id": "urn:x:forged", "credentialSubject": subject}
    assert store.add([forged]).invalid
    assert using(store, "red").answer == ["urn:x:system"]


def test_an_unknown_id_is_incomplete(graph, store):
    answer = using(store, "unknown")
    assert (answer.answer, answer.complete) == ([], False)
    with pytest.raises(UserError, match="TAIBOM has no query"):
        using(store, "red", mode="taibom")


def test_cycles_end(graph, store, key):
    """With digests a cycle cannot be signed; unsigned credentials can form one."""
    from theriac.provenance import Accepted

    from .random_graphs import credential, link

    packs = [
        credential("data-pack", f"urn:x:loop-{n}", {"name": "loop", "datasets": [link(f"urn:x:loop-{1 - n}")]})
        for n in range(2)
    ]
    store.add(packs, accepted=Accepted(unsigned=True))
    assert using(store, "loop-0").answer == []
