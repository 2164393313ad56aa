"""``theriac keys``, ``attest``, ``verify`` and ``query`` from the outside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.provenance import Store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERIAC_KEYS", str(tmp_path / "keys"))
    monkeypatch.delenv("THERIAC_PASSPHRASE", raising=False)
    Path("train.csv").write_text("image,label\n")
    Path("model.bin").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def output(capsys):
    def answer(*argv, status=0):
        capsys.readouterr()
        assert run(list(argv)) == status
        return json.loads(capsys.readouterr().out)

    return answer


@pytest.fixture
def system(output):
    """A described system: its id, and kind and label -> file of its credentials."""
    output("keys", "new", "--json")
    answer = output("attest", "system", "signs", "--weights", "model.bin", "--data", "train.csv", "--json")
    files = {}
    for credential in answer["credentials"]:
        content = json.loads(Path(credential["file"]).read_text())
        kind = content["credentialSchema"]["id"].split("/")[-2]
        files[kind, content["credentialSubject"].get("label")] = credential["file"]
    return answer["id"], files


def test_from_keys_to_the_answer(system, output):
    system_id, files = system
    for file in files.values():
        assert output("verify", file, "--json")["valid"]
    query = ("query", "data-poisoning", system_id, "--store", "evidence.sqlite", "--json")
    assert output(*query) | {"warnings": 0, "nodes": 0, "unchecked": 0} == {
        "query": "data-poisoning",
        "system": system_id,
        "mode": "extended",
        "complete": True,
        "answer": False,
        "attestations": [],
        "checks": [],
        "warnings": 0,
        "nodes": 0,
        "unchecked": 0,
        "paths": [],
    }
    claim = ("--type", "data injection", "--severity", "high", "--description", "a yellow square", "--json")
    attested = output("attest", "poisoning", files["data", "Training"], *claim)
    search = (
        "--examined",
        "all classes",
        "--detector",
        "inversion",
        "--detector-version",
        "1",
        "--probability",
        "0.01",
    )
    output("attest", "check", files["data", "Weights"], "--verdict", "clean", *search, "--limit", "semantics", "--json")
    answer = output(*query, "--recheck", status=1)
    [found] = answer["attestations"]
    assert (answer["complete"], found["id"], found["accepted"]) == (True, attested["id"], True)
    assert found["details"]["description"] == "a yellow square"
    assert answer["checks"][0]["details"]["limits"] == ["semantics"]
    assert output(*query, "--at", "2020-01-01", status=3)["complete"] is False


def test_the_same_again_issues_nothing_new(system, output):
    again = output("attest", "system", "signs", "--weights", "model.bin", "--data", "train.csv", "--json")
    assert again["id"] == system[0]
    with Store(Path("evidence.sqlite")) as store, store.snapshot() as view:
        assert view.count() == len(again["credentials"]) == 6


def test_a_flipped_byte_anywhere_fails(system):
    file = Path(system[1]["data", "Training"])
    data = file.read_bytes()
    for place in range(0, len(data), 7):
        Path("flipped.json").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert run(["verify", "flipped.json"]) == 1, place


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff\xfe", b"[]", b"{}", b"x" * (2 << 20)])
def test_what_is_no_credential_is_invalid(content, output):
    Path("file.json").write_bytes(content)
    answer = output("verify", "file.json", "--json", status=1)
    assert answer["valid"] is False
    assert answer["reason"]


def test_verify_can_ask_for_a_signer(system, output):
    file = system[1]["data", "Weights"]
    signer = output("keys", "list", "--json")[0]["did"]
    assert output("verify", file, "--signer", signer, "--json")["valid"]
    assert "not by did:key:other" in output("verify", file, "--signer", "did:key:other", "--json", status=1)["reason"]


def test_unknown_systems_are_incomplete(system, output):
    assert output("query", "data-poisoning", "urn:uuid:unknown", "--json", status=3)["complete"] is False


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["verify", "absent.json"], "absent.json: No such file"),
        (["verify", "keys"], "keys: Is a directory"),
        (["query", "data-poisoning", "urn:x", "--store", "absent"], "absent: no such store"),
        (["query", "data-poisoning", "urn:x", "--store", "train.csv"], "train.csv: cannot use the store"),
        (["attest", "data", "absent"], "absent: no such file or folder"),
        (["attest", "data", "train.csv", "--key", "absent"], "absent.pem: no such key"),
        (["attest", "data", "train.csv", "--key", "../x"], "'../x' is not a key's name"),
        (["attest", "data", "train.csv", "--name", "a\x1b"], "name: "),
        (["keys", "new"], "a key of this name already"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, argv, message):
    assert run(["keys", "new"]) == 0
    capsys.readouterr()
    assert run(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("credentials").exists()


@pytest.mark.parametrize("option", [["--date", "31-03-2025"], ["--severity", "awful"]])
def test_bad_claims(system, capsys, option):
    claim = ["--type", "x", "--severity", "low", "--description", "y"]
    assert run(["attest", "poisoning", system[1]["data", "Training"], *claim, *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_claims_are_only_made_about_credentials_that_hold(system, capsys):
    file = Path(system[1]["data", "Training"])
    file.write_bytes(file.read_bytes().replace(b"train.csv", b"test.csv "))
    assert run(["attest", "poisoning", str(file), "--type", "x", "--severity", "low", "--description", "y"]) == 2
    assert "signature does not fit" in capsys.readouterr().err


def test_text_for_people(system, capsys):
    system_id, files = system
    assert run(["query", "data-poisoning", system_id]) == 0
    text = capsys.readouterr().out
    assert "No claim of poisoning" in text
    assert "clean" not in text
    assert "nobody searched" in text
    run(["attest", "poisoning", files["data", "Training"], "--type", "x", "--severity", "low", "--description", "[b]y"])
    capsys.readouterr()
    assert run(["query", "data-poisoning", system_id]) == 1
    text = capsys.readouterr().out
    assert "POISONED: 1 claim" in text
    assert "[b]y" in text
    assert run(["verify", files["config", None]]) == 0
    assert capsys.readouterr().out.startswith("valid: config urn:uuid:")


def test_encrypted_keys_sign_with_the_passphrase(monkeypatch, capsys):
    monkeypatch.setenv("THERIAC_PASSPHRASE", "correct horse")
    assert run(["keys", "new", "--name", "vault"]) == 0
    assert run(["attest", "data", "train.csv", "--key", "vault"]) == 0
    monkeypatch.delenv("THERIAC_PASSPHRASE")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    assert run(["attest", "data", "train.csv", "--key", "vault"]) == 2
    assert "THERIAC_PASSPHRASE" in capsys.readouterr().err
    assert run(["keys", "list"]) == 0
    assert "(encrypted)" in capsys.readouterr().out


def test_the_commands_start_without_heavy_imports():
    code = (
        "import sys, theriac.cli.keys, theriac.cli.attest, theriac.cli.verify, theriac.cli.query; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "sqlalchemy", "cryptography"}.isdisjoint(loaded)
