"""Credentials that claim something about what another credential describes: TAIBOM's nine, strictly."""

from typing import Literal

from pydantic import Field

from theriac.provenance.kinds.base import (
    Day,
    Id,
    Line,
    Link,
    MachineEvidence,
    Severity,
    Strict,
    Text,
)
from theriac.provenance.kinds.components import SBOM
from theriac.provenance.kinds.performance import FunctionalPerformanceClaim


class LicenceClaim(Strict):
    """Under what licence; TAIBOM spells the type in the American way."""

    type: Literal["License"]
    license: Line = Field(description="an SPDX expression or a name")


class LicenceAttestation(Strict):
    """Says under what licence a component is."""

    component: Link
    attestation: LicenceClaim


class SBOMClaim(Strict):
    """What a component is made of."""

    type: Literal["SBOM"]
    sbom: SBOM


class SBOMAttestation(Strict):
    """Says what software a component is made of."""

    component: Link
    attestation: SBOMClaim


class Vulnerability(Strict):
    """A weakness, by its public number."""

    id: Line = Field(description="for instance a CVE or GHSA number")
    severity: Line
    description: Text
    type: Line | None = None
    fixedIn: list[Line] | None = Field(default=None, max_length=100)


class VulnerabilityClaim(Strict):
    """That a component has a weakness."""

    type: Literal["vulnerability"]
    vulnerability: Vulnerability


class VulnerabilityAttestation(Strict):
    """Says that a component has a known weakness."""

    component: Link
    attestation: VulnerabilityClaim


class Provider(Strict):
    """The ``uuid`` of an identity credential."""

    uuid: Id


class ProvidedClaim(Strict):
    """Who provided a component."""

    type: Literal["provided"]
    provider: Provider


class ProvidedAttestation(Strict):
    """Says who provided a component."""

    component: Link
    attestation: ProvidedClaim


class Poisoning(Strict):
    """What is wrong with the component. ``type`` is, for instance, "mislabelling attack" or "data injection"."""

    date: Day
    type: Line
    severity: Severity
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


class Pollution(Strict):
    """What is wrong with the component, without ill will: wrong labels, duplicates, a broken sensor."""

    date: Day
    type: Line
    severity: Severity | None = None
    description: Text | None = None
    observed_impact: Text | None = None
    detection_method: Text | None = None


class PollutionClaim(Strict):
    """The claim that a component is polluted."""

    type: Literal["pollution"]
    pollution: Pollution
    evidence: list[MachineEvidence] = Field(default=[], max_length=100)


class PollutionAttestation(Strict):
    """Says that a component is polluted."""

    component: Link
    attestation: PollutionClaim


class Bias(Strict):
    """In what ways the component is one-sided."""

    types: list[Line] = Field(min_length=1, max_length=100)
    severity: Severity | None = None
    context: Text | None = None
    impact: Text | None = None
    description: Text | None = None


class BiasClaim(Strict):
    """The claim that a component is biased."""

    type: Literal["bias"]
    bias: Bias
    evidence: list[MachineEvidence] = Field(default=[], max_length=100)


class BiasAttestation(Strict):
    """Says that a component is biased."""

    component: Link
    attestation: BiasClaim


class BestPractice(Strict):
    """A practice that was followed."""

    type: Line
    description: Text | None = None


class BestPracticeClaim(Strict):
    """The claim that a component was made as it should be."""

    type: Literal["best practice"]
    best_practice: BestPractice


class BestPracticeAttestation(Strict):
    """Says that a component was made in a way that is known to be good."""

    component: Link
    attestation: BestPracticeClaim


class FunctionalPerformanceAttestation(Strict):
    """Says how well a component does its task."""

    component: Link
    attestation: FunctionalPerformanceClaim
