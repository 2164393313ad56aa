"""Where TAIBOM's rules go wrong, and what theriac answers instead: each test asks in both meanings."""

from datetime import UTC, datetime, timedelta

import pytest

from theriac.errors import ExitCode
from theriac.provenance import Store, ask, issue, link_to

from .random_graphs import hash_of
from .signed import data, signs

SYSTEM = "urn:x:system"


@pytest.fixture
def graph(store, key):
    return signs(store, key)


def both(store, query="data-poisoning", system=SYSTEM, arguments=(), **options):
    """Returns the reference's answer and ours; the reference never says that it knows too little."""
    taibom = ask(store, query, system, arguments, mode="taibom")
    assert taibom.complete
    return taibom, ask(store, query, system, arguments, **options)


def test_an_unknown_id_is_not_clean(graph, store):
    taibom, ours = both(store, system="urn:x:unknown")
    assert (taibom.answer, taibom.status) == (False, ExitCode.NOTHING)
    assert (ours.answer, ours.complete, ours.status) == (False, False, ExitCode.INCONCLUSIVE)


def test_a_training_system_can_be_asked_about(graph, store):
    graph.claim("poisoning", "red")
    taibom, ours = both(store, system="urn:x:weights-training")
    assert (taibom.answer, ours.answer, ours.complete) == (False, True, True)


def test_weights_with_the_wrong_label_are_a_gap(graph, store):
    graph.add("mislabelled", "data", data("mislabelled"))
    graph.trained("mislabelled", "pack")
    graph.system("other", "Inferencing", "mislabelled-config")
    taibom, ours = both(store, system="urn:x:other")
    assert (taibom.answer, taibom.status) == (False, ExitCode.NOTHING)
    assert (ours.answer, ours.status) == (False, ExitCode.INCONCLUSIVE)
    assert "of another kind" in ours.warnings[0]


def test_a_system_that_names_bare_weights_is_joined_with_their_training(graph, store):
    graph.system("bare", "Inferencing", "weights")
    graph.claim("poisoning", "red")
    taibom, ours = both(store, system="urn:x:bare")
    assert (taibom.answer, ours.answer, ours.complete) == (False, True, True)


@pytest.mark.parametrize(
    "part",
    ["weights", "weights-config", "pack", "train", "serve", "train-sbom", "serve-sbom", "weights-training", "system"],
)
def test_claims_about_more_than_data(graph, store, part):
    claim = graph.claim("poisoning", part)
    taibom, ours = both(store)
    assert (taibom.answer, ours.answer) == (False, True)
    [found] = ours.attestations
    assert (found.id, found.component["id"], found.path[-1]) == (claim["id"], graph.id(part), graph.id(part))


def test_base_models_nested_packs_and_derived_data(graph, store):
    graph.add("web", "data", data("web"))
    graph.add("translated", "data", data("translated", derived=[graph["web"]]))
    graph.pack("inner", "translated")
    graph.pack("outer", "red", "inner")
    graph.add("tuned", "data", data("tuned", "Weights", derived=[graph["weights"]]))
    graph.trained("tuned", "outer")
    graph.system("product", "Inferencing", "tuned-config")
    expected = {
        "blue": ("product", "tuned-config", "tuned", "weights", "weights-config", "weights-training", "pack", "blue"),
        "web": ("product", "tuned-config", "tuned-training", "outer", "inner", "translated", "web"),
    }
    for part in expected:
        graph.claim("poisoning", part)
    taibom, ours = both(store, system="urn:x:product")
    assert (taibom.answer, ours.answer, ours.complete) == (False, True, True)
    assert {claim.component_name: claim.path for claim in ours.attestations} == {
        part: tuple(f"urn:x:{name}" for name in path) for part, path in expected.items()
    }


def test_id_substitution(graph, store, key, tmp_path):
    """Somebody puts another credential in the place of the one that was linked."""
    with Store(tmp_path / "second.sqlite", write=True) as second:
        second.add(document for name, document in graph.documents.items() if name != "red")
        other = issue("data", data("harmless"), key, id="urn:x:red")
        second.add([other])
        graph.store = second
        graph.claim("poisoning", "red", link=link_to(other))
        taibom, ours = both(second)
    assert (taibom.answer, ours.answer, ours.complete) == (True, False, False)
    assert [claim.accepted for claim in ours.attestations] == [False]
    assert any("its digest differs" in warning for warning in ours.warnings)


def test_a_claim_about_another_content_is_not_counted(graph, store):
    graph.claim("poisoning", "red", link={"id": "urn:x:red", "hash": "sha256:" + "0" * 64})
    taibom, ours = both(store)
    assert (taibom.answer, ours.answer, ours.complete) == (True, False, False)
    assert ours.attestations[0].why_not == "its hash is not that of the credential it names"


def test_expired_and_retracted_claims_are_shown_and_not_counted(graph, store, key, stranger):
    graph.claim("poisoning", "red", name="old", valid_until=datetime(2026, 3, 1, tzinfo=UTC))
    graph.claim("poisoning", "red", name="withdrawn")
    graph.retract("withdrawn")
    taibom, ours = both(store)
    assert (len(taibom.attestations), taibom.answer) == (2, True)
    assert (ours.answer, ours.complete, ours.status) == (False, True, ExitCode.NOTHING)
    why = {claim.id: claim.why_not.split(" at ")[0] for claim in ours.attestations}
    assert why == {"urn:x:old": "expired", "urn:x:withdrawn": "retracted"}


def test_an_issuer_that_the_policy_does_not_know_is_shown_and_not_counted(graph, store, key, stranger, policy):
    graph.claim("poisoning", "red", stranger)
    taibom, ours = both(store, policy=policy(f'did = "{key.did}"\nmay = ["*"]'))
    assert (taibom.answer, ours.answer, ours.complete) == (True, False, True)
    assert ours.attestations[0].why_not == f"the policy does not know its issuer {stranger.did}"
    assert both(store)[1].answer  # without a policy, everybody's word counts


def test_two_configs_for_the_same_weights(graph, store):
    """Both are followed, as in the reference, but the path says which config leads to the evidence."""
    graph.add("green", "data", data("green"))
    graph.pack("second", "green", "red")
    graph.system("second-training", "Training", "second")
    parts = {"aiSystem": link_to(graph["second-training"]), "data": link_to(graph["weights"])}
    graph.add("second-config", "config", {"name": "second", **parts})
    graph.claim("poisoning", "green")
    graph.claim("poisoning", "red")
    taibom, ours = both(store)
    assert len(taibom.attestations) == len(ours.attestations) == 2
    by_name = {claim.component_name: claim.path for claim in ours.attestations}
    assert graph.id("second-config") in by_name["green"]
    assert graph.id("second-config") not in by_name["red"]


def test_the_same_claim_is_listed_once_and_the_worst_first(graph, store):
    for severity in ("low", "high", "medium"):
        details = {"poisoning": {"date": "2026-05-01", "severity": severity, "description": "x", "type": "x"}}
        graph.claim("poisoning", "red", name=severity, claimed=details)
    store.add([graph["low"], graph["low"]])
    assert [claim.id for claim in both(store)[1].attestations] == ["urn:x:high", "urn:x:medium", "urn:x:low"]


def test_claims_say_who_when_and_how(graph, store, key):
    graph.claim("poisoning", "red")
    [found] = both(store)[1].attestations
    assert (found.issuer, found.date, found.profile) == (key.did, "2026-01-02T03:04:05Z", "w3c")
    assert found.digest.startswith("sha256:")


def test_a_search_that_found_nothing_is_told_from_no_search(graph, store):
    graph.claim("poisoning-check", "red")
    ours = both(store)[1]
    assert [check.component["id"] for check in ours.checks] == ["urn:x:red"]
    assert set(ours.unchecked) == {"urn:x:blue", "urn:x:weights"}


@pytest.mark.parametrize("mailing", ["tony@example.org", "urn:uuid:tony", "Tony@Example.org"])
def test_trusted_providers(graph, store, mailing):
    graph.identity("tony")
    for part in ("red", "blue"):
        graph.provided(part, "urn:uuid:tony")
    assert both(store, "providers-trusted-whitelist", arguments=[mailing])[1].answer
    ours = both(store, "providers-trusted-blacklist", arguments=[mailing])[1]
    assert (ours.answer, ours.status) == (False, ExitCode.FOUND)
    assert both(store, "providers-trusted-blacklist", arguments=["mallory@example.org"])[1].answer


def test_lists_of_providers_fail_closed_with_two_providers(graph, store):
    graph.identity("tony")
    graph.identity("mallory")
    graph.provided("red", "urn:uuid:tony")
    graph.provided("blue", "urn:uuid:mallory")
    for query, listed in (("whitelist", "tony@example.org"), ("blacklist", "mallory@example.org")):
        taibom, ours = both(store, f"providers-trusted-{query}", arguments=[listed])
        assert (taibom.answer, ours.answer, ours.status) == (True, False, ExitCode.FOUND), query
        assert any("urn:x:blue was provided by mallory@example.org" in note for note in ours.warnings)


def test_lists_of_providers_fail_closed_without_a_provider(graph, store):
    graph.identity("tony")
    graph.provided("red", "urn:uuid:tony")
    for query, listed in (("whitelist", "tony@example.org"), ("blacklist", "mallory@example.org")):
        taibom, ours = both(store, f"providers-trusted-{query}", arguments=[listed])
        assert (taibom.answer, ours.answer, ours.status) == (True, False, ExitCode.INCONCLUSIVE), query
        assert "nobody whose word counts says who provided urn:x:blue" in ours.warnings


def test_an_unknown_system_has_no_trusted_providers(graph, store):
    for query in ("providers-trusted-whitelist", "providers-trusted-blacklist"):
        ours = both(store, query, "urn:x:unknown", ["tony@example.org"])[1]
        assert (ours.answer, ours.status) == (False, ExitCode.INCONCLUSIVE)


def test_a_provider_says_nothing_about_other_people_who_share_an_address(graph, store, stranger, key, policy):
    """Another issuer's identity for the same uuid must not put it on the list, if the policy does not know them."""
    graph.identity("tony")
    for part in ("red", "blue"):
        graph.provided(part, "urn:uuid:mallory")
    subject = dict(graph["tony"]["credentialSubject"], uuid="urn:uuid:mallory")
    graph.add("forged", "identity", subject, stranger)
    trust = policy(f'did = "{key.did}"\nmay = ["*"]')
    _, ours = both(store, "providers-trusted-whitelist", arguments=["tony@example.org"], policy=trust)
    assert (ours.answer, ours.status) == (False, ExitCode.FOUND)


def test_the_hash_of_the_training_code_is_compared(graph, store):
    right = "sha256:" + hash_of("train")
    taibom, ours = both(store, "training-code-hash-matches", arguments=["deadbeef"])
    assert (taibom.answer, ours.answer, ours.status) == (True, False, ExitCode.FOUND)
    assert ours.extra["stated"] == [right]
    assert both(store, "training-code-hash-matches", arguments=[right])[1].answer


@pytest.mark.parametrize(
    ("query", "right", "wrong"),
    [("code-hash-matches", "serve", "train"), ("weights-hash-matches", "weights", "red")],
)
def test_hashes_are_compared_with_or_without_their_algorithm(graph, store, query, right, wrong):
    for prefix in ("", "sha256:"):
        assert both(store, query, arguments=[prefix + hash_of(right)])[1].answer
        ours = both(store, query, arguments=[prefix + hash_of(wrong)])[1]
        assert (ours.answer, ours.status) == (False, ExitCode.FOUND)
    for hopeless in ("", "legit", "sha256:"):
        assert not ask(store, query, SYSTEM, [hopeless]).answer


@pytest.mark.parametrize(("query", "code"), [("sbom-hash-matches", "serve"), ("training-sbom-hash-matches", "train")])
def test_an_sbom_is_known_by_its_digest(graph, store, query, code):
    digest = link_to(graph[f"{code}-sbom"])["hash"]
    assert both(store, query, arguments=[digest])[1].answer
    assert not both(store, query, arguments=["sha256:" + "0" * 64])[1].answer


def test_hashes_that_nobody_states(graph, store):
    graph.system("bare", "Inferencing", "weights-config")
    for query in ("code-hash-matches", "sbom-hash-matches"):
        ours = both(store, query, "urn:x:bare", ["0"])[1]
        assert (ours.answer, ours.status) == (False, ExitCode.INCONCLUSIVE)


def test_the_hash_of_a_base_models_training_code_is_not_that_of_the_fine_tunes(graph, store):
    graph.add("tuned", "data", data("tuned", "Weights", derived=[graph["weights"]]))
    graph.code("tune")
    graph.trained("tuned", "pack", "tune")
    graph.system("product", "Inferencing", "tuned-config")
    for query, right, wrong in (
        ("training-code-hash-matches", "tune", "train"),
        ("weights-hash-matches", "tuned", "weights"),
    ):
        assert both(store, query, "urn:x:product", [hash_of(right)])[1].answer
        assert not both(store, query, "urn:x:product", [hash_of(wrong)])[1].answer


def test_the_hash_of_a_base_model_is_not_that_of_bare_weights(graph, store):
    graph.add("tuned", "data", data("tuned", "Weights", derived=[graph["weights"]]))
    graph.system("bare", "Inferencing", "tuned")
    for weights, own in (("tuned", True), ("weights", False)):
        assert ask(store, "weights-hash-matches", "urn:x:bare", [hash_of(weights)]).answer is own


def test_all_training_data_must_match_and_a_broken_chain_never_does(graph, store):
    hashes = [hash_of("red"), hash_of("blue")]
    query = "training-data-matches"
    assert both(store, query, arguments=hashes)[1].answer
    for wrong in (hashes[:1], [*hashes, hash_of("green")]):
        ours = both(store, query, arguments=wrong)[1]
        assert (ours.answer, ours.status) == (False, ExitCode.FOUND)
    graph.retract("blue")
    ours = both(store, query, arguments=hashes)[1]
    assert (ours.answer, ours.complete) == (False, False)


def test_best_practice_of_other_components_is_not_this_systems(graph, store):
    graph.add("unrelated", "data", data("unrelated"))
    graph.claim("best-practice", "unrelated")
    taibom, ours = both(store, "best-practice")
    assert (taibom.answer, ours.answer, ours.attestations) == (True, False, [])
    graph.claim("best-practice", "weights-training")
    graph.claim("best-practice", "red")
    assert {c.component["id"] for c in both(store, "best-practice")[1].attestations} == {
        "urn:x:weights-training",
        "urn:x:red",
    }


def test_vulnerabilities_of_the_code_itself_count(graph, store):
    graph.claim("vulnerability", "serve")
    graph.claim("vulnerability", "train-sbom")
    taibom, ours = both(store, "inference-vulnerabilities")
    assert (taibom.answer, [c.component["id"] for c in ours.attestations]) == (False, ["urn:x:serve"])
    taibom, ours = both(store, "training-vulnerabilities")
    assert (taibom.answer, [c.component["id"] for c in ours.attestations]) == (True, ["urn:x:train-sbom"])


def test_software_that_nobody_lists_is_incomplete(graph, store):
    graph.system("bare", "Inferencing", "weights-config")
    taibom, ours = both(store, "inference-vulnerabilities", "urn:x:bare")
    assert (taibom.status, ours.status) == (ExitCode.NOTHING, ExitCode.INCONCLUSIVE)


def test_performance_of_the_weights_counts(graph, store):
    graph.claim("functional-performance", "weights")
    taibom, ours = both(store, "functional-performance")
    assert (taibom.answer, ours.answer) == (False, True)


@pytest.mark.parametrize("query", ["pollution", "bias"])
def test_pollution_and_bias_of_any_part(graph, store, query):
    graph.claim(query, "pack")
    taibom, ours = both(store, f"data-{query}")
    assert (taibom.answer, ours.answer) == (False, True)


def test_data_in_a_broken_chain_are_not_listed(graph, store):
    assert both(store, "data-in-system")[1].answer == ["urn:x:blue", "urn:x:red"]
    graph.retract("pack")
    taibom, ours = both(store, "data-in-system")
    assert (set(taibom.answer), ours.answer, ours.complete) == ({"urn:x:red", "urn:x:blue"}, [], False)


def test_a_question_about_the_past(graph, store, key):
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    graph.claim("poisoning", "red", name="early", valid_from=moment)
    graph.retract("early", valid_from=moment + timedelta(days=10))
    when = {-1: "not valid before", 1: "", 9: "", 11: "retracted"}
    for days, why in when.items():
        _, ours = both(store, at=moment + timedelta(days=days))
        assert ours.answer is (why == "")
        assert ours.attestations[0].why_not.startswith(why)
        assert ours.complete
    before = both(store, at=datetime(2025, 1, 1, tzinfo=UTC))[1]
    assert (before.complete, before.answer) == (False, False)


def test_a_retraction_by_somebody_else_changes_nothing(graph, store, stranger):
    graph.claim("poisoning", "red", name="claim")
    graph.retract("claim", stranger)
    assert both(store)[1].answer


def test_a_retracted_part_is_a_gap_and_warnings_behind_it_are_shown(graph, store):
    graph.claim("poisoning", "red")
    graph.retract("pack")
    _, ours = both(store)
    assert (ours.answer, ours.complete) == (False, False)
    assert [claim.why_not for claim in ours.attestations] == ["the chain to what it is about does not hold"]
