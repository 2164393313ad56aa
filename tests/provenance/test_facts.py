"""What the graph is told of each credential."""

import pytest

from theriac.provenance.canonical import Invalid
from theriac.provenance.credentials import issue, open_envelope
from theriac.provenance.facts import Facts, Link, details_of, facts_of
from theriac.provenance.kinds import COMPONENTS, FOREIGN_ONLY, KINDS, schema_url

from .subjects import FOREIGN, HASH, LINK, OTHER, SUBJECTS


def ours(kind, subject=None):
    return {"credentialSchema": {"id": schema_url(kind)}, "credentialSubject": subject or SUBJECTS[kind]}


def theirs(kind, subject=None):
    url = f"https://taibom.org/schemas/{kind}/v1.0.0/"
    return {"credentialSchema": {"id": url}, "credentialSubject": subject or FOREIGN[kind]}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_ours(kind):
    facts = facts_of(ours(kind))
    assert (facts.kind, facts.foreign) == (kind, False)
    assert bool(facts.name) == (kind in COMPONENTS)
    assert bool(facts.type) == kind.endswith("attestation")
    assert bool(facts.links) == (kind not in {"identity", "sbom"})


@pytest.mark.parametrize("kind", FOREIGN)
def test_every_kind_of_taiboms(kind):
    facts = facts_of(theirs(kind))
    assert (facts.kind, facts.foreign) == (kind, True)
    assert bool(facts.name) == (kind in COMPONENTS)
    assert bool(facts.type) == (kind in KINDS.keys() | FOREIGN_ONLY and kind.endswith("attestation"))


def test_labels_names_and_content():
    link = Link("derivedFrom", LINK["id"], LINK["hash"])
    assert facts_of(ours("data")) == Facts("data", False, "Training", "signs", HASH, "", (link,))
    assert facts_of(theirs("data")) == Facts("data", True, "Training", "signs", "ab" * 32, "", ())
    assert facts_of(ours("code")).content == HASH
    for hash, content in (("cd", "cd"), ({"value": "cd"}, "cd"), ({"location": "x"}, "")):
        assert facts_of(theirs("code", FOREIGN["code"] | {"hash": hash})).content == content
    assert facts_of(theirs("data", FOREIGN["data"] | {"hash": None, "hashLocation": "x"})).content == ""
    assert facts_of(ours("sbom")).name == "trainer"
    assert facts_of(ours("sbom", SUBJECTS["sbom"] | {"metadata": {"component": [1]}})).name == ""
    assert facts_of(ours("ai-system")).label == "Inferencing"


def test_links():
    second = LINK | {"id": "urn:uuid:2"}
    system = ours("ai-system", SUBJECTS["ai-system"] | {"code": second})
    assert facts_of(system).links == (
        Link("code", second["id"], LINK["hash"]),
        Link("data", "urn:uuid:0", LINK["hash"]),
    )
    assert facts_of(theirs("ai-system")).links == (
        Link("code", "urn:uuid:2", ""),  # TAIBOM lets the hash be absent
        Link("data", "urn:uuid:0", OTHER["hash"]),
    )
    pack = {"name": "pack", "datasets": [OTHER, OTHER, OTHER | {"hash": "x"}]}
    assert len(facts_of(theirs("data-pack", pack)).links) == 2
    assert [link.relation for link in facts_of(ours("retraction")).links] == ["retracts"]


def test_only_the_links_of_its_kind_count():
    """A stranger's extra field must not become an edge of the graph."""
    smuggled = FOREIGN["data"] | {"datasets": [OTHER], "component": OTHER, "retracts": OTHER}
    assert facts_of(theirs("data", smuggled)).links == ()


def test_types_are_as_stated():
    assert facts_of(ours("licence-attestation")).type == "License"
    assert facts_of(theirs("functional-performance-attestation")).type == "best practice"


@pytest.mark.parametrize(
    "schema", [None, {"id": "https://x.example"}, {"id": schema_url("attestation")}, {"id": schema_url("nothing")}]
)
def test_nothing_is_read_from_an_unknown_kind(schema):
    document = {"credentialSchema": schema, "credentialSubject": SUBJECTS["data"]}
    assert facts_of(document) == Facts("", False, "", "", "", "", ())
    assert details_of(document) == {}


def test_which_schema_holds_is_told_by_the_url_only():
    with pytest.raises(Invalid, match="not a data credential"):
        facts_of(ours("data", FOREIGN["data"]))
    with pytest.raises(Invalid, match="not a TAIBOM data-pack credential"):
        facts_of(theirs("data-pack", SUBJECTS["data"]))


@pytest.mark.parametrize("subject", [None, [], "x", [SUBJECTS["data"]]])
def test_exactly_one_subject(subject):
    with pytest.raises(Invalid, match="exactly one credentialSubject"):
        facts_of({"credentialSchema": {"id": schema_url("data")}, "credentialSubject": subject})


def test_details():
    inner = {
        "vulnerability": "vulnerability",
        "provided": "provider",
        "poisoning": "poisoning",
        "pollution": "pollution",
        "bias": "bias",
        "best-practice": "best_practice",
        "sbom": "sbom",
    }
    for name, field in inner.items():
        for documents, make in ((SUBJECTS, ours), (FOREIGN, theirs)):
            kind = f"{name}-attestation"
            assert details_of(make(kind)) == documents[kind]["attestation"][field]
    assert details_of(ours("checked-attestation"))["matter"] == "bias"
    assert details_of(ours("poisoning-check-attestation"))["verdict"] == "clean"
    assert details_of(ours("licence-attestation")) == {"license": "Apache-2.0"}
    performance = details_of(theirs("functional-performance-attestation"))
    assert performance["primary_metric"]["value"] == 0.9
    assert "type" not in performance
    assert details_of(theirs("attestation"))["claimant"] == "Ann"
    assert details_of(ours("data")) == {}
    assert details_of(ours("poisoning-attestation", {"attestation": "broken"})) == {}


def test_an_envelope_carries_its_facts(key):
    document = issue("data", SUBJECTS["data"], key)
    assert open_envelope(document).facts == facts_of(document)
