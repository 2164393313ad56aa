"""Graphs of unsigned credentials as TAIBOM's tools write them: one like its sample, and random ones full of faults."""

import itertools
import random

SCHEMAS = "https://github.com/nqminds/Trusted-AI-BOM/blob/main/packages/schemas/src/taibom-schemas/"
STEMS = {
    "identity": "5-identity",
    "data": "10-data",
    "data-pack": "20-data-pack",
    "config": "25-config",
    "sbom": "30-sbom",
    "code": "40-code",
    "ai-system": "50-ai-system",
    "vulnerability-attestation": "63-vulnerability-attestation",
    "provided-attestation": "64-provided-attestation",
    "poisoning-attestation": "65-poisoning-attestation",
    "pollution-attestation": "66-pollution-attestation",
    "bias-attestation": "67-bias-attestation",
    "best-practice-attestation": "68-best-practice-attestation",
    "functional-performance-attestation": "69-functional-performance-attestation",
}
SYSTEM, TRAINING, WEIGHTS = "urn:uuid:system", "urn:uuid:training", "urn:uuid:weights"
SIGNS = ("20mph", "30mph", "40mph", "50mph", "national")
CLAIMED = {
    "poisoning": {"poisoning": {"date": "31-03-2025", "type": "data injection", "severity": "high"}},
    "pollution": {"pollution": {"date": "31-03-2025", "type": "mislabelled"}},
    "bias": {"bias": {"types": ["selection"], "severity": "low"}},
    "vulnerability": {"vulnerability": {"id": "CVE-2026-1", "severity": "High"}},
    "best practice": {"best_practice": {"type": "curation"}},
    "functional performance": {"task_type": "classification", "primary_metric": {"name": "F1", "value": 0.9}},
}
_numbers = itertools.count()


def credential(kind, id, subject, issuer="urn:uuid:tony"):
    """Returns an unsigned credential."""
    return {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "id": id,
        "type": "VerifiableCredential",
        "issuer": issuer,
        "validFrom": "2025-04-09T10:37:13.438Z",
        "credentialSchema": {"id": f"{SCHEMAS}{STEMS[kind]}.v1.0.0.schema.yaml", "type": "JsonSchema"},
        "credentialSubject": subject,
    }


def link(id, hash="c2lnbmF0dXJl"):
    return {"id": id, "hash": hash}


def hash_of(name):
    return name.encode().hex().ljust(64, "0")[:64]


def data(id, name, label="Training", **change):
    location = {"type": "local", "path": f"file://../{name}/"}
    return credential("data", id, {"name": name, "label": label, "location": location, "hash": hash_of(name)} | change)


def code(id, name, **change):
    location = {"type": "local", "path": f"file://../{name}"}
    subject = {"name": name, "version": "1", "location": location, "hash": {"value": hash_of(name)}}
    return credential("code", id, subject | change)


def sbom(id):
    subject = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": id, "version": 1}
    return credential("sbom", id, subject | {"metadata": {}, "components": []})


def identity(email, uuid):
    subject = {"name": email, "email": email, "uuid": uuid, "pub": "key", "role": "engineer"}
    return credential("identity", f"urn:uuid:identity-{next(_numbers)}", subject)


def claim(type, component, hash="placeholder_hash", **details):
    """Returns an attestation of a type about a component; ``details`` are added to what it claims."""
    claimed = dict(CLAIMED[type])
    name = next(iter(claimed))
    if details:
        claimed[name] |= details
    subject = {"component": link(component, hash), "attestation": {"type": type, **claimed}}
    return credential(f"{type.replace(' ', '-')}-attestation", f"urn:uuid:claim-{next(_numbers)}", subject)


def provided(component, uuid):
    subject = {"component": link(component, "x"), "attestation": {"type": "provided", "provider": {"uuid": uuid}}}
    return credential("provided-attestation", f"urn:uuid:claim-{next(_numbers)}", subject)


def system(id, label, data, code, name="signs"):
    return credential("ai-system", id, {"name": name, "label": label, "data": link(data), "code": link(code)})


def sample():
    """Returns a graph of the topology of TAIBOM's sample: 31 credentials, one of each claim, one poisoned data set."""
    documents = [
        system(SYSTEM, "Inferencing", "urn:uuid:config", "urn:uuid:inference-code"),
        system(TRAINING, "Training", "urn:uuid:pack", "urn:uuid:training-code"),
        credential(
            "config",
            "urn:uuid:config",
            {"name": "config", "aiSystem": link(TRAINING, "b"), "data": link(WEIGHTS, "c")},
        ),
        data(WEIGHTS, "classifier.keras", "Weights"),
        credential(
            "data-pack", "urn:uuid:pack", {"name": "signs", "datasets": [link(f"urn:uuid:{sign}") for sign in SIGNS]}
        ),
        *(data(f"urn:uuid:{sign}", sign) for sign in SIGNS),
        *(provided(id, "urn:uuid:tony") for id in (WEIGHTS, *(f"urn:uuid:{sign}" for sign in SIGNS))),
        identity("tony@example.org", "urn:uuid:tony"),
    ]
    for use in ("inference", "training"):
        documents.append(code(f"urn:uuid:{use}-code", f"{use}.py", sbom=link(f"urn:uuid:{use}-sbom", f"{use} sbom")))
        documents += [sbom(f"urn:uuid:{use}-sbom"), claim("vulnerability", f"urn:uuid:{use}-sbom", id=f"CVE-{use}")]
    documents += [claim("best practice", id) for id in (SYSTEM, TRAINING, "urn:uuid:30mph")]
    documents += [
        claim("poisoning", "urn:uuid:national", hash_of("national"), description="injection of malicious data"),
        claim("pollution", "urn:uuid:40mph", hash_of("40mph")),
        claim("bias", "urn:uuid:30mph", hash_of("30mph")),
        claim("bias", "urn:uuid:50mph", hash_of("classifier.keras")),
        claim("functional performance", SYSTEM),
    ]
    return documents


class RandomGraph:
    """A small graph with many faults: missing and doubled facts, wrong labels and kinds, cycles, unknown ids."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = [f"name {n}" for n in range(4)]
        self.uuids = [f"urn:uuid:provider-{n}" for n in range(3)]
        self.emails = [f"{name}@example.org" for name in ("ann", "bob", "eve")]
        numbers = {"s": 3, "t": 3, "c": 4, "w": 3, "p": 3, "d": 5, "k": 3, "b": 3}
        self.ids = {kind: [f"urn:uuid:{kind}{n}" for n in range(number)] for kind, number in numbers.items()}
        self.every = [id for ids in self.ids.values() for id in ids]
        self.documents = [
            self._document(kind, id)
            for kind, ids in self.ids.items()
            for id in ids
            for _ in range(self.random.choice((0, 1, 1, 1, 1, 1, 1, 1, 2)))
        ]
        for uuid, email in zip(self.uuids, self.emails, strict=True):
            if self._chance(0.9):
                self.documents.append(identity(email, uuid))
        self.documents += [self._claim() for _ in range(self.random.randint(0, 25))]
        self.random.shuffle(self.documents)

    def _chance(self, probability):
        return self.random.random() < probability

    def _link(self, kind, may_lack_hash=False):
        id = self.random.choice(self.ids[kind])
        if self._chance(0.08):
            id = self.random.choice([*self.every, "urn:uuid:nowhere"])
        if may_lack_hash and self._chance(0.05):
            return {"id": id}
        return link(id, self.random.choice(("one", "two", "three")))

    def _document(self, kind, id):
        pick = self.random.choice
        if kind in "st":
            label = ("Inferencing", "Training")[(kind == "t") ^ self._chance(0.08)]
            subject = {"name": "system", "label": label, "code": self._link("k", True)}
            return credential("ai-system", id, subject | {"data": self._link("c" if kind == "s" else "p", True)})
        if kind == "c":
            return credential("config", id, {"name": "c", "aiSystem": self._link("t"), "data": self._link("w")})
        if kind in "wd":
            label = ("Weights", "Training")[(kind == "d") ^ self._chance(0.08)]
            missing = {"hash": None, "hashLocation": "somewhere"} if kind == "w" and self._chance(0.1) else {}
            document = data(id, pick(self.names), label, **missing)
            if missing:
                del document["credentialSubject"]["hash"]
            return document
        if kind == "p":
            return credential(
                "data-pack",
                id,
                {"name": "pack", "datasets": [self._link("d") for _ in range(self.random.randint(1, 4))]},
            )
        if kind == "k":
            return code(id, pick(self.names), **({} if self._chance(0.15) else {"sbom": self._link("b")}))
        return sbom(id)

    def _claim(self):
        type = self.random.choice([*CLAIMED, "provided", "provided", "poisoning"])
        likely = {"vulnerability": "b", "best practice": "stdw", "functional performance": "s"}.get(type, "d")
        id = self.random.choice(self.ids[self.random.choice(likely)])
        if self._chance(0.15):
            id = self.random.choice([*self.every, "urn:uuid:nowhere"])
        if type == "provided":
            return provided(id, self.random.choice(self.uuids))
        document = claim(type, id, self.random.choice(("one", "placeholder_hash")))
        if type in ("poisoning", "pollution", "bias") and self._chance(0.1):
            document["credentialSubject"]["attestation"]["type"] = type.capitalize()
        return document
