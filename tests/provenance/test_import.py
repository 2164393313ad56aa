"""``theriac import``: what is taken, what is kept out and named, and that killing it loses nothing."""

import base64
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.provenance import Store, issue, link_to, to_bytes
from theriac.provenance.canonical import canonical

from .conftest import PAST
from .random_graphs import SYSTEM, data, sample
from .signed import data as data_subject
from .subjects import SUBJECTS
from .test_profiles import PUBLIC, signed_2018, signed_jcs


@pytest.fixture
def imported(tmp_path, capsys):
    """Imports and returns the printed counts; ``status`` is what the command must answer."""

    def answer(path, *options, status=0):
        capsys.readouterr()
        store = str(tmp_path / "stores" / "store.sqlite")
        assert run(["import", str(path), "--store", store, "--json", *options]) == status
        told = json.loads(capsys.readouterr().out)
        assert told["store"] == store
        for name in ("kept_out", "refused", "invalid"):
            assert told[name] == len(told["named"][name])
        return told

    return answer


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def documents(key, number):
    return [issue("data", data_subject(f"data {n}"), key, id=f"urn:x:{n}", valid_from=PAST) for n in range(number)]


def lines(credentials):
    return b"".join(canonical(credential) + b"\n" for credential in credentials)


def counts(told):
    return {name: told[name] for name in ("new", "known", "weak", "kept_out", "refused", "invalid", "files")}


def expected(**numbers):
    return dict.fromkeys(("new", "known", "weak", "kept_out", "refused", "invalid", "files"), 0) | numbers


def test_a_file_a_folder_and_json_lines(imported, folder, key):
    first, second, *others = documents(key, 5)
    (folder / "single").write_bytes(to_bytes(first))
    assert counts(imported(folder / "single")) == expected(new=1, files=1)
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "A.JSON").write_bytes(to_bytes(first))
    (folder / "deep" / "b.jsonld").write_text(json.dumps(second, indent=7))
    (folder / "many.jsonl").write_bytes(b"\r\n" + lines(others).replace(b"\n", b"\r\n\r\n"))
    (folder / "notes.txt").write_text("not looked at")
    assert counts(imported(folder)) == expected(new=4, known=1, files=3)
    assert counts(imported(folder)) == expected(known=5, files=3)


def test_what_is_kept_out_and_named(imported, folder, key):
    good, broken = documents(key, 2)
    broken["validFrom"] = "2020-01-01T00:00:00Z"
    (folder / "a-good.json").write_bytes(to_bytes(good))
    (folder / "b-broken.json").write_bytes(to_bytes(broken))
    (folder / "c-unsigned.json").write_text(json.dumps(data("urn:uuid:c", "c")))
    (folder / "d-2018.json").write_text(json.dumps(signed_2018()))
    (folder / "e-jcs.json").write_text(json.dumps(signed_jcs()))
    (folder / "f-junk.json").write_text("[1, 2]")
    (folder / "g-lines.ndjson").write_bytes(b'{"id": 5}\n' + lines([good]) + b"{\n")
    told = imported(folder, status=3)
    assert counts(told) == expected(new=2, known=1, kept_out=3, refused=3, invalid=1, files=7)
    named = told["named"]
    assert "signature does not fit" in named["invalid"][0]
    for text, wanted in zip(named["kept_out"], ("c-unsigned.json", "d-2018.json", "e-jcs.json"), strict=True):
        assert wanted in text
    assert "--accept-unsigned" in named["kept_out"][0]
    assert "--profile nqminds-2018" in named["kept_out"][1]
    for text, wanted in zip(named["refused"], ("f-junk.json", "line 1:", "line 3:"), strict=True):
        assert wanted in text
    told = imported(folder, "--accept-unsigned", status=3)
    assert counts(told) == expected(new=1, known=3, weak=1, kept_out=2, refused=3, files=7)
    weak = ("--profile", "nqminds-2018", "--profile", "nqminds-jcs", "--key", base64.b64encode(PUBLIC).decode())
    told = imported(folder, *weak, status=3)
    assert counts(told) == expected(new=2, known=3, weak=2, kept_out=1, refused=3, files=7)
    told = imported(folder, "--profile", "w3c", status=3)
    assert counts(told) == expected(known=3, kept_out=3, refused=3, files=7)


def test_people_are_told_what_is_missing(tmp_path, folder, capsys):
    (folder / "unsigned.json").write_text(json.dumps(data("urn:uuid:c", "c")))
    assert run(["import", str(folder), "--store", str(tmp_path / "s.sqlite")]) == 3
    shown = capsys.readouterr().out
    assert "1 kept out, because nobody asked for them:" in shown
    assert "unsigned.json" in shown


def test_a_battery_without_its_rules_and_keys(imported, folder, tmp_path):
    """In TAIBOM's batteries rules are programs; they and keys, policies and schemas are no facts."""
    for number, document in enumerate(sample()):
        pack = folder / "inference_claims" / document["credentialSchema"]["id"].split(".")[-4].split("/")[-1] / "demo"
        pack.mkdir(parents=True, exist_ok=True)
        (pack / f"{number}.json").write_text(json.dumps(document))
        (pack.parent / "schema.json").write_text("{}")
    evil = json.dumps(data("urn:uuid:evil", "evil"))
    for place in ("rules/demo/1_rule.json", "keys/admin.json", "policy_claims/schema/demo/1.json"):
        file = folder / place
        file.parent.mkdir(parents=True)
        file.write_text(evil)
    (folder / "scenarios.json").write_text("{}")
    assert counts(imported(folder, "--accept-unsigned")) == expected(new=31, weak=31, files=31)
    told = imported(folder, status=3)
    assert counts(told) == expected(kept_out=31, files=31)
    store = str(tmp_path / "stores" / "store.sqlite")
    assert run(["query", "data-poisoning", SYSTEM, "--mode", "taibom", "--store", store]) == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_line_that_is_too_long_is_refused_once(imported, folder, key, workers):
    good = documents(key, 2)
    long = b'{"id": "x", "a": "' + b"x" * 5000 + b'"}' + canonical(good[0]) + b"\n"
    (folder / "many.jsonl").write_bytes(long + lines(good[1:]) + b"junk\n")
    told = imported(folder, "--max-bytes", "2000", "--workers", workers, status=3)
    assert counts(told) == expected(new=1, refused=2, files=1)
    assert "line 1: larger than" in told["named"]["refused"][0]
    assert "line 3:" in told["named"]["refused"][1]


def test_nothing_to_import(imported, folder, tmp_path, capsys):
    assert counts(imported(folder)) == expected()
    for path in (tmp_path / "absent", tmp_path / "a" / "b.json"):
        assert run(["import", str(path), "--store", str(tmp_path / "other.sqlite")]) == 2
        assert "no such file or folder" in capsys.readouterr().err
    assert not (tmp_path / "other.sqlite").exists()


CHILD = "import sys; from theriac.provenance import pool; from theriac.cli import run; pool.BATCH = 40; {}"
START = "sys.exit(run(sys.argv[1:])) if __name__ == '__main__' else None"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of credentials that name each other in any order: data, packs, claims, retractions, some forged."""
    from theriac.provenance import SigningKey

    key, chance = SigningKey.from_seed(bytes([7]) * 32), random.Random(7)
    parts = documents(key, 400)
    credentials = list(parts)
    for n in range(80):
        links = [link_to(part) for part in chance.sample(parts, 5)]
        credentials.append(issue("data-pack", {"name": f"p{n}", "datasets": links}, key, valid_from=PAST))
    for _ in range(200):
        subject = dict(SUBJECTS["poisoning-attestation"], component=link_to(chance.choice(parts)))
        credentials.append(issue("poisoning-attestation", subject, key, valid_from=PAST))
    for _ in range(60):
        subject = {"retracts": link_to(chance.choice(credentials)), "reason": "was wrong"}
        credentials.append(issue("retraction", subject, key, valid_from=PAST))
    credentials += [dict(chance.choice(credentials), issuer="did:key:z6Mk", id=f"urn:x:forged-{n}") for n in range(60)]
    chance.shuffle(credentials)
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    path.write_bytes(lines(credentials))
    return path


def contents(path):
    """All that a store says, in order."""
    with sqlite3.connect(path) as connection:
        rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("credential", "link")]
    connection.close()
    return [sorted(table) for table in rows]


def stored(path):
    """The number of credentials that are committed."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            return int(connection.execute("SELECT count(*) FROM credential").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize("seed", range(3))
def test_killing_it_at_any_moment_loses_no_batch(many, tmp_path, capsys, seed):
    whole, killed = tmp_path / "whole.sqlite", tmp_path / "killed.sqlite"
    assert run(["import", str(many), "--store", str(whole)]) == 3
    expected = contents(whole)
    chance, seen = random.Random(seed), 0
    argv = [sys.executable, "-c", CHILD.format(START), "import", str(many), "--store", str(killed), "--workers", "2"]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        enough = chance.randrange(1, 700)
        deadline = time.monotonic() + 60
        while seen < enough and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.003 + 0.01 * chance.random())
            seen = stored(killed)
        child.kill()
        assert child.wait() == -signal.SIGKILL, "it ended before it could be killed"
        assert _gone(child.pid), "its helpers are still there"
    finally:
        if child.poll() is None:
            child.kill()
        for helper in _running(child.pid):
            os.kill(helper, signal.SIGKILL)
    with Store(killed) as store:
        store.recheck()
    credentials, links = contents(killed)
    assert len(credentials) >= max(seen, 1)
    assert len(credentials) % 40 == 0  # whole batches
    fixed = slice(0, 17)  # all but what follows from later arrivals
    assert [row[fixed] for row in credentials] == [row[fixed] for row in expected[0][: len(credentials)]]
    assert len(links) == sum(row[0] <= len(credentials) for row in expected[1])
    assert run(["import", str(many), "--store", str(killed)]) == 3
    assert contents(killed) == expected
    with Store(killed) as store:
        store.recheck()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("killed")] == ["killed.sqlite"]


def _running(group):
    """Returns the processes of this group that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of, *_ = file.read_text().rpartition(")")[2].split()
            if int(of) == group and state not in "ZX":
                found.append(int(file.parent.name))
    return found


def _gone(group):
    """Returns whether no process of this group is left, waiting for it."""
    deadline = time.monotonic() + 10
    while _running(group):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
