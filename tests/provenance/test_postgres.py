"""The store on a real PostgreSQL: the same answers as on SQLite, and nothing that was signed can be changed."""

import glob
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.errors import UserError
from theriac.provenance import QUERIES, Accepted, SigningKey, Store, ask, issue, link_to, taibom, walk

from .conftest import PAST
from .random_graphs import SYSTEM, RandomGraph, data, hash_of, sample
from .signed import data as data_subject
from .signed import signs

psycopg = pytest.importorskip("psycopg")
UNSIGNED = Accepted(unsigned=True)
NOW = datetime(2026, 9, 1, tzinfo=UTC)
TABLES = {"link", "credential"}


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL of our own on a socket in a temporary folder: its folder."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb")]
    if not found[-1]:
        pytest.skip("no PostgreSQL on this machine")
    programs = Path(found[-1]).parent
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path must be short
    user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres", "postgres")

    def call(program, *arguments):
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        with (folder / f"{program}.out").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=folder, check=False, **user)
        assert done.returncode == 0, (folder / f"{program}.out").read_text()

    try:
        call("initdb", "-U", "theriac", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-F -k {folder} -c listen_addresses='' -c max_connections=30 -c shared_buffers=16MB"
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield folder
        finally:
            call("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def url(server, request):
    """An empty database."""
    name = f"test{abs(hash(request.node.name))}"
    with psycopg.connect(host=str(server), user="theriac", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://theriac@/{name}?host={server}"


@pytest.fixture
def postgres(url):
    with Store(url, write=True) as opened:
        yield opened


def raw(url):
    return psycopg.connect(url)


def packs(key, count, start=0):
    link = {"id": "urn:uuid:0", "hash": "sha256:" + "0" * 64}
    return [issue("data-pack", {"name": f"pack {n}", "datasets": [link]}, key) for n in range(start, start + count)]


def count(url):
    with Store(url) as store, store.snapshot() as view:
        return view.count()


def test_what_was_added_is_there_after_reopening(url, key):
    documents = packs(key, 3)
    forged = documents[0] | {"validFrom": "2020-01-01T00:00:00Z"}
    with Store(url, write=True) as store:
        added = store.add([documents[0], documents[1], documents[1], forged, b"junk"])
        assert (added.new, added.known, len(added.invalid), len(added.refused)) == (3, 1, 1, 1)
        assert store.add(documents).new == 1
    with Store(url) as store:
        store.recheck()
        with store.snapshot() as view:
            assert sorted(entry.valid for entry in view.entries()) == [False, True, True, True]
            assert documents[2] in [entry.document for entry in view.entries()]


@pytest.mark.parametrize("few", [2000, 0])
def test_answers_are_those_of_sqlite(postgres, store, monkeypatch, few):
    monkeypatch.setattr(walk, "FEW", few)
    monkeypatch.setattr(taibom, "FEW", few)
    graph = RandomGraph(1)
    documents = [*sample(), *graph.documents]
    for target in (postgres, store):
        assert target.add(documents, accepted=UNSIGNED).new > 60
    told = 0
    for name, query in QUERIES.items():
        given = [hash_of("30mph")] if "HASH" in query.arguments else ["tony@example.org"] if query.arguments else []
        for mode in ("taibom", "extended"):
            for system in (SYSTEM, *graph.ids["s"], "urn:uuid:nowhere"):
                if mode == "taibom" and not query.predicate:
                    continue
                answers = [ask(s, name, system, given, mode=mode, at=NOW).to_json() for s in (store, postgres)]
                assert answers[0] == answers[1], (name, mode, system)
                told += bool(answers[0]["answer"])
    assert told > 20


def test_a_signed_graph_with_retractions(postgres, key, stranger):
    graph = signs(postgres, key)
    graph.claim("poisoning", "red", name="claim")
    assert ask(postgres, "data-poisoning", "urn:x:system").complete
    graph.retract("claim", stranger)
    assert ask(postgres, "data-poisoning", "urn:x:system").answer
    graph.retract("claim")
    answer = ask(postgres, "data-poisoning", "urn:x:system")
    assert (answer.answer, answer.attestations[0].why_not[:9]) == (False, "retracted")
    late = issue("poisoning-attestation", graph["claim"]["credentialSubject"], key, id="urn:x:late", valid_from=PAST)
    postgres.add([issue("retraction", {"retracts": link_to(late), "reason": "x"}, key, valid_from=PAST), late])
    assert not ask(postgres, "data-poisoning", "urn:x:system").answer
    assert ask(postgres, "systems-using", "urn:x:red").answer == ["urn:x:system"]
    postgres.recheck()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE credential SET valid = true",
        "UPDATE credential SET document = ''",
        "DELETE FROM credential",
        "DELETE FROM link",
        "UPDATE link SET hash = ''",
        "TRUNCATE link",
        "TRUNCATE credential CASCADE",
    ],
)
def test_the_store_is_append_only(postgres, url, key, change):
    postgres.add(packs(key, 1))
    with raw(url) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(change)
    assert count(url) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE credential SET valid = true WHERE NOT valid",
        "UPDATE credential SET retracted = 1 WHERE kind = 'config'",
        'UPDATE link SET state = 1, "to" = 1 WHERE relation = 3',
        "DELETE FROM link WHERE relation = 24",
    ],
)
def test_recheck_finds_a_store_that_was_tampered_with(postgres, url, key, change):
    graph = signs(postgres, key)
    claim = graph.claim("poisoning", "red")
    postgres.add([claim | {"id": "urn:x:forged"}])
    postgres.recheck()
    with raw(url) as connection:
        for table in TABLES:
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert connection.execute(change).rowcount > 0
    with pytest.raises(UserError, match="store does not agree"):
        postgres.recheck()


def test_a_reader_cannot_write_even_by_mistake(postgres, url, key):
    postgres.add(packs(key, 1))
    with Store(url) as reader:
        with pytest.raises(UserError, match="reading only"):
            reader.add(packs(key, 1))
        with pytest.raises(UserError, match="read-only transaction"), reader.snapshot() as view:
            view.connection.exec_driver_sql("UPDATE credential SET retracted = 1")


def test_a_view_does_not_change_while_others_write(postgres, url, key):
    postgres.add(packs(key, 2))
    with Store(url) as reader, reader.snapshot() as view:
        assert view.count() == 2
        postgres.add(packs(key, 3, start=2))
        assert (view.count(), len(list(view.entries()))) == (2, 2)
    assert count(url) == 5


def test_many_read_while_one_writes(postgres, url, key):
    postgres.add(packs(key, 1))
    done, failures, seen = threading.Event(), [], []

    def read():
        try:
            with Store(url) as reader:
                while not done.is_set():
                    with reader.snapshot() as view:
                        seen.append((view.count(), len(list(view.entries()))))
        except UserError as error:
            failures.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(5):
        postgres.add(packs(key, 5, start=5 * n))
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert all(counted == listed for counted, listed in seen)


def _write(url, seed):
    with Store(url, write=True) as store:
        for document in packs(SigningKey.from_seed(bytes([seed]) * 32), 10):
            store.add([document])


def test_processes_that_open_the_same_new_store_wait_for_each_other(url):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(url, seed)) for seed in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert count(url) == 30


def test_a_character_that_the_database_cannot_hold_stops_nobody_elses_credential(postgres, store):
    """One document with a NUL in a name, and the whole batch would be lost."""
    evil = [
        data("urn:uuid:nul\0", "x"),
        data("urn:uuid:a", "n\0ul"),
        data("urn:uuid:b", "x", hash="\0"),
        data("urn:uuid:c", "x") | {"issuer": "\0"},
    ]
    for target in (postgres, store):
        added = target.add([*evil, data("urn:uuid:good", "good")], accepted=UNSIGNED)
        assert (added.new, len(added.refused)) == (1, 4)


def test_import_and_query_by_url(url, tmp_path, capsys):
    for number, document in enumerate(sample()):
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
    assert run(["import", str(tmp_path), "--store", url, "--accept-unsigned", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 31
    assert run(["query", "data-poisoning", SYSTEM, "--store", url, "--mode", "taibom", "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)["attestations"]
    assert found["component"]["id"] == "urn:uuid:national"


def test_a_wrong_url_is_one_clear_line(server, capsys):
    for wrong in (
        f"postgresql://theriac:secret@/absent?host={server}",
        "postgresql://theriac:secret@/x?host=/nowhere",
        "postgresql://theriac:secret@/x?host=/nowhere&nonsense=1",
        "postgresql://theriac:secret@[/x",
        "postgresql://theriac:secret@127.0.0.1:99999/x",
    ):
        for write in (False, True):
            with pytest.raises(UserError) as error:
                Store(wrong, write=write)
            assert "\n" not in str(error.value)
            assert "secret" not in str(error.value)
        assert run(["query", "data-poisoning", SYSTEM, "--store", wrong]) == 2
        shown = capsys.readouterr().err
        assert (shown.count("\n"), "secret" in shown) == (1, False), shown


def test_databases_that_are_no_stores(url):
    with pytest.raises(UserError, match="not a store of credentials"):
        Store(url)
    with raw(url) as connection:
        connection.execute("CREATE TABLE credential (digest TEXT)")
    for write in (False, True):
        with pytest.raises(UserError, match="not a store of credentials"):
            Store(url, write=write)


def test_a_broken_document_reads_the_same(postgres, key):
    """Bytes come back as bytes."""
    document = issue("data", data_subject("x"), key)
    postgres.add([document])
    with postgres.snapshot() as view:
        [entry] = view.with_ids([document["id"]])[document["id"]]
    assert (type(entry.data), entry.document) == (bytes, document)
