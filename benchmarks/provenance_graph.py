"""Synthetic credentials for the benchmark of the store: AI systems, some of them fine-tuned, and claims of poisoning.

A system is ten credentials: it, its config, weights, training system, code and pack, and four data sets. 30 % have
weights derived from an earlier system's. 2.5 % as many claims of poisoning as credentials are about random data sets.
"""

import json
import random
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from theriac.files import replacing
from theriac.provenance.canonical import canonical
from theriac.provenance.credentials import issue, link_to
from theriac.provenance.keys import SigningKey

PER_SYSTEM = 10
DATA_PER_SYSTEM = 4
CHUNK = 500  # systems
SIGNED = datetime(2026, 1, 1, tzinfo=UTC)


def system_id(number: int) -> str:
    """Returns the id of a system."""
    return _id("system", number)


def data_id(number: int) -> str:
    """Returns the id of a data set."""
    return _id("data", number)


def write_graph(path: Path, credentials: int, seed: int, workers: int) -> dict[str, int]:
    """Writes about so many credentials as JSON Lines; returns how many there are of what."""
    systems = round(credentials * 0.975 / PER_SYSTEM)
    claims = round(credentials * 0.025)
    jobs = [(start, min(start + CHUNK, systems), claims * CHUNK // systems, seed) for start in range(0, systems, CHUNK)]
    written = 0
    with replacing(path) as temporary, temporary.open("wb") as file, ProcessPoolExecutor(workers) as pool:
        for lines in pool.map(_chunk, *zip(*jobs, strict=True)):
            file.writelines(line + b"\n" for line in lines)
            written += len(lines)
    return {"credentials": written, "systems": systems, "data": systems * DATA_PER_SYSTEM}


def graph_at(path: Path, credentials: int, seed: int, workers: int) -> dict[str, int]:
    """Writes the graph unless an earlier run has; returns how many credentials there are of what."""
    noted = path.with_suffix(".json")
    if not noted.exists():
        noted.write_text(json.dumps(write_graph(path, credentials, seed, workers)))
    counts: dict[str, int] = json.loads(noted.read_text())
    return counts


def write_crowd(path: Path, rows: int, workers: int) -> str:
    """Writes a system whose one pack lists ``rows`` data sets, as JSON Lines; returns the system's id."""
    key = SigningKey.from_seed(bytes(32))
    links = []
    with replacing(path) as temporary, temporary.open("wb") as file, ProcessPoolExecutor(workers) as pool:
        for lines, linked in pool.map(_crowd, range(0, rows, 2000), [rows] * (-(-rows // 2000))):
            file.writelines(line + b"\n" for line in lines)
            links += linked
        pack = issue("data-pack", {"name": "crowd", "datasets": links}, key, valid_from=SIGNED)
        training = _issue(key, "ai-system", {"name": "crowd", "label": "Training", "data": link_to(pack)})
        weights = _issue(key, "data", _data("crowd weights", "Weights"))
        config = _issue(key, "config", {"name": "crowd", "aiSystem": link_to(training), "data": link_to(weights)})
        system = _issue(key, "ai-system", {"name": "crowd", "label": "Inferencing", "data": link_to(config)})
        file.writelines(canonical(document) + b"\n" for document in (pack, training, weights, config, system))
    return str(system["id"])


def _chunk(start: int, stop: int, claims: int, seed: int) -> list[bytes]:
    key = SigningKey.from_seed(bytes([1 + start // CHUNK % 200]) * 32)
    rng = random.Random(f"{seed} {start}")
    lines: list[bytes] = []
    own: list[dict[str, str]] = []
    weights: list[dict[str, str]] = []
    for number in range(start, stop):
        documents = list(_system(key, number, rng, weights))
        own += [link_to(document) for document in documents[:DATA_PER_SYSTEM]]
        lines += [canonical(document) for document in documents]
    for component in rng.sample(own, min(claims, len(own))):
        details = {"date": "2026-01-01", "type": "data injection", "severity": "high", "description": "a trigger patch"}
        claim = {"component": component, "attestation": {"type": "poisoning", "poisoning": details}}
        lines.append(canonical(_issue(key, "poisoning-attestation", claim)))
    return lines


def _system(key: SigningKey, number: int, rng: random.Random, weights: list[dict[str, str]]) -> Iterator[dict]:
    first = number * DATA_PER_SYSTEM
    data = [
        _issue(key, "data", _data(f"data {n}", "Training"), data_id(n)) for n in range(first, first + DATA_PER_SYSTEM)
    ]
    yield from data
    pack = _issue(key, "data-pack", {"name": f"pack {number}", "datasets": [link_to(document) for document in data]})
    location = {"type": "local", "path": "train.py"}
    code_subject = {"name": "train.py", "version": "1", "location": location, "hash": {"value": _hash(f"c{number}")}}
    code = _issue(key, "code", code_subject, _id("code", number))
    system = {"name": f"training {number}", "label": "Training", "code": link_to(code), "data": link_to(pack)}
    training = _issue(key, "ai-system", system)
    made = _data(f"weights {number}", "Weights")
    if weights and rng.random() < 0.3:
        made["derivedFrom"] = [rng.choice(weights)]
    made_vc = _issue(key, "data", made)
    weights.append(link_to(made_vc))
    config = _issue(
        key, "config", {"name": f"config {number}", "aiSystem": link_to(training), "data": link_to(made_vc)}
    )
    running = {"name": f"system {number}", "label": "Inferencing", "data": link_to(config)}
    yield from (pack, code, training, made_vc, config, _issue(key, "ai-system", running, system_id(number)))


def _crowd(start: int, rows: int) -> tuple[list[bytes], list[dict[str, str]]]:
    key = SigningKey.from_seed(bytes(32))
    documents = [_issue(key, "data", _data(f"row {n}", "Training")) for n in range(start, min(start + 2000, rows))]
    return [canonical(document) for document in documents], [link_to(document) for document in documents]


def _issue(key: SigningKey, kind: str, subject: dict, id: str | None = None) -> dict:
    return issue(
        kind,
        subject,
        key,
        valid_from=SIGNED,
        id=id or _id(kind, subject["name"] if "name" in subject else str(subject)),
    )


def _data(name: str, label: str) -> dict:
    return {
        "name": name,
        "label": label,
        "location": {"type": "local", "path": name.replace(" ", "-")},
        "hash": _hash(name),
        "lastAccessed": "2026-01-01T00:00:00Z",
    }


def _hash(text: str) -> str:
    return f"sha256:{uuid.uuid5(uuid.NAMESPACE_OID, text).hex}{uuid.uuid5(uuid.NAMESPACE_DNS, text).hex}"


def _id(*parts: object) -> str:
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ' '.join(map(str, parts)))}"
