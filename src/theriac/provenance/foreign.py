"""TAIBOM's own credentials: read as they were written, never converted.

Their schemas let unknown fields pass, and their tools and samples disagree with them in places. What is checked here is
what a reader must be able to rely on: the fields that the questions use are there, and are of the right type and size.
Nothing is said about what their hashes are: some are signatures, some digests, some placeholders.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, model_validator

from theriac.provenance.canonical import Invalid
from theriac.provenance.kinds import first_fault

# What the type of an attestation may read, in any case: a sample of performance calls itself best practice.
_TYPES = {
    "licence-attestation": {"license", "licence"},
    "sbom-attestation": {"sbom"},
    "vulnerability-attestation": {"vulnerability"},
    "provided-attestation": {"provided"},
    "poisoning-attestation": {"poisoning"},
    "pollution-attestation": {"pollution"},
    "bias-attestation": {"bias"},
    "best-practice-attestation": {"best practice"},
    "functional-performance-attestation": {"functional performance", "best practice"},
}

Words = Annotated[StrictStr, Field(max_length=10_000)]
Name = Annotated[StrictStr, Field(max_length=1_000)]
Hash = Annotated[StrictStr, Field(max_length=500)]
Id = Annotated[StrictStr, Field(min_length=1, max_length=500)]


class Lenient(BaseModel):
    """Base of the schemas: unknown fields pass, but nothing is converted."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class ForeignLink(Lenient):
    """Another credential. The hash is, for their tools, the other's signature."""

    id: Id
    hash: Hash | None = None


class ForeignLocation(Lenient):
    """Where the bytes were. Never followed."""

    type: Name
    path: Words


class HashObject(Lenient):
    """The hash of code, or where it is to be found."""

    value: Hash | None = None
    location: Words | None = None


class ForeignIdentity(Lenient):
    """Who somebody is."""

    name: Name
    email: Name
    uuid: Name
    pub: Words
    role: Name


class ForeignData(Lenient):
    """A data set, or the weights of a model."""

    name: Name
    label: Name
    location: ForeignLocation
    hash: Hash | HashObject | None = None
    hashLocation: Words | None = None
    lastAccessed: Name | None = None

    @model_validator(mode="after")
    def _hashed(self) -> "ForeignData":
        if self.hash is None and self.hashLocation is None:
            raise ValueError("neither hash nor hashLocation")
        return self


class ForeignDataPack(Lenient):
    """Data sets together."""

    name: Name
    datasets: list[ForeignLink] = Field(min_length=1, max_length=10_000)


class ForeignConfig(Lenient):
    """Which training system made which weights."""

    name: Name
    aiSystem: ForeignLink
    data: ForeignLink


class ForeignSBOM(Lenient):
    """A CycloneDX bill of materials."""

    bomFormat: Name
    specVersion: Name
    serialNumber: Name
    version: int
    metadata: dict[str, Any]
    components: list[dict[str, Any]]


class ForeignCode(Lenient):
    """Program code."""

    name: Name
    version: Name
    location: ForeignLocation
    hash: Hash | HashObject
    sbom: ForeignLink | None = None


class ForeignAISystem(Lenient):
    """A system that trains or runs a model."""

    name: Name
    label: Name
    code: ForeignLink
    data: ForeignLink


class Typed(Lenient):
    """The part of every attestation's claim that is the same."""

    type: Name


Claim = TypeVar("Claim", bound=Typed)


class About(Lenient, Generic[Claim]):
    """A claim about a component."""

    component: ForeignLink
    attestation: Claim


class _Details(Lenient):
    date: Name | None = None
    type: Name | None = None
    poisoning_type: Name | None = None
    severity: Name | None = None
    description: Words | None = None


class _Dated(_Details):
    date: Name


class _Bias(_Details):
    types: list[Name] = Field(max_length=1_000)
    context: Words | None = None
    impact: Words | None = None


class _Provider(Lenient):
    uuid: Name


class _Practice(_Details):
    type: Name


class _Vulnerability(_Details):
    id: Name | None = None


class _Metric(Lenient):
    name: Name
    value: float


class _PoisoningClaim(Typed):
    poisoning: _Dated


class _PollutionClaim(Typed):
    pollution: _Dated


class _BiasClaim(Typed):
    bias: _Bias


class _ProvidedClaim(Typed):
    provider: _Provider


class _VulnerabilityClaim(Typed):
    vulnerability: _Vulnerability


class _PracticeClaim(Typed):
    best_practice: _Practice


class _LicenceClaim(Typed):
    license: Words | None = None


class _SBOMClaim(Typed):
    sbom: dict[str, Any] | None = None


class _PerformanceClaim(Typed):
    task_type: Name
    primary_metric: _Metric


_MODELS: dict[str, type[Lenient]] = {
    "identity": ForeignIdentity,
    "data": ForeignData,
    "data-pack": ForeignDataPack,
    "config": ForeignConfig,
    "sbom": ForeignSBOM,
    "code": ForeignCode,
    "ai-system": ForeignAISystem,
    "attestation": About[Typed],
    "licence-attestation": About[_LicenceClaim],
    "sbom-attestation": About[_SBOMClaim],
    "vulnerability-attestation": About[_VulnerabilityClaim],
    "provided-attestation": About[_ProvidedClaim],
    "poisoning-attestation": About[_PoisoningClaim],
    "pollution-attestation": About[_PollutionClaim],
    "bias-attestation": About[_BiasClaim],
    "best-practice-attestation": About[_PracticeClaim],
    "functional-performance-attestation": About[_PerformanceClaim],
}


def check_foreign(kind: str, subject: Any) -> None:
    """Raises ``Invalid`` if ``subject`` is not what a credential of TAIBOM's of this kind says."""
    try:
        _MODELS[kind].__pydantic_validator__.validate_python(subject)
    except ValidationError as error:
        raise Invalid(f"not a TAIBOM {kind} credential: {first_fault(error)}") from None
    types = _TYPES.get(kind)
    if types and (stated := subject["attestation"]["type"]).casefold() not in types:
        raise Invalid(f"not a TAIBOM {kind} credential: attestation.type: {stated[:80]!r}")
