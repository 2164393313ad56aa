"""Graphs of signed credentials: a whole system, and what can be said about it."""

from theriac.provenance import issue, link_to

from .conftest import PAST
from .random_graphs import hash_of
from .subjects import PLACE, SBOM, SUBJECTS


def data(name, label="Training", derived=()):
    """Returns what a credential about data says."""
    subject = {"name": name, "label": label, "location": PLACE, "hash": "sha256:" + hash_of(name)}
    subject["lastAccessed"] = "2026-01-01T00:00:00Z"
    return subject | ({"derivedFrom": [link_to(document) for document in derived]} if derived else {})


class SignedGraph:
    """Issues credentials into a store and keeps them by name; the name is the end of the id, too."""

    def __init__(self, store, key):
        self.store, self.key, self.documents = store, key, {}

    def __getitem__(self, name):
        return self.documents[name]

    def id(self, name):
        return self.documents[name]["id"]

    def add(self, name, kind, subject, key=None, **options):
        """Issues and stores a credential."""
        options = {"valid_from": PAST, "id": f"urn:x:{name}"} | options
        document = self.documents[name] = issue(kind, subject, key or self.key, **options)
        self.store.add([document])
        return document

    def pack(self, name, *parts):
        return self.add(name, "data-pack", {"name": name, "datasets": [link_to(self[part]) for part in parts]})

    def code(self, name):
        self.add(f"{name}-sbom", "sbom", SBOM)
        subject = {"name": name, "version": "1", "location": PLACE, "hash": {"value": "sha256:" + hash_of(name)}}
        return self.add(name, "code", subject | {"sbom": link_to(self[f"{name}-sbom"])})

    def trained(self, weights, pack, code=None):
        """Says what trained these weights."""
        self.system(f"{weights}-training", "Training", pack, code)
        parts = {"aiSystem": link_to(self[f"{weights}-training"]), "data": link_to(self[weights])}
        return self.add(f"{weights}-config", "config", {"name": weights, **parts})

    def system(self, name, label, data, code=None, **options):
        subject = {"name": name, "label": label, "data": link_to(self[data])}
        return self.add(name, "ai-system", subject | ({"code": link_to(self[code])} if code else {}), **options)

    def claim(self, kind, component, key=None, name=None, link=None, claimed=None, **options):
        """Issues an attestation about a part."""
        subject = dict(SUBJECTS[f"{kind}-attestation"], component=link or link_to(self[component]))
        if claimed:
            subject["attestation"] = subject["attestation"] | claimed
        return self.add(name or f"{kind}-{len(self.documents)}", f"{kind}-attestation", subject, key, **options)

    def provided(self, component, uuid, key=None):
        return self.claim("provided", component, key, claimed={"provider": {"uuid": uuid}})

    def identity(self, name):
        subject = SUBJECTS["identity"] | {"name": name, "email": f"{name}@example.org", "uuid": f"urn:uuid:{name}"}
        return self.add(name, "identity", subject)

    def retract(self, name, key=None, **options):
        subject = {"retracts": link_to(self[name]), "reason": "was wrong"}
        return self.add(f"no-{name}-{len(self.documents)}", "retraction", subject, key, **options)


def signs(store, key):
    """Returns a described system: inference and training code with SBOMs, weights, and two data sets in a pack."""
    graph = SignedGraph(store, key)
    for name in ("red", "blue"):
        graph.add(name, "data", data(name))
    graph.pack("pack", "red", "blue")
    graph.add("weights", "data", data("weights", "Weights"))
    for code in ("train", "serve"):
        graph.code(code)
    graph.trained("weights", "pack", "train")
    graph.system("system", "Inferencing", "weights-config", "serve")
    return graph
