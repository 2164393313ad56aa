import multiprocessing
import sqlite3
import threading
from pathlib import Path

import pytest

from theriac.errors import UserError
from theriac.provenance import (
    Issuer,
    SigningKey,
    Store,
    data_poisoning,
    describe_system,
    issue,
    link_to,
    to_bytes,
)
from theriac.provenance.canonical import digest_of

from .conftest import PAST, artifact
from .graphs import poison


def packs(key, count, start=0):
    link = {"id": "urn:uuid:0", "hash": "sha256:" + "0" * 64}
    return [issue("data-pack", {"name": f"pack {n}", "datasets": [link]}, key) for n in range(start, start + count)]


def contents(path):
    with Store(path) as store, store.snapshot() as view:
        return {entry.digest: entry for entry in view.entries()}


def test_what_was_added_is_there_after_reopening(tmp_path, key):
    path, documents = tmp_path / "deep" / "evidence.sqlite", packs(key, 3)
    with Store(path, write=True) as store:
        added = store.add([documents[0], to_bytes(documents[1]), documents[1]])
        assert (added.new, added.known, added.invalid, added.refused) == (2, 1, [], [])
        assert store.add(documents).new == 1
    assert [path.name for path in path.parent.iterdir()] == ["evidence.sqlite"]
    stored = contents(path)
    assert {digest: entry.document for digest, entry in stored.items()} == {digest_of(d): d for d in documents}
    assert all(entry.valid and entry.kind == "data-pack" for entry in stored.values())


def test_broken_credentials_are_kept_and_marked_and_junk_is_refused(store, key):
    document = packs(key, 1)[0]
    forged = document | {"validFrom": "2020-01-01T00:00:00Z"}
    added = store.add([document, forged, b"junk", b"{}", b'{"id": "a", "id": "b"}'])
    assert (added.new, added.known, len(added.refused)) == (2, 0, 3)
    assert "signature does not fit" in added.invalid[0]
    with store.snapshot() as view:
        assert [entry.valid for entry in view.with_ids([document["id"]])[document["id"]]].count(True) == 1


def test_what_could_not_be_read_again_is_refused(store, key):
    """Numbers may be longer in canonical form than in the file, and too large for careful readers."""
    document = packs(key, 1)[0]
    long = to_bytes(document)[:-3] + b',\n  "x": [' + b"1e15, " * 100_000 + b"0]\n}\n"
    assert store.add([long, document | {"x": 1e20}, document | {"x": "x" * (1 << 20)}]).new == 0
    assert contents(store.path) == {}


def test_a_web_page_issuer_is_not_stored_as_valid(store, key):
    from theriac.provenance.proof import sign

    document = packs(key, 1)[0] | {"issuer": "https://example.org"}
    del document["proof"]
    added = store.add([sign(document, key, created="2026-01-01T00:00:00Z")])
    assert "nothing ties the key" in added.invalid[0]


def test_the_store_is_append_only(store, key):
    store.add(packs(key, 1))
    for change in (
        "UPDATE credential SET valid = 1",
        "DELETE FROM credential",
        "DELETE FROM link",
        "UPDATE link SET hash = ''",
    ):
        with sqlite3.connect(store.path) as raw, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute(change)
        raw.close()


def test_a_reader_cannot_add(tmp_path, store, key):
    with Store(store.path) as reader, pytest.raises(UserError, match="reading only"):
        reader.add(packs(key, 1))


def test_files_that_are_no_stores(tmp_path):
    with pytest.raises(UserError, match="no such store"):
        Store(tmp_path / "absent.sqlite")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text").write_text("not a database at all, but long enough to look like a header" * 40)
    with pytest.raises(UserError, match="not a database"):
        Store(tmp_path / "text")
    raw = sqlite3.connect(tmp_path / "other.sqlite")
    raw.execute("CREATE TABLE credential (digest TEXT)")
    raw.close()
    for write in (False, True):
        with pytest.raises(UserError, match="not a store of credentials"):
            Store(tmp_path / "other.sqlite", write=write)


def test_a_view_does_not_change_while_others_write(store, key):
    store.add(packs(key, 2))
    with Store(store.path) as reader, reader.snapshot() as view:
        assert view.count() == 2
        store.add(packs(key, 3))
        assert view.count() == 2
    with Store(store.path) as reader, reader.snapshot() as view:
        assert view.count() == 5


def test_many_read_while_one_writes(store, key):
    store.add(packs(key, 1))
    done, failures, seen = threading.Event(), [], []

    def read():
        try:
            while not done.is_set():
                with Store(store.path) as reader, reader.snapshot() as view:
                    seen.append((view.count(), len(list(view.entries()))))
        except UserError as error:
            failures.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for n in range(20):
        store.add(packs(key, 5, start=5 * n))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert all(counted == listed for counted, listed in seen)
    assert len(contents(store.path)) == 101


def _write(path, seed):
    with Store(path, write=True) as store:
        for document in packs(SigningKey.from_seed(bytes([seed]) * 32), 10):
            store.add([document])


def test_processes_that_open_the_same_new_store_wait_for_each_other(tmp_path):
    path = tmp_path / "evidence.sqlite"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, seed)) for seed in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(contents(path)) == 30


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE credential SET valid = 1 WHERE valid = 0",
        "UPDATE credential SET kind = 'data' WHERE kind = 'config'",
        "UPDATE credential SET signer = issuer || 'x' WHERE kind = 'config'",
        "UPDATE credential SET retracted = 1 WHERE kind = 'config'",
        "UPDATE link SET target = x'00' WHERE relation = 5",
        'UPDATE link SET state = 1, "to" = 1 WHERE relation = 3',
        "UPDATE link SET plain = 1 WHERE relation = 3",
        "DELETE FROM link WHERE relation = 24",
        "UPDATE credential SET document = replace(document, 'high', 'low ')",
        "UPDATE credential SET document = CAST(replace(document, 'high', 'low ') AS BLOB)",
    ],
)
def test_recheck_finds_a_store_that_was_tampered_with(store, issuer, described, evidence, change):
    claim = issuer.poisoning(described.weights, type="backdoor", severity="high", description="x", evidence=[evidence])
    store.add([claim | {"id": "urn:uuid:forged"}])
    store.recheck()
    with sqlite3.connect(store.path) as raw:
        for table in ("credential", "link"):
            for event in ("update", "delete"):
                raw.execute(f"DROP TRIGGER {table}_no_{event}")
        assert raw.execute(change).rowcount > 0
    raw.close()
    with pytest.raises(UserError, match=r"store does not agree|damaged"):
        store.recheck()


def test_describing_a_system_twice_gives_the_same_credentials(store, issuer, described, key):
    again = describe_system(
        Issuer(key, store),
        "road signs",
        weights=artifact("model.safetensors"),
        data=[artifact("20mph"), artifact("30mph")],
        training_code=artifact("train.py"),
        inference_code=artifact("serve.py"),
        settings={"architecture": "resnet18", "classes": 10},
    )
    assert again == described
    assert len(contents(store.path)) == len(issuer.credentials) == 9


def test_ids_follow_from_content_and_issuer(tmp_path, key, stranger):
    def system_id(signer, weights="model"):
        return describe_system(Issuer(signer), "system", weights=artifact(weights), data=[artifact("data")]).id

    assert system_id(key) == system_id(key)
    assert len({system_id(key), system_id(stranger), system_id(key, "other model")}) == 3


def test_what_was_retracted_can_be_said_again_within_the_same_second(issuer, store, described, key):
    said = []
    for _ in range(3):
        said.append(poison(issuer, described.data[0]))
        assert data_poisoning(store, described.id).answer, len(said)
        issuer.issue("retraction", {"retracts": link_to(said[-1]), "reason": "wrong"})
        assert not data_poisoning(store, described.id).answer
    assert len({digest_of(document) for document in said}) == 3
    assert len({document["id"] for document in said}) == 1
    store.recheck()


def test_an_expired_credential_is_issued_anew(store, issuer, key):
    document = issuer.data(artifact("model"), weights=True)
    expired = issue("data", document["credentialSubject"], key, valid_from=PAST, valid_until=PAST, id=document["id"])
    with Store(Path(store.path).with_name("second.sqlite"), write=True) as second:
        second.add([expired])
        renewed = Issuer(key, second).data(artifact("model"), weights=True)
    assert renewed["id"] == expired["id"]
    assert link_to(renewed) != link_to(expired)


def test_a_credential_is_issued_anew_when_what_it_links_to_was(store, issuer, described, key):
    subject = described.trained.config["credentialSubject"]
    newer = issue("data", described.weights["credentialSubject"], key, id=described.weights["id"], valid_from=PAST)
    config = issuer.issue("config", subject | {"data": link_to(newer)})
    assert config["id"] == described.trained.config["id"]
    assert config["credentialSubject"]["data"] == link_to(newer)


def test_a_name_that_could_steer_a_terminal_is_refused(issuer, store):
    with pytest.raises(UserError, match="name"):
        issuer.data(artifact("a\x1b[31m"))
    assert contents(store.path) == {}
