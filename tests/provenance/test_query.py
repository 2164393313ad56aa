import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from theriac.provenance import Issuer, Store, data_poisoning, describe_system, issue, link_to

from .conftest import PAST, artifact

NOWHERE = {"id": "urn:uuid:nowhere", "hash": "sha256:" + "0" * 64}


def poison(issuer, component, severity="high", **more):
    return issuer.poisoning(component, type="data injection", severity=severity, description="a patch", **more)


def test_poisoned_data_is_found_with_its_path(store, issuer, described, evidence):
    claim = poison(issuer, described.data[1], evidence=[evidence], date="2026-03-31")
    answer = data_poisoning(store, described.id)
    assert (answer.poisoned, answer.complete, answer.warnings) == (True, True, [])
    [found] = answer.attestations
    assert (found.id, found.issuer, found.accepted) == (claim["id"], issuer.key.did, True)
    assert found.component == link_to(described.data[1])
    assert (found.component_kind, found.component_name) == ("data", "30mph")
    assert found.details["date"] == "2026-03-31"
    assert found.evidence == [{"detector": "spectral signatures", "version": "1", "score": 0.98, "threshold": 0.5}]
    chain = (
        described.system,
        described.trained.config,
        described.trained.training_system,
        described.trained.data_pack,
        described.data[1],
    )
    assert found.path == tuple(document["id"] for document in chain)


@pytest.mark.parametrize(
    "part", ["weights", "data_pack", "training_code", "training_system", "config", "inference_code", "system"]
)
def test_claims_about_any_part_count(store, issuer, described, part):
    poison(issuer, getattr(described, part, None) or getattr(described.trained, part))
    assert data_poisoning(store, described.id).poisoned


def test_nothing_found_is_not_called_clean(store, issuer, described, evidence):
    answer = data_poisoning(store, described.id)
    assert (answer.poisoned, answer.complete) == (False, True)
    assert set(answer.unchecked) == {d["id"] for d in (described.weights, *described.data)}
    issuer.check(described.weights, verdict="clean", examined="all classes", limits=["x"], evidence=[evidence])
    answer = data_poisoning(store, described.id)
    assert described.weights["id"] not in answer.unchecked
    assert (answer.poisoned, answer.attestations) == (False, [])
    [check] = answer.checks
    assert (check.type, check.details["limits"], check.accepted) == ("poisoning-check", ["x"], True)


def test_the_worst_claims_come_first(store, issuer, described):
    ids = {severity: poison(issuer, described.data[0], severity)["id"] for severity in ("low", "high", "medium")}
    broken = dict(poison(issuer, described.weights, "high"), validFrom="2026-01-01T00:00:00Z")
    store.add([broken])
    found = data_poisoning(store, described.id).attestations
    assert [claim.id for claim in found if claim.component_name == "20mph"] == [
        ids[s] for s in ("high", "medium", "low")
    ]
    assert [claim.accepted for claim in found] == [True, True, True, True, False]


def test_an_unknown_system_is_incomplete(store, described):
    answer = data_poisoning(store, "urn:uuid:unknown")
    assert (answer.complete, answer.nodes) == (False, [])
    assert answer.warnings == ["urn:uuid:unknown is not in the store"]


def test_only_systems_can_be_asked_about(store, described):
    answer = data_poisoning(store, described.weights["id"])
    assert not answer.complete
    assert "not an AI system but: data Weights" in answer.warnings[0]
    assert data_poisoning(store, described.trained.training_system["id"]).complete


def test_a_model_without_training_data_is_incomplete(store, issuer):
    described = describe_system(issuer, "downloaded", weights=artifact("model"))
    poison(issuer, described.weights)
    answer = data_poisoning(store, described.id)
    assert (answer.poisoned, answer.complete) == (True, False)
    assert "nothing says what the weights" in answer.warnings[0]


def test_weights_lead_to_every_config_that_names_them(store, issuer, described):
    """A system that names bare weights is joined with what somebody else says about their training."""
    bare = describe_system(issuer, "deployed", weights=artifact("model.safetensors"))
    assert bare.weights == described.weights
    poison(issuer, described.data[0])
    answer = data_poisoning(store, bare.id)
    assert (answer.poisoned, answer.complete) == (True, True)
    assert answer.attestations[0].path[:3] == (bare.id, bare.weights["id"], described.trained.config["id"])


def test_packs_in_packs_and_cycles(store, issuer, key):
    data, link = issuer.data(artifact("data")), {"id": "urn:uuid:outer", "hash": "sha256:" + "0" * 64}
    inner = issue("data-pack", {"name": "inner", "datasets": [link_to(data), link]}, key)
    outer = issue("data-pack", {"name": "outer", "datasets": [link_to(inner)]}, key, id="urn:uuid:outer")
    system = issue("ai-system", {"name": "s", "label": "Training", "data": link_to(outer)}, key)
    store.add([inner, outer, system])
    poison(issuer, data)
    answer = data_poisoning(store, system["id"])
    assert answer.poisoned
    assert answer.attestations[0].path == (system["id"], "urn:uuid:outer", inner["id"], data["id"])
    assert not answer.complete  # the link that closes the cycle cannot know the digest of what contains it


def _system_on(key, target):
    return issue("ai-system", {"name": "s", "label": "Training", "data": target}, key)


def test_a_missing_part_is_a_gap(store, issuer, key):
    pack = issue("data-pack", {"name": "p", "datasets": [link_to(issuer.data(artifact("data"))), NOWHERE]}, key)
    system = _system_on(key, link_to(pack))
    store.add([pack, system])
    answer = data_poisoning(store, system["id"])
    assert (answer.poisoned, answer.complete) == (False, False)
    assert answer.warnings == ["urn:uuid:nowhere is not in the store"]


def test_a_substituted_part_is_shown_but_does_not_count(store, issuer, key):
    data = issuer.data(artifact("data"))
    pack = issue("data-pack", {"name": "p", "datasets": [link_to(data)]}, key)
    system = _system_on(key, link_to(pack))
    with Store(Path(store.path).with_name("second.sqlite"), write=True) as second:
        other = issue("data", dict(data["credentialSubject"], name="other"), key, id=data["id"])
        second.add([other, pack, system])
        poison(Issuer(key, second), other)
        answer = data_poisoning(second, system["id"])
    assert (answer.poisoned, answer.complete) == (False, False)
    assert "its digest differs" in answer.warnings[0]
    assert answer.attestations[0].why_not == "the chain to what it is about does not hold"


@pytest.mark.parametrize("label", ["Weights", "Training"])
def test_a_part_of_the_wrong_kind_is_a_gap(store, issuer, key, label):
    data = issuer.data(artifact("data"), weights=label == "Weights")
    system = _system_on(key, link_to(data))
    store.add([system])
    assert data_poisoning(store, system["id"]).complete is (label == "Training")


def test_a_forged_part_is_a_gap(store, issuer, described, key):
    data = issue("data", described.data[0]["credentialSubject"] | {"name": "x"}, key)
    forged = data | {"credentialSubject": data["credentialSubject"] | {"name": "y"}}
    system = _system_on(key, link_to(forged))
    store.add([forged, system])
    answer = data_poisoning(store, system["id"])
    assert not answer.complete
    assert "signature does not fit" in answer.warnings[0]


def test_a_broken_claim_is_neither_hidden_nor_counted(store, issuer, described):
    claim = poison(Issuer(issuer.key), described.data[0])
    subject = claim["credentialSubject"]
    store.add([claim | {"credentialSubject": subject | {"component": link_to(described.data[1])}}])
    answer = data_poisoning(store, described.id)
    assert (answer.poisoned, answer.complete) == (False, False)
    [found] = answer.attestations
    assert not found.accepted
    assert "signature does not fit" in found.why_not


def test_a_claim_about_another_version_does_not_count(store, issuer, described):
    other = dict(described.data[0], validFrom="2026-01-01T00:00:00Z")
    poison(issuer, other)
    answer = data_poisoning(store, described.id)
    assert (answer.poisoned, answer.complete) == (False, False)
    assert answer.attestations[0].why_not == "its hash is not that of the credential it names"


def test_claims_hold_for_a_time(store, issuer, described, key):
    claim = poison(Issuer(key), described.data[0])
    soon = datetime.now(UTC) + timedelta(days=1)
    expiring = issue("poisoning-attestation", claim["credentialSubject"], key, valid_until=soon)
    store.add([expiring])
    assert data_poisoning(store, described.id).poisoned
    later = data_poisoning(store, described.id, at=soon + timedelta(days=1))
    assert (later.poisoned, later.complete) == (False, True)
    assert "expired" in later.attestations[0].why_not
    before = data_poisoning(store, described.id, at=PAST)
    assert not before.complete
    assert any("not valid before" in warning for warning in before.warnings)


def test_two_issuers_of_one_system_id_are_a_conflict(store, issuer, described, stranger):
    subject = {"name": "mine now", "label": "Inferencing", "data": link_to(described.trained.config)}
    store.add([issue("ai-system", subject, stranger, id=described.id)])
    answer = data_poisoning(store, described.id)
    assert not answer.complete
    assert "several issuers" in answer.warnings[0]


def test_a_forged_twin_of_the_system_changes_nothing(store, issuer, described):
    store.add([described.system | {"validFrom": "2030-01-01T00:00:00Z"}])
    answer = data_poisoning(store, described.id)
    assert answer.complete
    assert "do not hold" in answer.warnings[0]


def test_the_newest_of_an_issuers_versions_counts(store, issuer, described, key):
    pack = issue("data-pack", {"name": "p", "datasets": [link_to(described.data[0])]}, key)
    first = issue("ai-system", {"name": "s", "label": "Training", "data": NOWHERE}, key, valid_from=PAST, id="urn:x:1")
    second = issue("ai-system", {"name": "s", "label": "Training", "data": link_to(pack)}, key, id="urn:x:1")
    store.add([first, second, pack])
    assert data_poisoning(store, "urn:x:1").complete


def _malformed(value):
    """Yields a credentialSubject with each of its parts in turn replaced by what does not belong there."""
    wrong = (None, 5, "x", [], {}, [5], {"id": 5, "hash": 5}, NOWHERE, [NOWHERE])
    yield from wrong
    if isinstance(value, dict):
        for name in value:
            yield from (value | {name: inner} for inner in _malformed(value[name]))
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], inner, *value[place + 1 :]] for inner in _malformed(item))


def test_malformed_credentials_break_no_query(store, issuer, described, evidence):
    claim = poison(issuer, described.data[0], evidence=[evidence])
    issuer.check(described.weights, verdict="clean", examined="all", limits=["x"], evidence=[evidence])
    for credential in list(issuer.credentials.values()):
        subjects = list(_malformed(credential["credentialSubject"]))
        store.add(credential | {name: subject} for subject in subjects for name in ("credentialSubject", "issuer"))
        answer = data_poisoning(store, credential["id"])
        json.dumps(answer.to_json(), allow_nan=False)
        assert {found.id for found in answer.attestations if found.accepted} <= {claim["id"]}
    answer = data_poisoning(store, described.id)
    assert answer.poisoned
    assert len(answer.attestations) > 100


def test_unrelated_claims_stay_out(store, issuer, described):
    poison(issuer, issuer.data(artifact("somebody else's data")))
    assert data_poisoning(store, described.id).attestations == []


def test_the_answer_as_json(store, issuer, described):
    poison(issuer, described.data[0])
    answer = json.loads(json.dumps(data_poisoning(store, described.id).to_json(), allow_nan=False))
    assert answer["query"] == "data-poisoning"
    assert (answer["mode"], answer["complete"], answer["answer"]) == ("extended", True, True)
    expected = {"id", "component", "type", "details", "issuer", "accepted", "path"}
    assert expected <= answer["attestations"][0].keys()
