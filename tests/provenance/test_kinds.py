"""Every kind of credential: what it takes, what it refuses, and which schema URLs name it."""

import jsonschema
import pytest

from theriac.provenance.canonical import Invalid
from theriac.provenance.credentials import issue
from theriac.provenance.kinds import KINDS, RELATIONS, check_subject, is_foreign, json_schema, kind_of, schema_url

from .subjects import COVERAGE, LINK, SUBJECTS

TAIBOM_FILES = "https://github.com/nqminds/Trusted-AI-BOM/blob/main/packages/schemas/src/taibom-schemas"


def test_there_is_an_example_of_every_kind():
    assert SUBJECTS.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_strict(key, kind):
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(SUBJECTS[kind])
    check_subject(kind, SUBJECTS[kind])
    wrong = [{name: SUBJECTS[kind][name]} for name in SUBJECTS[kind]]
    if kind != "sbom":  # a bill of materials is in somebody else's format
        wrong.append(SUBJECTS[kind] | {"extra": 1})
    for subject in wrong:
        assert not validator.is_valid(subject)
        with pytest.raises(Invalid, match=f"not a {kind} credential"):
            issue(kind, subject, key)


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_takes_another_type(kind):
    """Every value of an example is replaced by a wrong one, at every depth outside an SBOM."""
    for changed in _changed(SUBJECTS[kind]):
        with pytest.raises(Invalid):
            check_subject(kind, changed)


def _changed(value):
    """Yields copies of ``value`` in which one part is of a type that no field has: a list in a list."""
    yield [[value]]
    for name, inner in value.items() if isinstance(value, dict) else []:
        if name in ("metadata", "sbom") and isinstance(inner, dict) and "id" not in inner:
            continue
        for changed in _changed(inner):
            yield value | {name: changed}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if RELATIONS.get(kind)])
def test_links_carry_a_digest(kind):
    for relation in RELATIONS[kind]:
        listed = isinstance(SUBJECTS[kind][relation], list)
        for link in ({"id": "urn:x"}, LINK | {"hash": "ab" * 32}, LINK | {"id": "no uri"}, LINK | {"more": 1}):
            with pytest.raises(Invalid, match=relation):
                check_subject(kind, SUBJECTS[kind] | {relation: [link] if listed else link})


@pytest.mark.parametrize(
    "change",
    [
        {"label": "training"},
        {"hash": "AB" * 32},
        {"hash": "ab" * 32},  # which algorithm?
        {"name": "a\x1b[31m"},
        {"name": ""},
        {"name": 5},
        {"name": "x" * 501},
        {"lastAccessed": "yesterday"},
        {"location": {"type": "local", "path": "a", "x": "b"}},
        {"omsRootDigest": "ab" * 32},
        {"derivedFrom": []},
    ],
)
def test_data_that_does_not_fit_its_schema(key, change):
    with pytest.raises(Invalid, match="not a data credential"):
        issue("data", SUBJECTS["data"] | change, key)


@pytest.mark.parametrize(("kind", "relation"), [("data-pack", "datasets"), ("data", "derivedFrom")])
def test_lists_name_each_credential_once(key, kind, relation):
    again = LINK | {"hash": "sha256:" + "1" * 64}
    with pytest.raises(Invalid, match="listed twice"):
        issue(kind, SUBJECTS[kind] | {relation: [LINK, again]}, key)


def test_more_cannot_be_examined_than_there_is():
    claim = SUBJECTS["checked-attestation"]["attestation"]
    check = claim["check"] | {"coverage": COVERAGE | {"examined": 5}}
    with pytest.raises(Invalid, match="more was examined than there is"):
        check_subject("checked-attestation", {"component": LINK, "attestation": claim | {"check": check}})


def test_checks_issued_before_there_was_coverage_stay_readable():
    claim = SUBJECTS["poisoning-check-attestation"]["attestation"]
    check = {name: value for name, value in claim["check"].items() if name != "coverage"}
    check_subject("poisoning-check-attestation", {"component": LINK, "attestation": claim | {"check": check}})


def named(url):
    return {"credentialSchema": {"id": url, "type": "JsonSchema"}}


@pytest.mark.parametrize("kind", KINDS)
def test_our_schemas_are_not_foreign(kind):
    assert (kind_of(named(schema_url(kind))), is_foreign(named(schema_url(kind)))) == (kind, False)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"{TAIBOM_FILES}/5-identity.v1.0.0.schema.yaml", "identity"),
        (f"{TAIBOM_FILES}/10-data.v1.0.1.schema.yaml", "data"),
        (f"{TAIBOM_FILES}/20-data-pack.v1.0.1.schema.yaml", "data-pack"),
        (f"{TAIBOM_FILES}/25-config.v1.0.1.schema.yaml", "config"),
        (f"{TAIBOM_FILES}/30-sbom.v1.0.0.schema.json", "sbom"),
        (f"{TAIBOM_FILES}/40-code.v12.3.4.schema.yaml", "code"),
        (f"{TAIBOM_FILES}/50-ai-system.v1.0.0.schema.yaml", "ai-system"),
        (f"{TAIBOM_FILES}/60-attestation.v1.0.0.schema.yaml", "attestation"),
        (f"{TAIBOM_FILES}/61-licence-attestation.v1.0.0.schema.yaml", "licence-attestation"),
        (f"{TAIBOM_FILES}/61-license-attestation.v1.0.0.schema.yaml", "licence-attestation"),
        (f"{TAIBOM_FILES}/62-sbom-attestation.v1.0.0.schema.yaml", "sbom-attestation"),
        (f"{TAIBOM_FILES}/65-poisoning-attestation.v1.0.0.schema.yaml", "poisoning-attestation"),
        (f"{TAIBOM_FILES}/66-polluted-attestation.v1.0.0.schema.yaml", "pollution-attestation"),
        (f"{TAIBOM_FILES}/66-pollution-attestation.v1.0.0.schema.yaml", "pollution-attestation"),
        (
            f"{TAIBOM_FILES}/69-functional-performance-attestation.v1.0.0.schema.yaml",
            "functional-performance-attestation",
        ),
        ("https://taibom.org/schemas/poisoning-attestation/v1.0.0/Poisoning%20Attestation/", "poisoning-attestation"),
        ("https://taibom.org/schemas/data-pack/v1.0.0/TAIBOM%20Datapack/", "data-pack"),
        ("https://taibom.org/schemas/datapack/v2.0.0", "data-pack"),
        ("https://taibom.org/schemas/license-attestation/v1.0.0/", "licence-attestation"),
        ("https://taibom.org/schemas/polluted-attestation/v1.0.0/x", "pollution-attestation"),
    ],
)
def test_both_of_taiboms_url_families(url, kind):
    assert (kind_of(named(url)), is_foreign(named(url))) == (kind, True)


@pytest.mark.parametrize(
    "url",
    [
        f"{TAIBOM_FILES}/10-data.v1.0.0.schema.yaml\n",
        f"{TAIBOM_FILES}/10-data.v1.0.0.schema.yaml?x",
        f"{TAIBOM_FILES}/10-data.v1.0.0.schema.yaml#x",
        f"{TAIBOM_FILES}/10-data.v1.0.schema.yaml",
        f"{TAIBOM_FILES}/10-data.v1.0.٠.schema.yaml",
        f"{TAIBOM_FILES}/11-data.v1.0.0.schema.yaml",
        f"{TAIBOM_FILES}/10-code.v1.0.0.schema.yaml",
        f"{TAIBOM_FILES}/../../../evil/10-data.v1.0.0.schema.yaml",
        f"http{TAIBOM_FILES.removeprefix('https')}/10-data.v1.0.0.schema.yaml",
        TAIBOM_FILES.replace("nqminds", "nqm1nds") + "/10-data.v1.0.0.schema.yaml",
        TAIBOM_FILES.replace("github.com", "github.com.evil.example") + "/10-data.v1.0.0.schema.yaml",
        f"https://evil.example/{TAIBOM_FILES}/10-data.v1.0.0.schema.yaml",
        "https://taibom.org/schemas/poisoning/v1.0.0/",
        "https://taibom.org@evil.example/schemas/data/v1.0.0/",
        "https://taibom.org/schemas/data/v1.0.0/../../x",
        "https://taiboẹm.org/schemas/data/v1.0.0/",
        "https://taibom.org/schemas/data/v1.0.0/" + "x" * 500,
        f"{schema_url('data')}/",
        f"{schema_url('data')}1",
        schema_url("attestation"),
        schema_url("data").replace("theriac.dev", "theriac.dev.evil.example"),
        schema_url("data").upper(),
        "",
        5,
        None,
        ["https://taibom.org/schemas/data/v1.0.0/"],
    ],
)
def test_look_alikes_are_of_no_kind(url):
    assert (kind_of(named(url)), is_foreign(named(url))) == (None, False)


@pytest.mark.parametrize("schema", [None, [], "x", {}])
def test_a_schema_that_is_none(schema):
    assert kind_of({"credentialSchema": schema}) is None
