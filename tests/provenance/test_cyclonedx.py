import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from theriac.errors import UserError
from theriac.provenance import Accepted, cyclonedx
from theriac.provenance import walk as walking
from theriac.provenance.claims import gather
from theriac.provenance.cyclonedx import to_cyclonedx, validate_cyclonedx
from theriac.provenance.policy import EVERYBODY, Policy, TrustedIssuer
from theriac.provenance.tables import CLAIMS
from theriac.provenance.walk import walk

from .conftest import PAST
from .graphs import POISONED, SAMPLE, add_taibom_sample, broken, crowded, fine_tuned, hostile
from .graphs import road_signs as make_road_signs
from .random_graphs import SYSTEM, credential, link, sample
from .signed import SignedGraph, data

TYPES = [kind.removesuffix("-attestation") for kind in CLAIMS]
VERSIONS = pytest.mark.parametrize("version", ["1.6", "1.7"])


def export(store, id, version="1.6", timestamp=PAST, policy=EVERYBODY):
    """The BOM of a system, after the strict validator has passed it."""
    now = datetime.now(UTC)
    with store.snapshot() as view:
        chain = walk(view, id, now, policy)
        claims = gather(view, chain, TYPES, now, policy)
        bom = to_cyclonedx(view, chain, claims, timestamp=timestamp, version=version)
    assert validate_cyclonedx(bom) == "" or len(bom["components"]) > cyclonedx.CHECKED
    assert bom["specVersion"] == version
    assert references(bom) <= names(bom)
    return bom


def components(bom):
    return [bom["metadata"]["component"], *bom["components"]]


def part(bom, ref):
    [found] = [component for component in components(bom) if component["bom-ref"] == ref]
    return found


def properties(component, name):
    return [item["value"] for item in component["properties"] if item["name"] == f"theriac:{name}"]


def names(value):
    """Every name that something in a BOM has; each only once."""
    found = [inner for key, inner in walked(value) if key == "bom-ref"]
    assert len(found) == len(set(found))
    return set(found)


def references(bom):
    """Every name by which something in a BOM is referred to."""
    found = set()
    for key, value in walked(bom):
        if key in ("ref", "target", "assessor") or (key in ("dependsOn", "claims", "evidence", "dependencies")):
            values = value if isinstance(value, list) else [value]
            found |= {item for item in values if isinstance(item, str)}
    return found


def walked(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walked(inner)
    if isinstance(value, list):
        for inner in value:
            yield from walked(inner)


@VERSIONS
def test_a_system_with_claims(store, issuer, evidence, version):
    described = make_road_signs(issuer, evidence)
    bom = export(store, described.id, version)
    assert bom["metadata"]["component"]["bom-ref"] == described.id
    assert bom["metadata"]["timestamp"] == "2026-01-02T03:04:05Z"
    weights = part(bom, described.weights["id"])
    assert weights["type"] == "machine-learning-model"
    assert weights["hashes"] == [
        {"alg": "SHA-256", "content": described.weights["credentialSubject"]["hash"].removeprefix("sha256:")}
    ]
    data = [document["id"] for document in described.data]
    assert [item["ref"] for item in weights["modelCard"]["modelParameters"]["datasets"]] == data
    first = part(bom, data[0])
    assert (first["type"], first["name"], first["data"]) == ("data", "20mph", [{"type": "dataset", "name": "20mph"}])
    assert first["externalReferences"] == [{"type": "attestation", "url": data[0]}]
    depends = {item["ref"]: item.get("dependsOn") for item in bom["dependencies"]}
    assert depends[described.trained.data_pack["id"]] == data
    assert set(depends[described.id]) == {described.trained.config["id"], described.inference_code["id"]}
    assert bom["compositions"] == [{"aggregate": "complete", "dependencies": [described.id]}]


def test_who_claims_what_and_whether_it_counts(store, issuer, evidence, key, stranger):
    described = make_road_signs(issuer, evidence)
    claims = {item["predicate"]: item for item in export(store, described.id)["declarations"]["claims"]}
    assert len(claims) == 7
    poisoning = claims["poisoning: data injection: high: a patch"]
    assert (poisoning["target"], poisoning["reasoning"]) == (described.data[4]["id"], "counts")
    assert "poisoning-check: clean" in claims
    nobody = Policy((TrustedIssuer(name="they", did=stranger.did, may=["*"]),), given=True)
    bom = export(store, described.id, policy=nobody)
    reasons = {item["reasoning"] for item in bom["declarations"]["claims"]}
    assert reasons == {f"does not count: the policy does not know its issuer {key.did}"}
    [assessor] = bom["declarations"]["assessors"]
    assert (assessor["organization"]["name"], assessor["thirdParty"]) == (key.did, False)
    [attestation] = bom["declarations"]["attestations"]
    assert [len(item["claims"]) for item in attestation["map"]] == [7]
    [said] = [e for e in bom["declarations"]["evidence"] if e["data"][0]["name"] == "poisoning"]
    assert json.loads(said["data"][0]["contents"]["attachment"]["content"])["details"]["severity"] == "high"


def test_poisoning_is_a_vulnerability_too(store, issuer, evidence):
    described = make_road_signs(issuer, evidence)
    found = {item["description"]: item for item in export(store, described.id)["vulnerabilities"]}
    poisoning = found["poisoning: data injection: high: a patch"]
    assert poisoning["affects"] == [{"ref": described.data[4]["id"]}]
    assert poisoning["ratings"][0]["severity"] == "high"
    assert (poisoning["source"]["name"], poisoning["detail"]) == (issuer.key.did, "counts")
    assert "analysis" not in poisoning
    assert {item["id"] for item in found.values()} >= {"CVE-2026-1"}
    assert len(found) == 3


@VERSIONS
def test_base_models_and_packs_in_packs(store, issuer, version):
    system = fine_tuned(issuer, 5)
    bom = export(store, system["id"], version)
    [tuned] = [component for component in components(bom) if component["name"] == "tuned 2"]
    [ancestor] = tuned["pedigree"]["ancestors"]
    assert ancestor["name"] == "base.safetensors"
    by_ref = {component["bom-ref"]: component["name"] for component in components(bom)}

    def trained_on(component):
        return {by_ref[item["ref"]] for item in component["modelCard"]["modelParameters"]["datasets"]}

    assert trained_on(tuned) == {"signs 0", "signs 1", "signs 2"}
    [base] = [component for component in components(bom) if component["name"] == "base.safetensors"]
    assert trained_on(base) == {f"crawl {n}" for n in range(5)}


@VERSIONS
def test_broken_links_are_said_and_not_followed(store, issuer, key, version):
    described = broken(store, issuer, key)
    bom = export(store, described.id, version)
    assert bom["compositions"][0]["aggregate"] == "incomplete"
    assert f"{described.data[2]['id']} is not in the store" in properties(bom["metadata"], "gap")
    pack = part(bom, described.trained.data_pack["id"])
    assert set(properties(pack, "broken-link")) == {described.data[1]["id"], described.data[2]["id"]}
    [depends] = [item["dependsOn"] for item in bom["dependencies"] if item["ref"] == described.trained.data_pack["id"]]
    assert depends == [described.data[0]["id"]]
    assert properties(part(bom, described.data[1]["id"]), "sound") == ["false"]
    assert {item["analysis"]["state"] for item in bom["vulnerabilities"]} == {"in_triage"}


def test_two_credentials_with_one_id_have_two_names(store, issuer, described, stranger):
    from theriac.provenance import issue

    subject = described.system["credentialSubject"] | {"name": "mine now"}
    store.add([issue("ai-system", subject, stranger, id=described.id)])
    bom = export(store, described.id)
    assert sum(component["bom-ref"].startswith(f"{described.id}#sha256:") for component in components(bom)) == 2


@VERSIONS
def test_hostile_names_stay_names(store, issuer, version):
    described = hostile(issuer)
    bom = json.loads(json.dumps(export(store, described.id, version)))
    assert part(bom, described.data[0]["id"])["name"] == described.data[0]["credentialSubject"]["name"]


def test_crowds_are_listed_up_to_a_limit(store, key, monkeypatch):
    described = crowded(store, key)
    bom = export(store, described.id)
    assert sum(component["type"] == "data" for component in bom["components"]) == 2002 + 2
    assert "takes too long" in validate_cyclonedx(bom)
    assert len(part(bom, described.weights["id"])["modelCard"]["modelParameters"]["datasets"]) == 2002
    monkeypatch.setattr(cyclonedx, "MOST", 10)
    bom = export(store, described.id)
    assert bom["compositions"][0]["aggregate"] == "incomplete"
    assert properties(part(bom, described.trained.data_pack["id"]), "data-sets-not-listed") == [str(2001 - 5)]
    assert part(bom, described.data[-1]["id"])["name"] == "part 2001"  # which is poisoned


def test_of_a_crowd_too_a_part_that_did_not_hold_yet_is_no_part_that_holds(store, key, monkeypatch):
    graph = SignedGraph(store, key)
    for name, start in (("early", PAST), ("late", PAST + timedelta(days=1))):
        graph.add(name, "data", data(name), valid_from=start)
    graph.pack("pack", "early", "late")
    graph.add("weights", "data", data("weights", "Weights"))
    graph.trained("weights", "pack")
    graph.system("system", "Inferencing", "weights-config")
    monkeypatch.setattr(walking, "FEW", 1)
    with store.snapshot() as view:
        chain = walk(view, "urn:x:system", PAST, EVERYBODY)
        bom = to_cyclonedx(view, chain, [], timestamp=PAST)
    assert [node.entry.id for node in chain.crowds] == ["urn:x:pack"]
    assert [properties(part(bom, f"urn:x:{name}"), "sound") for name in ("early", "late")] == [["true"], ["false"]]
    [depends] = [item["dependsOn"] for item in bom["dependencies"] if item["ref"] == "urn:x:pack"]
    assert depends == ["urn:x:early"]
    assert properties(part(bom, "urn:x:pack"), "broken-link") == ["urn:x:late"]


def test_taiboms_attestation_of_anything_is_in_the_bom(store):
    documents = sample()
    said = {"type": "reviewed", "claimant": "Ann"}
    subject = {"component": link("urn:uuid:weights"), "attestation": said}
    generic = credential("poisoning-attestation", "urn:uuid:generic", subject)
    schema = generic["credentialSchema"]["id"]
    generic["credentialSchema"]["id"] = schema.replace("65-poisoning-attestation", "60-attestation")
    store.add([*documents, generic], accepted=Accepted(unsigned=True))
    [claim] = [item for item in export(store, SYSTEM)["declarations"]["claims"] if "reviewed" in item["predicate"]]
    assert (claim["target"], claim["predicate"]) == ("urn:uuid:weights", "attestation: reviewed")


def test_the_same_chain_gives_the_same_bom(store, issuer, evidence):
    described = make_road_signs(issuer, evidence)
    one, two = export(store, described.id), export(store, described.id, timestamp=datetime(2026, 5, 1, tzinfo=UTC))
    assert one["serialNumber"] == two["serialNumber"]
    two["metadata"]["timestamp"] = one["metadata"]["timestamp"]
    assert json.dumps(one) == json.dumps(two)
    make_road_signs(issuer, evidence)
    issuer.poisoning(described.data[0], type="data injection", severity="low", description="x")
    assert export(store, described.id)["serialNumber"] != one["serialNumber"]


def test_an_unknown_system_has_no_bom(store, described):
    with pytest.raises(UserError, match="urn:uuid:unknown is not in the store"):
        export(store, "urn:uuid:unknown")


def test_the_validator_is_really_asked(store, described, monkeypatch):
    bom = export(store, described.id)
    with pytest.raises(UserError, match="not valid CycloneDX"):
        validate_cyclonedx(bom | {"components": [{"type": "data"}]})
    monkeypatch.setitem(sys.modules, "cyclonedx.schema", None)
    assert "install theriac[bom]" in validate_cyclonedx(bom)


@VERSIONS
def test_taiboms_own_sample(store, test_files, version):
    if not add_taibom_sample(store, test_files):
        pytest.skip("no sample of TAIBOM here")
    bom = export(store, SAMPLE, version)
    [poisoning] = [item for item in bom["vulnerabilities"] if item["description"].startswith("poisoning")]
    assert poisoning["affects"] == [{"ref": POISONED}]
    assert poisoning["detail"] == "counts, though its signature is weak: unsigned"
    assert len(components(bom)) == 14
