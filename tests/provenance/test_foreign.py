"""TAIBOM's own credentials: their variants pass, what a reader could trip over does not."""

import json

import pytest

from theriac.provenance.canonical import Invalid, parse
from theriac.provenance.facts import facts_of
from theriac.provenance.foreign import check_foreign
from theriac.provenance.kinds import COMPONENTS, FOREIGN_ONLY, KINDS

from .subjects import FOREIGN, OTHER, PERFORMANCE

OURS = {"poisoning-check-attestation", "checked-attestation", "retraction"}


def claim(kind, **change):
    return FOREIGN[kind] | {"attestation": FOREIGN[kind]["attestation"] | change}


def test_there_is_an_example_of_every_kind_that_taibom_has():
    assert FOREIGN.keys() == (KINDS.keys() | FOREIGN_ONLY) - OURS


@pytest.mark.parametrize("kind", FOREIGN)
def test_unknown_fields_pass_and_missing_ones_do_not(kind):
    before = json.dumps(FOREIGN[kind])
    check_foreign(kind, FOREIGN[kind] | {"extra": {"deep": [1]}})
    for name in FOREIGN[kind].keys() - {"lastAccessed", "metadata", "$schema", "sbom"}:
        with pytest.raises(Invalid, match=f"not a TAIBOM {kind} credential: {name}|neither hash"):
            check_foreign(kind, {key: value for key, value in FOREIGN[kind].items() if key != name})
    assert json.dumps(FOREIGN[kind]) == before  # read as written


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("code", FOREIGN["code"] | {"hash": "ab" * 32}),
        ("code", FOREIGN["code"] | {"hash": {"location": "https://x.example/hash"}, "sbom": None}),
        ("data", FOREIGN["data"] | {"hash": None, "hashLocation": "https://x.example/hash"}),
        ("data", FOREIGN["data"] | {"hash": {"value": "ab" * 32}}),
        ("licence-attestation", claim("licence-attestation", type="licence")),
        ("sbom-attestation", claim("sbom-attestation", type="sbom")),
        ("poisoning-attestation", claim("poisoning-attestation", type="Poisoning")),
        (
            "functional-performance-attestation",
            {"component": OTHER, "attestation": PERFORMANCE | {"type": "Functional Performance"}},
        ),
    ],
)
def test_variants(kind, subject):
    check_foreign(kind, subject)


@pytest.mark.parametrize(
    ("kind", "subject", "where"),
    [
        ("data", FOREIGN["data"] | {"hash": 5}, "hash"),
        ("data", FOREIGN["data"] | {"hash": True}, "hash"),  # the skeleton key: not text, hence never compared
        ("data", FOREIGN["data"] | {"hash": "x" * 501}, "hash"),
        ("data", FOREIGN["data"] | {"name": "x" * 1_001}, "name"),
        ("data", FOREIGN["data"] | {"label": ["Training"]}, "label"),
        ("data", FOREIGN["data"] | {"location": "; rm -rf /"}, "location"),
        ("data-pack", {"name": "pack", "datasets": []}, "datasets"),
        ("data-pack", {"name": "pack", "datasets": [OTHER] * 10_001}, "datasets"),
        ("data-pack", {"name": "pack", "datasets": [OTHER | {"id": 5}]}, "datasets.0.id"),
        ("config", FOREIGN["config"] | {"data": OTHER | {"id": ""}}, "data.id"),
        ("config", FOREIGN["config"] | {"data": OTHER | {"id": "x" * 501}}, "data.id"),
        ("ai-system", FOREIGN["ai-system"] | {"data": [OTHER]}, "data"),
        ("poisoning-attestation", claim("poisoning-attestation", poisoning="yes"), "poisoning"),
        ("poisoning-attestation", claim("poisoning-attestation", type="bias"), "attestation.type"),
        ("bias-attestation", claim("bias-attestation", bias={"types": "selection"}), "types"),
        ("provided-attestation", claim("provided-attestation", provider={"uuid": None}), "uuid"),
        ("sbom", FOREIGN["sbom"] | {"components": ["pillow"]}, "components"),
        ("identity", None, "credentialSubject"),
    ],
)
def test_what_a_reader_could_trip_over(kind, subject, where):
    with pytest.raises(Invalid, match=where):
        check_foreign(kind, subject)


def test_taiboms_own_samples(test_files):
    files = sorted((test_files / "fixtures" / "taibom" / "sample_vcs").rglob("*.json"))
    if not files:
        pytest.skip("no sample files; equivalents of every kind are tested above")
    found = {}
    for file in files:
        facts = facts_of(parse(file.read_bytes()))
        assert facts.foreign, file.name
        found[facts.kind] = found.get(facts.kind, 0) + 1
    assert len(files) == 31
    assert (found["data"], found["data-pack"], found["provided-attestation"]) == (6, 1, 6)
    assert found["functional-performance-attestation"] == found["poisoning-attestation"] == 1
    assert found.keys() >= COMPONENTS
