import json
import socket
import threading
from contextlib import contextmanager

import pytest

from theriac.provenance import Artifact, Evidence, Issuer, SigningKey, describe_system, issue, link_to
from theriac.web import Site, open_battery
from theriac.web.serving import server_of

KEY = SigningKey.from_seed(bytes([1]) * 32)


def artifact(name):
    return Artifact(name, "sha256:" + name.encode().hex().ljust(64, "0")[:64], name)


SIGNS = ("20 mph", "30 mph", "40 mph", "National speed limit")


def describe(folder, name="Traffic signs", data=SIGNS, poisoned="National speed limit"):
    """Writes the credentials of a system into a folder, one of its data sets claimed to be poisoned."""
    issuer = Issuer(KEY)
    described = describe_system(
        issuer,
        name,
        weights=artifact(f"{name}.safetensors".lower()),
        data=[artifact(text) for text in data],
        training_code=artifact("train.py"),
        inference_code=artifact("serve.py"),
        settings={"architecture": "resnet18"},
    )
    for document in described.data:
        if document["credentialSubject"]["name"] == poisoned:
            evidence = [Evidence("activation ranking", "1", 0.98, threshold=0.5)]
            said = {"type": "data injection", "severity": "high", "description": "a yellow patch in the corner"}
            issuer.poisoning(document, **said, evidence=evidence, date="2026-03-31")
    issuer.write(folder)
    return described


def unsigned(kind, subject):
    document = issue(kind, subject, KEY)
    del document["proof"]
    document["issuer"] = "urn:uuid:57338930-b10c-43b6-8106-6c00cce3600d"
    return document


@pytest.fixture(scope="session")
def battery(tmp_path_factory):
    """A folder as TAIBOM's simulator reads them: signed and unsigned credentials, and scenarios."""
    folder = tmp_path_factory.mktemp("battery") / "road-signs"
    described = describe(folder / "inference_claims" / "ours")
    describe(folder / "inference_claims" / "theirs", name="Parking signs", data=("No parking", "No stopping"))
    polluted = {"type": "pollution", "pollution": {"date": "2026-03-31", "type": "mislabelled"}}
    claim = unsigned("pollution-attestation", {"component": link_to(described.data[2]), "attestation": polluted})
    (folder / "polluted.json").write_text(json.dumps(claim))
    goals = [
        {"name": "Is it poisoned?", "query": f'ai_system_has_data_poisoning("{described.id}", Attestations)'},
        {
            "name": "Is Tony trusted?",
            "query": f'ai_system_providers_trusted_with_whitelist("{described.id}", ["tony@example.org"])',
        },
        {"name": "Packs", "query": 'datapacks_containing_data_id("urn:uuid:1", Packs)'},
        {"name": "Program", "query": 'shell("id"), ai_system_has_data_poisoning("x", Y)'},
    ]
    (folder / "scenarios.json").write_text(json.dumps({"scenarios": [{"name": "Release 4", "queries": goals}]}))
    return folder


@pytest.fixture(scope="session")
def system_id(battery):
    for file in (battery / "inference_claims" / "ours").glob("ai-system-*.json"):
        document = json.loads(file.read_text())
        if document["credentialSubject"]["label"] == "Inferencing":
            return document["id"]
    raise AssertionError


@contextmanager
def served(site: Site, name="127.0.0.1"):
    """Yields the address at which a real server serves a site."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = server_of(site, name)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def site(battery):
    with open_battery(battery, key=SigningKey.new()) as opened:
        yield opened


@pytest.fixture
def address(site):
    with served(site) as url:
        yield url
