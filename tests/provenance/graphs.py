"""Graphs of credentials as they occur: a whole system with claims, one with packs in packs and a base model, and a
broken one."""

from theriac.provenance import Accepted, Issuer, Store, ask, describe_system, issue, link_to

from .conftest import artifact

SAMPLE = "urn:uuid:3a02992b-7a5b-4184-ba1e-358850e5344c"
POISONED = "urn:uuid:5f6dc5e9-002e-4ec9-80c4-cae7e1940c6c"
HOSTILE = [
    '"]; click n1 "javascript:alert(1)"',
    "</title><script>alert(1)</script>",
    "`**x**` #quot; #35; & &amp; %%{init:{}}%%",
    "end\u202egnp.exe\u2066 \\",
    "']:- halt. \\x41\\ \\",
    '"). :- initialization(halt). p("',
    "路標 🚦 \u00a0é",
    "x" * 400,
]


def poison(issuer, component, severity="high"):
    return issuer.poisoning(component, type="data injection", severity=severity, description="a patch")


def attest(issuer, type, component, **claim):
    """Issues an attestation of any kind of ours."""
    kind = f"{type.replace(' ', '-').lower()}-attestation"
    return issuer.issue(kind, {"component": link_to(component), "attestation": {"type": type, **claim}})


def road_signs(issuer, evidence):
    """A system of five data sets, one of them poisoned, with claims of several kinds by one issuer."""
    names = ["20mph", "30mph", "40mph", "50mph", "national speed limit"]
    described = describe_system(
        issuer,
        "road signs",
        weights=artifact("model.safetensors"),
        data=[artifact(name) for name in names],
        training_code=artifact("train.py"),
        inference_code=artifact("serve.py"),
        settings={"classes": 5},
    )
    poison(issuer, described.data[4])
    attest(issuer, "pollution", described.data[2], pollution={"date": "2026-01-01", "type": "mislabelled"})
    attest(issuer, "bias", described.data[1], bias={"types": ["selection bias"], "severity": "low"})
    flaw = {"id": "CVE-2026-1", "severity": "High", "description": "runs code"}
    attest(issuer, "vulnerability", described.inference_code, vulnerability=flaw)
    attest(issuer, "provided", described.data[0], provider={"uuid": "urn:uuid:tony"})
    attest(issuer, "best practice", described.system, best_practice={"type": "training"})
    issuer.check(described.weights, verdict="clean", examined="all", limits=["semantics"], evidence=[evidence])
    return described


def fine_tuned(issuer, count=77):
    """A fine-tuned model: its data in a pack in a pack, its base model with a crowd of data, poison in both."""
    base = describe_system(
        issuer, "base", weights=artifact("base.safetensors"), data=[artifact(f"crawl {n}") for n in range(count)]
    )
    data = [issuer.data(artifact(f"signs {n}")) for n in range(3)]
    inner = issuer.issue("data-pack", {"name": "inner", "datasets": [link_to(item) for item in data[:2]]})
    links = [link_to(inner), link_to(data[2]), link_to(data[0])]
    outer = issuer.issue("data-pack", {"name": "outer", "datasets": links})
    training = issuer.issue("ai-system", {"name": "tuning", "label": "Training", "data": link_to(outer)})
    subject = issuer.data(artifact("tuned"), weights=True)["credentialSubject"]
    weights = issuer.issue("data", subject | {"name": "tuned 2", "derivedFrom": [link_to(base.weights)]})
    config = issuer.issue("config", {"name": "tuned", "aiSystem": link_to(training), "data": link_to(weights)})
    system = issuer.issue("ai-system", {"name": "reader", "label": "Inferencing", "data": link_to(config)})
    poison(issuer, base.data[-1])
    poison(issuer, data[1], "medium")
    return system


def broken(store, issuer, key):
    """A system with one data set missing, one substituted, and claims that do not count."""
    with Store(store.path + ".whole", write=True) as whole:
        made = Issuer(key, whole)
        described = describe_system(
            made, "camera", weights=artifact("m"), data=[artifact("here"), artifact("swapped"), artifact("gone")]
        )
    left_out = {described.data[1]["id"], described.data[2]["id"]}
    store.add(document for id, document in made.credentials.items() if id not in left_out)
    subject = described.data[1]["credentialSubject"] | {"name": "another"}
    store.add([issue("data", subject, key, id=described.data[1]["id"])])
    claim = poison(issuer, described.data[1])
    store.add([claim | {"validFrom": "2020-01-01T00:00:00Z"}])
    return described


def crowded(store, key, count=2002):
    """A system with more data sets than are looked at one by one, the last of them poisoned."""
    made = Issuer(key)
    data = [artifact(f"part {n}") for n in range(count)]
    described = describe_system(made, "big", weights=artifact("w"), data=data)
    poison(made, described.data[-1])
    store.add(made.credentials.values())
    return described


def hostile(issuer):
    """A system whose every name tries to be something else."""
    described = describe_system(
        issuer,
        HOSTILE[1],
        weights=artifact("w"),
        data=[artifact(name) for name in HOSTILE],
    )
    for data in described.data:
        issuer.poisoning(data, type='<b>"]|', severity="high", description=HOSTILE[5])
    return described


def add_taibom_sample(store, test_files):
    """Adds TAIBOM's own sample; its system is SAMPLE. Returns whether it is there."""
    files = sorted((test_files / "fixtures" / "taibom" / "sample_vcs").rglob("*.json"))
    store.add([file.read_bytes() for file in files], accepted=Accepted(unsigned=True))
    return bool(files)


def poisoning_of(store, id, **more):
    return ask(store, "data-poisoning", id, **more)
