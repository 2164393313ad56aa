"""``theriac export`` from the outside."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.provenance import Issuer, SigningKey, Store, data_poisoning, describe_system, issue, link_to
from theriac.provenance.issuer import Artifact


def artifact(name):
    return Artifact(name, "sha256:" + name.encode().hex().ljust(64, "0")[:64], name)


@pytest.fixture
def key():
    return SigningKey.from_seed(bytes([1]) * 32)


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch, key):
    """A poisoned system in a store in the current folder, beside an unrelated one; one claim is retracted."""
    monkeypatch.chdir(tmp_path)
    with Store("evidence.sqlite", write=True) as store:
        issuer = Issuer(key, store)
        described = describe_system(
            issuer, "signs", weights=artifact("model"), data=[artifact("20mph"), artifact("30mph")]
        )
        about = {"type": "data injection", "severity": "high", "description": "a patch"}
        issuer.poisoning(described.data[0], **about)
        wrong = issuer.poisoning(described.data[1], **about)
        issuer.issue("identity", {"name": "Tony", "pub": key.did, "uuid": "urn:uuid:tony"})
        provided = {"type": "provided", "provider": {"uuid": "urn:uuid:tony"}}
        issuer.issue("provided-attestation", {"component": link_to(described.data[0]), "attestation": provided})
        store.add([issue("retraction", {"retracts": link_to(wrong), "reason": "wrong"}, key)])
        describe_system(issuer, "another", weights=artifact("other"), data=[artifact("other data")])
    return described


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_a_bom(system, capsys, version):
    options = ("--format", f"cyclonedx-{version}", "--out", "out/bom.json", "--json")
    assert run(["export", system.id, *options]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "out/bom.json",
        "format": f"cyclonedx-{version}",
        "complete": True,
        "notes": [],
    }
    bom = json.loads(Path("out/bom.json").read_text(encoding="utf-8"))
    assert (bom["specVersion"], bom["metadata"]["component"]["name"]) == (version, "signs")
    assert len(bom["declarations"]["claims"]) == 3


def test_without_a_file_it_goes_to_standard_output(system, capsys):
    assert run(["export", system.id]) == 0
    assert json.loads(capsys.readouterr().out)["specVersion"] == "1.6"


def test_credentials_are_taken_in_elsewhere_with_the_same_answer(system, capsys):
    assert run(["export", system.id, "--format", "credentials", "--out", "signs.jsonl"]) == 0
    lines = [json.loads(line) for line in Path("signs.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = [line["credentialSchema"]["id"].split("/")[-2] for line in lines]
    assert sorted(set(kinds)) == [
        "ai-system",
        "config",
        "data",
        "data-pack",
        "identity",
        "poisoning-attestation",
        "provided-attestation",
        "retraction",
    ]
    assert "another" not in {line["credentialSubject"].get("name") for line in lines}
    assert len({line["id"] for line in lines}) == len(lines) == 12
    assert run(["import", "signs.jsonl", "--store", "elsewhere.sqlite"]) == 0
    with Store("evidence.sqlite") as here, Store("elsewhere.sqlite") as there:
        assert data_poisoning(there, system.id).to_json() == data_poisoning(here, system.id).to_json()


def test_prolog_is_of_the_whole_store(capsys):
    assert run(["export", "--format", "prolog"]) == 0
    text = capsys.readouterr().out
    assert text.count("\ntaibom_data(") == 5
    assert text.count("\npoisoning_attestation(") == 1


def test_pictures(system, capsys):
    assert run(["export", system.id, "--format", "svg", "--out", "chain.svg"]) == 0
    assert "POISONED" in "".join(ElementTree.parse("chain.svg").getroot().itertext())
    assert run(["export", system.id, "--format", "mermaid", "--out", "chain.mmd"]) == 0
    assert Path("chain.mmd").read_text(encoding="utf-8").startswith("flowchart LR\n")
    assert run(["query", "data-poisoning", system.id, "--picture", "query.svg"]) == 1
    assert "POISONED" in Path("query.svg").read_text(encoding="utf-8")


def test_the_moment_and_the_policy_count(system, capsys):
    assert run(["export", system.id, "--format", "mermaid", "--at", "2026-01-01", "--out", "past.mmd"]) == 3
    assert "not valid before" in capsys.readouterr().err
    Path("policy.toml").write_text("version = 1\n", encoding="utf-8")
    run(["export", system.id, "--policy", "policy.toml", "--out", "bom.json"])
    claims = json.loads(Path("bom.json").read_text(encoding="utf-8"))["declarations"]["claims"]
    assert all(claim["reasoning"].startswith("does not count") for claim in claims)


@pytest.mark.parametrize("format", ["cyclonedx-1.6", "credentials", "svg"])
def test_what_is_not_there_leaves_no_file(capsys, format):
    assert run(["export", "urn:uuid:unknown", "--format", format, "--out", "out.txt"]) == 2
    assert "urn:uuid:unknown is not in the store" in capsys.readouterr().err
    assert run(["export", "--format", format, "--out", "out.txt"]) == 2
    assert "no system to export" in capsys.readouterr().err
    assert not Path("out.txt").exists()


def test_an_incomplete_chain_is_said(key, capsys):
    with Store("evidence.sqlite", write=True) as store:
        bare = describe_system(Issuer(key, store), "bare", weights=artifact("bare"))
    assert run(["export", bare.id, "--out", "bom.json", "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert not said["complete"]
    assert "nothing says what the weights" in said["notes"][0]
