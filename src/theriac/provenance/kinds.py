"""The kinds of credential and what each says: TAIBOM's field names, with strict schemas of our own.

Where we differ from TAIBOM v1.0.0: unknown fields are refused; the ``hash`` of a link is the digest of the linked
credential, so that a substitute is noticed; digests name their algorithm; a system may have no code (a missing fact is
left out, not invented); an attestation carries the machine's evidence; and there is a statement about a search that
found nothing.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from theriac.provenance.canonical import Document, Invalid

SCHEMA_ROOT = "https://theriac.dev/schemas"
SCHEMA_VERSION = "v1"
_SCHEMA_URL = re.compile(rf"{re.escape(SCHEMA_ROOT)}/([a-z-]+)/{SCHEMA_VERSION}")

Line = Annotated[StrictStr, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Text = Annotated[StrictStr, Field(max_length=10_000)]
Day = Annotated[StrictStr, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Moment = Annotated[StrictStr, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$")]
Digest = Annotated[StrictStr, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ContentHash = Annotated[
    StrictStr,
    Field(
        pattern=r"^sha256(-merkle)?:[0-9a-f]{64}$",
        description="sha256 of a file, or sha256-merkle: the Merkle root of a folder's manifest",
    ),
]
Id = Annotated[StrictStr, Field(max_length=500, pattern=r"^[a-z][a-z0-9+.-]*:[!-~]+$", description="a URI")]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Base of the schemas: no unknown fields, no conversions, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Link(Strict):
    """Another credential, and the digest of its signed document."""

    id: Id
    hash: Digest


class Location(Strict):
    """Where the bytes were when the credential was issued. Never followed by itself."""

    type: Literal["local", "remote"]
    path: Line


class Data(Strict):
    """A data set, or the weights of a model."""

    name: Line
    label: Literal["Training", "Weights"]
    location: Location
    hash: ContentHash
    lastAccessed: Moment  # TAIBOM's spelling


class DataPack(Strict):
    """The data sets that a system is trained on together; packs may contain packs."""

    name: Line
    datasets: list[Link] = Field(min_length=1, max_length=5_000, json_schema_extra={"uniqueItems": True})


class Config(Strict):
    """Which training system made which weights. TAIBOM calls it "Trained System Configs"."""

    name: Line
    aiSystem: Link
    data: Link = Field(description="the weights")
    settings: dict[Line, StrictStr | int | float | bool | None] | None = Field(
        default=None, description="facts about the model: architecture, classes, input size …"
    )


class CodeHash(Strict):
    """TAIBOM wraps the hash of code in an object."""

    value: ContentHash


class Code(Strict):
    """Program code."""

    name: Line
    version: Line
    location: Location
    hash: CodeHash
    sbom: Link | None = None


class AISystem(Strict):
    """A system that trains a model (its data is a data pack) or runs one (its data is a config, or bare weights)."""

    name: Line
    label: Literal["Training", "Inferencing"]
    code: Link | None = None
    data: Link


class MachineEvidence(Strict):
    """What a detector found, in numbers, and the digest of its whole finding."""

    detector: Line
    version: Line
    score: Share = Field(description="calibrated P(poisoned)")
    threshold: Share | None = Field(default=None, description="the score above which the detector says poisoned")
    settings: Digest | None = Field(default=None, description="digest of the detector's settings exactly as run")
    finding: Digest | None = Field(default=None, description="digest of the finding's repeatable part")


class Poisoning(Strict):
    """What is wrong with the component. ``type`` is, for instance, "mislabelling attack" or "data injection"."""

    date: Day
    type: Line
    severity: Literal["low", "medium", "high"]
    description: Text


class PoisoningClaim(Strict):
    """The claim that a component is poisoned."""

    type: Literal["poisoning"]
    poisoning: Poisoning
    evidence: list[MachineEvidence] = Field(default=[], max_length=100)


class PoisoningAttestation(Strict):
    """Says that a component is poisoned."""

    component: Link
    attestation: PoisoningClaim


class Check(Strict):
    """A search for poisoning that found none, or could not tell: how it searched, and what it could not look at."""

    date: Day
    verdict: Literal["clean", "inconclusive"]
    examined: Text = Field(description="what was looked at")
    limits: list[Text] = Field(max_length=100, description="what was not, or could not be, looked at")


class CheckClaim(Strict):
    """The claim that a component was searched for poisoning."""

    type: Literal["poisoning-check"]
    check: Check
    evidence: list[MachineEvidence] = Field(min_length=1, max_length=100)


class CheckAttestation(Strict):
    """Says that a component was searched for poisoning; it never says that there is none."""

    component: Link
    attestation: CheckClaim


KINDS: dict[str, type[Strict]] = {
    "data": Data,
    "data-pack": DataPack,
    "config": Config,
    "code": Code,
    "ai-system": AISystem,
    "poisoning-attestation": PoisoningAttestation,
    "poisoning-check-attestation": CheckAttestation,
}


def schema_url(kind: str) -> str:
    """Returns the URL by which credentials name the schema of ``kind``."""
    return f"{SCHEMA_ROOT}/{kind}/{SCHEMA_VERSION}"


def kind_of(document: Document) -> str | None:
    """Returns the kind of a credential, or None if its schema is not one of ours."""
    schema = document.get("credentialSchema")
    url = schema.get("id") if isinstance(schema, dict) else None
    found = _SCHEMA_URL.fullmatch(url) if isinstance(url, str) else None
    return found[1] if found and found[1] in KINDS else None


def check_subject(kind: str, subject: Any) -> None:
    """Raises ``Invalid`` if ``subject`` is not what a credential of this kind says."""
    try:
        KINDS[kind].model_validate(subject)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "credentialSubject"
        raise Invalid(f"not a {kind} credential: {where}: {first['msg']}") from None
    if kind == "data-pack" and len({link["id"] for link in subject["datasets"]}) < len(subject["datasets"]):
        raise Invalid("not a data-pack credential: datasets: one is listed twice")


def json_schema(kind: str) -> dict[str, Any]:
    """Returns the JSON Schema (draft 2020-12) of the credentialSubject of ``kind``."""
    return KINDS[kind].model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_url(kind),
    }


def links_of(subject: Any) -> list[tuple[str, str, str]]:
    """Returns (relation, id, hash) of every link to another credential in a credentialSubject.

    >>> links_of({"name": "pack", "datasets": [{"id": "urn:a", "hash": "sha256:0"}]})
    [('datasets', 'urn:a', 'sha256:0')]
    """
    links = []
    for relation, value in subject.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and isinstance(item.get("id"), str) and isinstance(item.get("hash"), str):
                links.append((relation, item["id"], item["hash"]))
    return links
