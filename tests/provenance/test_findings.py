"""The sixteen findings of the penetration test of TAIBOM's reference (its report D5.6A, of 2025), one by one.

The reference fails each of them; here each is tried on the real code. The test's name has the finding's number.
"""

import hashlib
import json
import re
import subprocess
import sys
import tracemalloc
from datetime import timedelta

import pytest

from theriac.cli import run
from theriac.errors import ExitCode, UserError
from theriac.manifest import Entry, build, build_to, compare, merkle_root, partial, sha256_of
from theriac.provenance import Accepted, Store, ask, issue, to_bytes
from theriac.provenance.canonical import Invalid
from theriac.provenance.credentials import verify
from theriac.provenance.keys import create, load
from theriac.provenance.kinds import KINDS
from theriac.provenance.proof import SUITES, sign
from theriac.provenance.rotation import rotate, successors

from .coming import COMING
from .conftest import PAST
from .random_graphs import SYSTEM, data, hash_of, sample
from .signed import SignedGraph, signs
from .signed import data as data_subject
from .subjects import SUBJECTS

FINDINGS = {
    1: "verifying a credential runs what its location.path says",
    2: "a credential without a real hash fits any data",
    3: "when the key cannot be looked up, the check is weakened instead of failing",
    4: "there is no trust anchor",
    5: "nobody checks who the issuer is",
    6: "algorithms are neither exchangeable nor recorded in the claim",
    7: "files that cannot be read are left out without a word",
    8: "keys are not managed: no rotation, no revocation",
    9: "private keys are kept in plain text, for everybody to read",
    10: "an answer about integrity does not say which part differs",
    11: "plain SHA-256 without domain separation",
    12: "programs are looked for on the PATH",
    13: "there are no post-quantum signatures, and no way to them",
    14: "flat hashing does not scale",
    15: "data are not checked: duplicates, overlap of training and test data, wrong labels",
    16: "credentials lack fields: a proper issuer, key, time of signing, expiry",
}
UNSIGNED = Accepted(unsigned=True)


@pytest.mark.parametrize("number", FINDINGS)
def test_every_finding_has_a_test(number):
    assert [name for name in globals() if name.startswith(f"test_finding_{number}_")], FINDINGS[number]


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
    events = {event for event, *_ in watched}
    assert "open" in events  # the watch works
    assert not events & {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
    assert not [said for event, said, _ in watched if event == "open" and "marker" in said]


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
    assert not [event for event, *_ in watched if event.startswith("socket")]


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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "sha256:" in json.dumps(SUBJECTS[kind])])
def test_finding_6_no_claim_has_a_digest_without_its_algorithm(key, kind):
    text = json.dumps(SUBJECTS[kind])
    assert not re.search(r"(?<!sha256:)\b[0-9a-f]{64}\b", text)
    for algorithm in ("", "md5:", "sha3-256:"):
        with pytest.raises(Invalid):
            issue(kind, json.loads(text.replace("sha256:", algorithm)), key)


def test_finding_6_every_proof_names_its_suite_and_no_other_is_taken_for_it(key):
    document = issue("data", data_subject("x"), key)
    assert document["proof"]["cryptosuite"] in SUITES
    for suite in ("", "none", "eddsa-rdfc-2022", "ecdsa-jcs-2019", None, ["eddsa-jcs-2022"]):
        changed = document | {"proof": document["proof"] | {"cryptosuite": suite}}
        assert verify(changed).reason == f"the cryptosuite {suite!r} is not known; known are: eddsa-jcs-2022"


def test_finding_7_an_unreadable_file_is_an_error_not_a_smaller_folder(tmp_path, capsys):
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


def test_finding_8_a_key_can_be_replaced_and_what_it_signed_still_counts(tmp_path, monkeypatch, store, policy):
    monkeypatch.delenv("THERIAC_PASSPHRASE", raising=False)
    old = create(tmp_path / "keys", "mine")
    graph = signs(store, old)
    graph.claim("poisoning", "red")
    done = rotate(tmp_path / "keys", "mine", tmp_path / "out")
    new = load(tmp_path / "keys", "mine")
    assert new.did == done.new.did != old.did
    graph.claim("poisoning", "blue", new)
    statements = [json.loads(path.read_bytes()) for path in done.statements]
    assert successors(statements) == {old.did: new.did}
    trust = policy(f'did = "{old.did}"\nmay = ["*"]', f'did = "{new.did}"\nmay = ["*"]')
    assert {(found.issuer, found.accepted) for found in poisoned_by(store, policy=trust).attestations} == {
        (old.did, True),
        (new.did, True),
    }


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


def test_finding_10_the_comparison_of_a_folder_names_the_files(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    before = build(tmp_path)
    (tmp_path / "b").write_text("B")
    (tmp_path / "c").rename(tmp_path / "d")
    assert vars(compare(before, tmp_path)) == {"changed": ("b",), "missing": ("c",), "added": ("d",)}


def test_finding_11_no_file_passes_for_a_folder(tmp_path, store, key):
    """A file that holds the topmost node of a folder's tree has the value of the folder's root as its SHA-256."""
    folder, forged = tmp_path / "weights", tmp_path / "forged"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    leaves = [
        hashlib.sha256(f"\0{path}\0{size}\0".encode() + bytes.fromhex(digest)).digest()
        for path, size, digest in build(folder).entries
    ]
    forged.write_bytes(b"\1" + b"".join(leaves))
    root, copy = build(folder).root, build(forged).root
    assert (root.partition(":")[2], root) == (copy.partition(":")[2], f"sha256-merkle:{copy.partition(':')[2]}")
    graph = SignedGraph(store, key)
    graph.add("red", "data", data_subject("red"))
    graph.pack("pack", "red")
    graph.add("weights", "data", data_subject("weights", "Weights") | {"hash": root})
    graph.trained("weights", "pack")
    graph.system("system", "Inferencing", "weights-config")
    assert ask(store, "weights-hash-matches", "urn:x:system", [root]).answer
    answer = ask(store, "weights-hash-matches", "urn:x:system", [copy])
    assert (answer.answer, answer.status) == (False, ExitCode.FOUND)


def test_finding_11_no_leaf_passes_for_another():
    digest = hashlib.sha256(b"").hexdigest()
    others = [("a", 11, digest), ("a1", 1, digest), ("a", 1, digest), ("1", 1, digest)]
    assert len({merkle_root([Entry(*other)]) for other in others}) == 4
    pair = merkle_root([Entry("a", 1, digest), Entry("b", 1, digest)])
    assert pair not in {merkle_root([Entry(path, 1, digest)]) for path in "ab"}


def test_finding_12_no_program_is_looked_for_on_the_path(tmp_path, key):
    file = tmp_path / "a.json"
    file.write_bytes(to_bytes(issue("data", data_subject("x"), key)))
    argv = [sys.executable, "-m", "theriac", "import", str(file), "--store", str(tmp_path / "s.sqlite"), "--json"]
    done = subprocess.run(argv, env={"PATH": ""} | _python(), capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["new"]) == (0, 1), done.stderr


def _python():
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}


@pytest.fixture(params=COMING)
def coming(request):
    return COMING[request.param]()


def test_finding_13_a_suite_that_is_not_known_verifies_nothing_under_any_name(store, key, coming, monkeypatch):
    graph = signs(store, key)
    document = coming.claim(graph["red"], monkeypatch)
    unknown = f"the cryptosuite {coming.name!r} is not known; known are: eddsa-jcs-2022"
    bare = {name: value for name, value in document["proof"].items() if name != "verificationMethod"}
    relabelled = document["proof"] | {"cryptosuite": "eddsa-jcs-2022"}
    assert verify(document).reason == verify(document | {"proof": bare}).reason == unknown
    assert not verify(document | {"proof": relabelled}).valid
    everything = Accepted(frozenset({"nqminds-2018", "nqminds-jcs"}), unsigned=True, key=key.did)
    added = store.add(
        [document | {"proof": proof} for proof in (document["proof"], bare, relabelled)], accepted=everything
    )
    assert (added.new, len(added.invalid), sum(unknown in said for said in added.invalid)) == (3, 3, 2)
    answer = poisoned_by(store)
    assert (answer.answer, [found.accepted for found in answer.attestations]) == (False, [False] * 3)


def test_finding_13_a_new_suite_is_one_line_and_loses_no_old_claim(store, key, policy, coming, monkeypatch):
    graph = signs(store, key)
    old, new = graph.claim("poisoning", "red"), coming.claim(graph["blue"], monkeypatch)
    monkeypatch.setitem(SUITES, coming.name, coming.suite)
    assert not store.add([new]).invalid
    trust = policy(f'did = "{key.did}"\nmay = ["*"]', f'did = "{coming.did}"\nmay = ["poisoning"]')
    found = {found.id: found.accepted for found in poisoned_by(store, policy=trust).attestations}
    assert found == {old["id"]: True, new["id"]: True}
    for document, suite in ((old, coming.name), (new, "eddsa-jcs-2022")):
        assert not verify(document | {"proof": document["proof"] | {"cryptosuite": suite}}).valid
    store.recheck()


def test_finding_14_hashing_is_parallel_and_in_bounded_memory(tmp_path, watched):
    for number in range(8):
        (tmp_path / f"part-{number}").write_bytes(bytes([number]) * (4 << 20))
    roots, threads = set(), {}
    for workers in (1, 4):
        watched.clear()
        roots.add(build(tmp_path, workers=workers).root)
        threads[workers] = {thread for event, said, thread in watched if event == "open" and "part-" in said}
    assert (len(roots), len(threads[1]), len(threads[4]) > 1) == (1, 1, True)
    tracemalloc.start()
    try:
        build(tmp_path, workers=1)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_finding_14_hashing_goes_on_where_it_was_stopped(tmp_path, watched, monkeypatch):
    monkeypatch.setattr(partial, "SETTLED_NS", 0)  # else files as new as these are read again, to be safe
    folder, out = tmp_path / "data", tmp_path / "data.manifest"
    folder.mkdir()
    for number in range(8):
        (folder / f"part-{number}").write_bytes(bytes([number]) * (1 << 20))

    def stop(share, words):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_to(folder, out, workers=1, progress=stop)
    watched.clear()
    assert build_to(folder, out) == build(folder)
    read = [said for event, said, _ in watched if event == "open" and "part-" in said]
    assert 8 < len(read) < 16  # eight by the build that it is compared with, and fewer by the one that goes on


def test_finding_15_duplicates_overlap_and_conflicting_labels_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in {"train/go/1": "x", "train/stop/2": "x", "train/go/3": "y", "test/go/4": "y"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert run(["hash", "train", "--duplicates"]) == ExitCode.FOUND
    printed = capsys.readouterr().out
    assert "conflicting labels: go, stop\n  go/1\n  stop/2\n" in printed
    assert "go/3" not in printed
    assert run(["hash", "train", "--overlap", "test"]) == ExitCode.FOUND
    printed = capsys.readouterr().out
    assert "same bytes\n  train: go/3\n  test: go/4\n" in printed
    assert "stop" not in printed
    assert run(["hash", "test", "--duplicates"]) == ExitCode.NOTHING


def test_finding_16_what_we_issue_names_key_time_and_suite(key):
    document = issue("data", data_subject("x"), key, valid_until=PAST + timedelta(days=9000))
    assert document["issuer"].startswith("did:key:")
    assert document["proof"]["verificationMethod"].startswith(document["issuer"] + "#")
    assert (document["proof"]["type"], document["proof"]["cryptosuite"]) == ("DataIntegrityProof", "eddsa-jcs-2022")
    assert document["proof"]["created"] == document["validFrom"]
    assert "validUntil" in document
    assert document["type"] == ["VerifiableCredential"]
