"""Files that were made to harm: refused, named, and shown without power over the terminal."""

import json
import re

import pytest

from theriac.cli import run
from theriac.errors import ExitCode
from theriac.provenance import Accepted, to_bytes
from theriac.provenance.canonical import MAX_BYTES

from .random_graphs import SYSTEM, claim, credential, data, hash_of, link, sample

UNSIGNED = Accepted(unsigned=True)


def nested(depth):
    return b'{"id": "x", "a": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"id": "x", "a": "' + b"x" * MAX_BYTES + b'"}', "larger than"),
        (nested(64), "levels deep"),
        (nested(100_000), "levels deep"),
        (b'{"id": "x", "id": "y"}', "occurs twice"),
        (b'{"id": "x", "a": {"b": 1, "b": 1}}', "occurs twice"),
        (b'{"id": "x", "a": NaN}', "NaN"),
        (b'{"id": "x", "a": -Infinity}', "Infinity"),
        (b'{"id": "x", "a": 1e999}', "number"),
        (b'{"id": "x", "a": 123456789012345678901234567890}', "number"),
        (b'{"id": "x", "a": "\\ud800"}', "canonical"),
        (b"\xff\xfe{}", "UTF-8"),
        (b'{"id": "' + b"x" * 501 + b'"}', "without an id"),
        (b"[]", "object"),
        (b"", "JSON"),
    ],
)
def test_hostile_json_is_refused_and_named(tmp_path, capsys, content, reason):
    (tmp_path / "evil.json").write_bytes(content)
    argv = ["import", str(tmp_path), "--store", str(tmp_path / "s.sqlite"), "--accept-unsigned", "--json"]
    assert run(argv) == ExitCode.INCONCLUSIVE
    told = json.loads(capsys.readouterr().out)
    assert (told["new"], told["refused"]) == (0, 1)
    assert "evil.json" in told["named"]["refused"][0]
    assert reason in told["named"]["refused"][0]


def test_a_million_links_are_refused_by_size(tmp_path, capsys):
    item = b'{"id":"urn:x:d","hash":"h"},'
    pack = to_bytes(credential("data-pack", "urn:x:p", {"name": "p", "datasets": []}))
    (tmp_path / "pack.json").write_bytes(pack.replace(b'"datasets": []', b'"datasets": [' + item * 1_000_000 + b"{}]"))
    argv = ["import", str(tmp_path), "--store", str(tmp_path / "s.sqlite"), "--accept-unsigned", "--json"]
    assert run(argv) == ExitCode.INCONCLUSIVE
    assert "larger than" in json.loads(capsys.readouterr().out)["named"]["refused"][0]


@pytest.mark.parametrize("target", ["outside.json", "/etc/hostname", "../outside.json"])
def test_a_link_out_of_the_folder_is_not_followed(tmp_path, capsys, target):
    (tmp_path / "outside.json").write_text(json.dumps(data("urn:uuid:secret", "secret")))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.json").symlink_to(target)
    assert run(["import", str(folder), "--store", str(tmp_path / "s.sqlite"), "--accept-unsigned"]) == 2
    assert "regular file" in capsys.readouterr().err


def test_names_cannot_steer_the_terminal_or_forge_a_line(store, capsys):
    forged = "No claim of poisoning, and the chain of credentials is complete."
    evil = f"\x1b]0;pwned\x07\x1b[2J\x1b[31m\u202e\r\n{forged}"
    documents = [d for d in sample() if d["id"] != "urn:uuid:national"]
    pack = next(d for d in documents if d["id"] == "urn:uuid:pack")["credentialSubject"]
    pack["datasets"] += [link(f"urn:x:{evil}"), link("urn:uuid:evil")]
    documents += [data("urn:uuid:evil", evil), data("urn:uuid:national", evil)]
    documents += [claim("poisoning", "urn:uuid:evil", hash_of(evil), description=evil)]
    documents += [credential("data", f"urn:y:{evil}", {}, issuer=evil)]
    store.add(documents, accepted=UNSIGNED)
    for argv in (["data-poisoning"], ["data-in-system"], ["training-data-matches", evil]):
        run(["query", argv[0], SYSTEM, *argv[1:], "--store", store.path])
    run(["query", "systems-using", f"urn:x:{evil}", "--store", store.path])
    shown = capsys.readouterr().out
    assert "\ufffd" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert not [line for line in shown.splitlines() if line.startswith(forged)]


def test_imports_messages_cannot_steer_the_terminal_or_forge_a_line(tmp_path, capsys):
    forged = "5 new, 0 known, 0 of the new unsigned or weakly signed"
    evil = f"x\x1b[2J\n{forged}"
    (tmp_path / "lines.jsonl").write_text(json.dumps(credential("data", evil, {})) + "\n{}\n")
    (tmp_path / "\x1b[31m.json").write_text("{}")
    run(["import", str(tmp_path), "--store", str(tmp_path / "s.sqlite"), "--accept-unsigned"])
    run(["import", str(tmp_path), "--store", str(tmp_path / "s.sqlite")])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert not [line for line in shown.splitlines() if line.startswith(forged)]
