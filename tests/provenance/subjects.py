"""What a credential of each kind may say: one full example of each, ours and as TAIBOM's tools write them."""

LINK = {"id": "urn:uuid:0", "hash": "sha256:" + "0" * 64}
PLACE = {"type": "local", "path": "train.parquet"}
HASH = "sha256:" + "ab" * 32
DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def about(type, **claim):
    return {"component": LINK, "attestation": {"type": type, **claim}}


SBOM = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
    "version": 1,
    "metadata": {"component": {"name": "trainer", "type": "application"}},
    "components": [{"name": "pillow", "version": "10.0.0", "type": "library"}],
}
PERFORMANCE = {
    "task_type": "classification",
    "primary_metric": {"name": "F1", "value": 0.9, "confidence_interval": "±0.1"},
    "confusion_matrix": {"true_positive": 9, "false_positive": 1, "true_negative": 9, "false_negative": 1},
    "regression_metrics": {"R_squared": None, "RMSE": None, "MAE": None},
    "cross_validation": {"used": True, "method": "k-fold", "folds": 5, "mean_score": 0.9, "std_dev": 0.01},
    "test_set_evaluation": {"dataset_name": "signs", "metric_results": [{"name": "F1", "value": 0.9}]},
    "subgroup_performance": {"evaluated": True, "groups": [{"group": "rain", "F1_score": 0.8, "accuracy": 0.8}]},
    "out_of_distribution": {
        "evaluated": True,
        "description": "other countries",
        "performance_drop": {"metric": "F1", "baseline": 0.9, "ood_value": 0.7},
    },
    "adversarial_robustness": {"tested": False, "notes": "not yet"},
    "calibration": {"evaluated": True, "method": "temperature", "ECE": 0.01, "notes": ""},
}
EVIDENCE = [{"detector": "spectral", "version": "1", "score": 0.25, "threshold": 0.5, "finding": HASH}]
CHECK = {"date": "2026-05-01", "verdict": "clean", "examined": "all rows", "limits": ["no labels"]}
COVERAGE = {"examined": 3, "total": 4, "unit": "files"}

SUBJECTS = {
    "identity": {"name": "Ann", "pub": DID, "uuid": "urn:uuid:1", "email": "a@b.example", "role": "engineer"},
    "data": {
        "name": "signs",
        "label": "Training",
        "location": PLACE,
        "hash": HASH,
        "lastAccessed": "2026-05-01T00:00:00Z",
        "derivedFrom": [LINK],
        "omsRootDigest": HASH,
        "manifest": HASH,
    },
    "data-pack": {"name": "pack", "datasets": [LINK]},
    "config": {"name": "config", "aiSystem": LINK, "data": LINK, "settings": {"classes": 10, "size": 0.5}},
    "sbom": SBOM,
    "code": {"name": "train.py", "version": "1", "location": PLACE, "hash": {"value": HASH}, "sbom": LINK},
    "ai-system": {"name": "system", "label": "Inferencing", "data": LINK, "code": LINK},
    "licence-attestation": about("License", license="Apache-2.0"),
    "sbom-attestation": about("SBOM", sbom=SBOM),
    "vulnerability-attestation": about(
        "vulnerability",
        vulnerability={"id": "CVE-2026-1", "severity": "High", "description": "runs code", "fixedIn": ["2"]},
    ),
    "provided-attestation": about("provided", provider={"uuid": "urn:uuid:1"}),
    "poisoning-attestation": about(
        "poisoning",
        poisoning={"date": "2026-05-01", "type": "data injection", "severity": "high", "description": "a patch"},
        evidence=EVIDENCE,
    ),
    "pollution-attestation": about(
        "pollution", pollution={"date": "2026-05-01", "type": "mislabelled", "observed_impact": "stop read as give way"}
    ),
    "bias-attestation": about("bias", bias={"types": ["selection bias"], "severity": "low", "context": "the North"}),
    "best-practice-attestation": about(
        "best practice", best_practice={"type": "data completeness", "description": "no gaps"}
    ),
    "functional-performance-attestation": about("functional performance", **PERFORMANCE),
    "poisoning-check-attestation": about("poisoning-check", check=CHECK | {"coverage": COVERAGE}, evidence=EVIDENCE),
    "checked-attestation": about(
        "checked", check=CHECK | {"matter": "bias", "method": "audit 1", "coverage": COVERAGE}
    ),
    "retraction": {"retracts": LINK, "reason": "the labels were right"},
}

OTHER = {
    "id": "urn:uuid:0",
    "hash": "JC3msW2uca+lLWmgf5IWe295clU3ZKwR0s0sxXY5+qr41MkavOCxRvvaSc3ciJU3qtHJlpKT6cIqKvR6aNe5CQ==",
}
FOREIGN = {
    "identity": {"name": "Ann", "email": "a@b.example", "uuid": "urn:uuid:1", "pub": "/home/ann/key", "role": ""},
    "data": {
        "name": "signs",
        "label": "Training",
        "location": {"type": "local", "path": "file://../signs/"},
        "hash": "ab" * 32,
        "lastAccessed": "2024-12-16T13:26:32.860Z",
        "metadata": {"hash": "x"},
    },
    "data-pack": {"name": "pack", "datasets": [OTHER]},
    "config": {"name": "config", "aiSystem": OTHER, "data": OTHER},
    "sbom": SBOM | {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
    "code": {"name": "train", "version": "4", "location": PLACE, "hash": {"value": "ab" * 32}, "sbom": OTHER},
    "ai-system": {"name": "system", "label": "Inferencing", "data": OTHER, "code": {"id": "urn:uuid:2"}},
    "attestation": {"component": OTHER, "attestation": {"type": "anything", "claimant": "Ann", "evidence": [{}]}},
    "licence-attestation": {"component": OTHER, "attestation": {"type": "License", "license": "MIT"}},
    "sbom-attestation": {"component": OTHER, "attestation": {"type": "SBOM", "sbom": SBOM}},
    "vulnerability-attestation": {
        "component": OTHER,
        "attestation": {"type": "vulnerability", "vulnerability": {"id": "GHSA-1", "severity": "High", "fixedIn": []}},
    },
    "provided-attestation": {
        "component": OTHER,
        "attestation": {"type": "provided", "provider": {"uuid": "urn:uuid:1"}},
    },
    "poisoning-attestation": {
        "component": {"id": "urn:uuid:0", "hash": "ab" * 32},
        "attestation": {
            "type": "poisoning",
            "poisoning": {"date": "31-03-2025", "poisoning_type": "data injection", "severity": "awful"},
        },
    },
    "pollution-attestation": {
        "component": {"id": "urn:uuid:0", "hash": "placeholder_hash"},
        "attestation": {"type": "pollution", "pollution": {"date": "31-03-2025", "type": "mislabelled"}},
    },
    "bias-attestation": {"component": OTHER, "attestation": {"type": "bias", "bias": {"types": ["selection"]}}},
    "best-practice-attestation": {
        "component": OTHER,
        "attestation": {"type": "best practice", "best_practice": {"type": "curation"}},
    },
    "functional-performance-attestation": {
        "component": OTHER,
        "attestation": {"type": "best practice", **PERFORMANCE},
    },
}
