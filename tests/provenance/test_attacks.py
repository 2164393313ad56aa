"""The findings of the penetration test of TAIBOM's reference, and the attacks that belong to them.

The reference fails each of them. Those that other tests state are listed at the end, by the test's name; files that
were made to harm have a page of their own.
"""

import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.errors import ExitCode, UserError
from theriac.provenance import Accepted, Store, ask, issue, link_to, to_bytes
from theriac.provenance.canonical import Invalid
from theriac.provenance.keys import create
from theriac.provenance.proof import sign

from .conftest import PAST
from .random_graphs import SIGNS, SYSTEM, claim, credential, data, hash_of, link, sample, system
from .signed import data as data_subject
from .signed import signs

UNSIGNED = Accepted(unsigned=True)
_seen, _watching = [], []


def _watch(event, arguments):
    if _watching and event.split(".")[0] in ("subprocess", "os", "pty", "open", "socket", "shutil"):
        _seen.append((event, repr(arguments)))


@pytest.fixture
def watched():
    """Records every file opened, program started and connection made."""
    sys.addaudithook(_watch)  # cannot be removed, but is idle outside the test
    _seen.clear()
    _watching.append(True)
    yield _seen
    _watching.clear()


def poisoned_by(store, system="urn:x:system", **options):
    return ask(store, "data-poisoning", system, **options)


@pytest.mark.parametrize(
    "path", ["$(touch marker)", "`touch marker`", "x; touch marker #", "x\n touch marker", "file://x'|touch marker|'"]
)
def test_finding_1_a_command_in_location_path_is_never_run_nor_is_the_path_opened(
    tmp_path, monkeypatch, capsys, watched, path
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "credentials"
    folder.mkdir()
    documents = sample()
    for number, document in enumerate(documents):
        if "location" in document["credentialSubject"]:
            document["credentialSubject"]["location"]["path"] = path
        (folder / f"{number}.json").write_text(json.dumps(document))
    assert run(["import", str(folder), "--store", "s.sqlite", "--accept-unsigned", "--json"]) == 0
    for mode in ("taibom", "extended"):
        for query in ("data-poisoning", "weights-hash-matches", "training-data-matches"):
            arguments = [hash_of("30mph")] if "matches" in query else []
            run(["query", query, SYSTEM, *arguments, "--store", "s.sqlite", "--mode", mode])
    run(["verify", str(folder / "1.json")])
    capsys.readouterr()
    assert not list(tmp_path.rglob("*marker*"))
    events = {event for event, _ in watched}
    assert "open" in events  # the watch works
    assert not events & {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
    assert not [said for event, said in watched if event == "open" and "marker" in said]


@pytest.mark.parametrize("hash", ["legit", "", "0", "null", "placeholder_hash", "*", "sha256:"])
def test_finding_2_no_hash_is_a_skeleton_key(store, hash):
    """Data whose stated hash is a word, or absent, match no submitted hash but that word."""
    documents = [d for d in sample() if d["id"] not in ("urn:uuid:weights", "urn:uuid:inference-code")]
    documents += [data("urn:uuid:weights", "model", "Weights", hash=hash, hashLocation="elsewhere")]
    store.add(documents, accepted=UNSIGNED)
    answer = ask(store, "weights-hash-matches", SYSTEM, [hash_of("classifier.keras")])
    assert (answer.answer, answer.status == ExitCode.NOTHING) == (False, False)
    if not hash.strip("sha256:"):
        assert not ask(store, "weights-hash-matches", SYSTEM, [hash]).answer


def test_finding_2_data_without_a_hash_match_nothing(store):
    documents = [d for d in sample() if d["id"] != "urn:uuid:weights"]
    hollow = data("urn:uuid:weights", "model", "Weights", hashLocation="elsewhere")
    del hollow["credentialSubject"]["hash"]
    store.add([*documents, hollow], accepted=UNSIGNED)
    for given in ("legit", hash_of("classifier.keras"), ""):
        assert ask(store, "weights-hash-matches", SYSTEM, [given], mode="taibom").answer  # the reference's error
        answer = ask(store, "weights-hash-matches", SYSTEM, [given])
        assert (answer.answer, answer.status) == (False, ExitCode.INCONCLUSIVE)


def test_finding_3_no_downgrade_by_taking_the_proof_away(tmp_path, store, key, policy):
    """Without its proof, or with the label of a weaker one, a credential is not the one that was signed."""
    graph = signs(store, key)
    document = graph.claim("poisoning", "red")
    stripped = {name: value for name, value in document.items() if name != "proof"}
    proof = {"type": "Ed25519Signature2018", "proofPurpose": "assertionMethod"}
    weaker = [
        stripped,
        stripped | {"proof": proof | {"proofValue": "A" * 86 + "==", "verificationMethod": "A" * 43 + "="}},
        stripped
        | {"proof": {n: v for n, v in document["proof"].items() if n not in ("verificationMethod", "created")}},
    ]
    with Store(tmp_path / "second.sqlite", write=True) as second:
        added = second.add(weaker)
        assert (added.new, len(added.kept_out)) == (0, 3)
        second.add(d for name, d in graph.documents.items() if not name.startswith("poisoning"))
        profiles = frozenset({"nqminds-2018", "nqminds-jcs"})
        added = second.add(weaker, accepted=Accepted(profiles, unsigned=True, key=key.did))
        assert (added.new, len(added.invalid)) == (3, 2)
        trust = policy(f'did = "{key.did}"\nmay = ["*"]')
        answer = poisoned_by(second, policy=trust)
    assert (answer.answer, [found.accepted for found in answer.attestations]) == (False, [False] * 3)


def test_finding_3_an_issuer_that_cannot_be_reached_is_not_asked_and_not_believed(store, key, watched):
    graph = signs(store, key)
    claimed = dict(graph.claim("poisoning", "red"), issuer="https://127.0.0.1:9/issuer", id="urn:x:web")
    del claimed["proof"]
    added = store.add([sign(claimed, key, created="2026-01-01T00:00:00Z")])
    assert "nothing ties the key" in added.invalid[0]
    found = {found.id: found.accepted for found in poisoned_by(store).attestations}
    assert found["urn:x:web"] is False
    assert not [event for event, _ in watched if event.startswith("socket")]


def test_finding_4_a_self_signed_claim_is_nobodys_word(store, key, stranger, policy):
    """There is a trust anchor: the policy. What a stranger signs with a key of their own holds and does not count."""
    graph = signs(store, key)
    graph.claim("poisoning", "red", stranger)
    answer = poisoned_by(store, policy=policy(f'did = "{key.did}"\nmay = ["*"]'))
    assert (answer.answer, answer.complete, len(answer.attestations)) == (False, True, 1)


@pytest.mark.parametrize("issuer", ["did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp", "urn:uuid:ceo", ""])
def test_finding_5_nobody_signs_in_anothers_name(store, key, stranger, policy, issuer):
    graph = signs(store, key)
    forged = dict(graph.claim("poisoning", "red", stranger), issuer=issuer, id="urn:x:forged")
    del forged["proof"]
    assert store.add([sign(forged, stranger, created="2026-01-01T00:00:00Z")]).invalid
    trust = policy(f'did = "{key.did}"\nmay = ["*"]', f'id = "{issuer}"\nmay = ["*"]')
    assert not poisoned_by(store, policy=trust).answer


@pytest.mark.parametrize("hash", ["ab" * 32, "md5:" + "ab" * 16, "sha1:" + "ab" * 20, "legit", "sha256:abc"])
def test_finding_6_the_algorithm_of_a_hash_is_recorded(key, hash):
    with pytest.raises(Invalid, match="hash"):
        issue("data", data_subject("x") | {"hash": hash}, key)


def test_finding_7_an_unreadable_file_is_an_error_not_a_smaller_folder(tmp_path, capsys):
    from theriac.manifest import sha256_of

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "b").symlink_to("nowhere")  # cannot be read, whoever runs the test
    with pytest.raises(UserError, match="b"):
        sha256_of(folder)


def test_finding_7_an_unreadable_credential_is_an_error_not_a_smaller_import(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(data("urn:uuid:a", "a")))
    (tmp_path / "b.json").symlink_to(tmp_path / "nowhere.json")
    assert run(["import", str(tmp_path), "--store", str(tmp_path / "s.sqlite"), "--accept-unsigned"]) == 2
    assert "b.json" in capsys.readouterr().err


def test_finding_8_a_claim_can_be_taken_back(store, key):
    graph = signs(store, key)
    graph.claim("poisoning", "red", name="claim")
    assert poisoned_by(store).answer
    graph.retract("claim")
    assert not poisoned_by(store).answer


def test_finding_9_key_files_are_private_and_encrypted(tmp_path, monkeypatch):
    monkeypatch.setenv("THERIAC_PASSPHRASE", "correct horse")
    create(tmp_path / "keys", "mine")
    file = tmp_path / "keys" / "mine.pem"
    assert (file.stat().st_mode & 0o777, b"ENCRYPTED" in file.read_bytes()) == (0o600, True)


def test_finding_10_the_answer_names_the_data_that_differ(store, key):
    signs(store, key)
    answer = ask(store, "training-data-matches", "urn:x:system", [hash_of("red"), hash_of("changed")])
    assert any("urn:x:blue (blue)" in warning for warning in answer.warnings)
    assert any(hash_of("changed") in warning for warning in answer.warnings)


def test_finding_12_no_program_is_looked_for_on_the_path(tmp_path, key):
    file = tmp_path / "a.json"
    file.write_bytes(to_bytes(issue("data", data_subject("x"), key)))
    argv = [sys.executable, "-m", "theriac", "import", str(file), "--store", str(tmp_path / "s.sqlite"), "--json"]
    done = subprocess.run(argv, env={"PATH": ""} | _python(), capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["new"]) == (0, 1), done.stderr


def _python():
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}


def test_finding_16_what_we_issue_names_key_time_and_suite(key):
    document = issue("data", data_subject("x"), key, valid_until=PAST + timedelta(days=9000))
    assert document["issuer"].startswith("did:key:")
    assert document["proof"]["verificationMethod"].startswith(document["issuer"] + "#")
    assert (document["proof"]["type"], document["proof"]["cryptosuite"]) == ("DataIntegrityProof", "eddsa-jcs-2022")
    assert document["proof"]["created"] == document["validFrom"]
    assert "validUntil" in document
    assert document["type"] == ["VerifiableCredential"]


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
    assert not [event for event, _ in watched if event.startswith("socket")]


ELSEWHERE = {
    "self-asserted key": "test_profiles.py::test_a_self_asserted_key_proves_nothing_about_the_issuer",
    "unreachable issuer, asked on purpose": "../cli/test_verify.py::test_an_unreachable_issuer_is_no_pass",
    "leaked demo keys": "test_profiles.py::test_keys_that_everybody_has_are_refused",
    "rotation of keys": "test_rotation.py::test_both_keys_are_kept_and_say_so",
    "names of keys leave no folder": "test_keys.py::test_names_cannot_leave_the_folder",
    "key files that others can read": "test_keys.py::test_a_key_that_others_can_read_is_refused",
    "id substitution": "test_extended.py::test_id_substitution",
    "a retraction by somebody else": "test_extended.py::test_a_retraction_by_somebody_else_changes_nothing",
    "a retracted claim in the past": "test_extended.py::test_a_question_about_the_past",
    "a tampered store": "test_store.py::test_recheck_finds_a_store_that_was_tampered_with",
    "malformed subjects": "test_query.py::test_malformed_credentials_break_no_query",
}


@pytest.mark.parametrize("attack", ELSEWHERE)
def test_other_attacks_are_tested_elsewhere(attack):
    file, _, name = ELSEWHERE[attack].partition("::")
    assert f"def {name}(" in (Path(__file__).parent / file).read_text()
