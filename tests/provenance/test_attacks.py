"""Attacks on a graph of credentials: what somebody could do who may add any credential to a store.

The penetration test's own findings are in ``test_findings.py``, files that were made to harm in
``test_hostile_files.py``. The table at the end names every other test of an attack on the reference, or of a case that
it gets wrong.
"""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from theriac.provenance import Accepted, ask, issue, link_to

from .conftest import PAST
from .random_graphs import SIGNS, SYSTEM, claim, credential, data, hash_of, link, sample, system
from .signed import data as data_subject
from .signed import signs

UNSIGNED = Accepted(unsigned=True)


def poisoned_by(store, system="urn:x:system", **options):
    return ask(store, "data-poisoning", system, **options)


def test_two_contents_with_one_id_are_a_conflict_and_both_are_kept(store):
    documents = sample()
    twin = data("urn:uuid:national", "innocent data")
    assert store.add([*documents, twin], accepted=UNSIGNED).new == 32
    with store.snapshot() as view:
        assert {entry.name for entry in view.with_ids(["urn:uuid:national"])["urn:uuid:national"]} == {
            "national",
            "innocent data",
        }
    for order in ([twin], [*reversed(documents)]):
        assert store.add(order, accepted=UNSIGNED).new == 0
    answer = poisoned_by(store, SYSTEM)
    assert not answer.complete
    assert any("several credentials have the id urn:uuid:national" in warning for warning in answer.warnings)
    assert len(answer.attestations) == 1  # shown, whichever of the two it is about


def test_a_twin_does_not_hide_what_a_digest_names(store, key, stranger):
    graph = signs(store, key)
    graph.claim("poisoning", "red")
    store.add([issue("data", data_subject("innocent"), stranger, id="urn:x:red")])
    answer = poisoned_by(store)
    assert (answer.answer, answer.complete) == (True, True)


def test_a_poisoned_twin_does_not_smear_the_original(store, key, stranger):
    graph = signs(store, key)
    twin = issue("data", data_subject("poisoned"), stranger, id="urn:x:red")
    store.add([twin])
    graph.claim("poisoning", "red", link=link_to(twin))
    answer = poisoned_by(store)
    assert [(found.accepted, answer.answer) for found in answer.attestations] == [(False, False)]


@pytest.mark.parametrize("hash", ["", "sha256:", "x:"])
def test_a_twin_with_an_empty_hash_is_not_what_a_link_without_one_means(store, hash):
    documents = sample()
    documents.append(data("urn:uuid:weights", "other weights", "Weights", hash=hash, hashLocation="elsewhere"))
    for document in documents:
        if document["id"] == "urn:uuid:config":
            document["credentialSubject"]["data"]["hash"] = ""
    store.add(documents, accepted=UNSIGNED)
    answer = poisoned_by(store, SYSTEM)
    assert not answer.complete
    assert any("several credentials have the id urn:uuid:weights" in warning for warning in answer.warnings)


@pytest.mark.parametrize("mode", ["taibom", "extended"])
def test_cycles_end(store, mode):
    packs = {
        "urn:uuid:pack": ["urn:uuid:pack-2", "urn:uuid:pack"],
        "urn:uuid:pack-2": ["urn:uuid:pack", "urn:uuid:bad"],
    }
    documents = [d for d in sample() if d["id"] != "urn:uuid:pack"]
    for id, parts in packs.items():
        documents.append(credential("data-pack", id, {"name": id, "datasets": [link(part) for part in parts]}))
    documents += [data("urn:uuid:bad", "bad"), claim("poisoning", "urn:uuid:bad", hash_of("bad"))]
    documents.append(system("urn:uuid:loop", "Training", "urn:uuid:loop", "urn:uuid:loop"))
    store.add(documents, accepted=UNSIGNED)
    assert poisoned_by(store, SYSTEM, mode=mode).answer is (mode == "extended")
    poisoned_by(store, "urn:uuid:loop", mode=mode)
    if mode == "extended":
        assert SYSTEM in ask(store, "systems-using", "urn:uuid:bad").answer


def test_a_retraction_that_arrives_before_its_target(store, key, stranger):
    """Whoever withholds a claim until its retraction is known gains nothing; and a stranger's has no effect."""
    graph = signs(store, key)
    subject = graph.claim("poisoning", "red")["credentialSubject"]
    for signer, name, counts in ((key, "withheld", False), (stranger, "other", True)):
        late = issue("poisoning-attestation", subject, key, id=f"urn:x:{name}", valid_from=PAST)
        store.add([issue("retraction", {"retracts": link_to(late), "reason": "x"}, signer, valid_from=PAST)])
        store.add([late])
        found = {found.id: found.accepted for found in poisoned_by(store).attestations}
        assert found[f"urn:x:{name}"] is counts
    store.recheck()


def test_an_unsigned_retraction_takes_nothing_back(store, key):
    """Unsigned credentials have no author who could be the same."""
    graph = signs(store, key)
    graph.claim("poisoning", "red", name="claim")
    graph.retract("claim", key)
    unsigned = {
        name: value for name, value in graph.claim("poisoning", "red", name="second").items() if name != "proof"
    }
    retraction = issue("retraction", {"retracts": link_to(unsigned), "reason": "x"}, key)
    del retraction["proof"]
    store.add([unsigned, retraction], accepted=UNSIGNED)
    accepted = {(found.id, found.profile) for found in poisoned_by(store).attestations if found.accepted}
    assert ("urn:x:second", "unsigned") in accepted


def test_a_claim_dated_in_the_future_does_not_count_yet(store, key):
    graph = signs(store, key)
    graph.claim("poisoning", "red", valid_from=datetime.now(UTC) + timedelta(days=1))
    answer = poisoned_by(store)
    assert (answer.answer, answer.attestations[0].why_not[:16]) == (False, "not valid before")


def test_nothing_is_ever_fetched(store, watched, monkeypatch):
    """Not schemas, contexts, hash locations or data, whatever addresses the documents name."""

    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    documents = sample()
    for document in documents:
        subject = document["credentialSubject"]
        if "location" in subject:
            subject["location"] = {"type": "remote", "path": "http://127.0.0.1:9/data"}
            subject["hashLocation"] = "http://127.0.0.1:9/hash"
    store.add(documents, accepted=UNSIGNED)
    for mode in ("taibom", "extended"):
        assert poisoned_by(store, SYSTEM, mode=mode).answer
    assert set(ask(store, "data-in-system", SYSTEM).answer) == {f"urn:uuid:{sign}" for sign in SIGNS}
    assert not [event for event, *_ in watched if event.startswith("socket")]


ELSEWHERE = {
    "self-asserted key": "test_profiles.py::test_a_self_asserted_key_proves_nothing_about_the_issuer",
    "unreachable issuer, asked on purpose": "../cli/test_verify.py::test_an_unreachable_issuer_is_no_pass",
    "leaked demo keys": "test_profiles.py::test_keys_that_everybody_has_are_refused",
    "a stolen key names a successor": "test_rotation.py::test_only_what_both_keys_state_counts",
    "names of keys leave no folder": "test_keys.py::test_names_cannot_leave_the_folder",
    "key files that others can read": "test_keys.py::test_a_key_that_others_can_read_is_refused",
    "oversize and deep JSON, doubled keys, NaN": "test_hostile_files.py::test_hostile_json_is_refused_and_named",
    "a million links": "test_hostile_files.py::test_a_million_links_are_refused_by_size",
    "path escape from an imported folder": "test_hostile_files.py::test_a_link_out_of_the_folder_is_not_followed",
    "path escape from a manifest": "../manifest/test_record.py::test_a_path_that_could_leave_the_folder_is_refused",
    "symbolic link out of a hashed folder": "../manifest/test_building.py::test_that_leave_or_lead_nowhere_are_refused",
    "unreadable file": "../manifest/test_building.py::test_unreadable",
    "relative path": "../manifest/test_legacy.py::test_it_depends_on_the_path_as_typed",
    "names that steer a terminal": "test_hostile_files.py::test_names_cannot_steer_the_terminal_or_forge_a_line",
    "id substitution": "test_extended.py::test_id_substitution",
    "a retraction by somebody else": "test_extended.py::test_a_retraction_by_somebody_else_changes_nothing",
    "a retracted claim in the past": "test_extended.py::test_a_question_about_the_past",
    "a tampered store": "test_store.py::test_recheck_finds_a_store_that_was_tampered_with",
    "malformed subjects": "test_query.py::test_malformed_credentials_break_no_query",
    "lists with two providers": "test_extended.py::test_lists_of_providers_fail_closed_with_two_providers",
    "data that nobody provided": "test_extended.py::test_lists_of_providers_fail_closed_without_a_provider",
    "training code of any hash": "test_extended.py::test_the_hash_of_the_training_code_is_compared",
    "best practice of others": "test_extended.py::test_best_practice_of_other_components_is_not_this_systems",
    "unknown id": "test_extended.py::test_an_unknown_id_is_not_clean",
    "id of a training system": "test_extended.py::test_a_training_system_can_be_asked_about",
    "weights with a wrong label": "test_extended.py::test_weights_with_the_wrong_label_are_a_gap",
    "two configs for the same weights": "test_extended.py::test_two_configs_for_the_same_weights",
    "packs too large to list": "test_crowds.py::test_huge_packs_are_answered_as_small_ones",
    "the rules' known answers": "test_taibom.py::test_the_sample_topology",
    "the rules' answers on TAIBOM's own sample": "test_taibom.py::test_taiboms_own_sample",
    "W3C's vector": "test_proof.py::test_w3c_vector_is_reproduced_byte_for_byte",
    "the two weak profiles": "test_profiles.py::test_weak_profiles_hold_only_when_asked_for",
    "strictly valid CycloneDX": "test_cyclonedx.py::test_a_system_with_claims",
    "OpenSSF's root digest": "../manifest/test_oms.py::test_the_subject",
}


@pytest.mark.parametrize("attack", ELSEWHERE)
def test_other_attacks_are_tested_elsewhere(attack):
    file, _, name = ELSEWHERE[attack].partition("::")
    assert f"def {name}(" in (Path(__file__).parent / file).read_text()
