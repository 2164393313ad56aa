"""What TAIBOM cannot say: that a search found nothing and how far it reached, and that a claim is taken back."""

from typing import Literal, Self

from pydantic import Field, model_validator

from theriac.provenance.kinds.base import Count, Day, Line, Link, MachineEvidence, Strict, Text


class Coverage(Strict):
    """How much was looked at: ``examined`` of ``total`` examples, files, classes, layers … (the ``unit``)."""

    examined: Count
    total: Count
    unit: Line

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.examined > self.total:
            raise ValueError("more was examined than there is")
        return self


class Check(Strict):
    """A search that found nothing, or could not tell: how it searched, and what it could not look at."""

    date: Day
    verdict: Literal["clean", "inconclusive"]
    examined: Text = Field(description="what was looked at")
    limits: list[Text] = Field(max_length=100, description="what was not, or could not be, looked at")
    coverage: Coverage | None = None


class PoisoningCheckClaim(Strict):
    """The claim that a component was searched for poisoning."""

    type: Literal["poisoning-check"]
    check: Check
    evidence: list[MachineEvidence] = Field(min_length=1, max_length=100)


class PoisoningCheckAttestation(Strict):
    """Says that a component was searched for poisoning; it never says that there is none."""

    component: Link
    attestation: PoisoningCheckClaim


class MatterCheck(Check):
    """A search for something other than poisoning."""

    matter: Literal["pollution", "bias", "vulnerability", "licence", "best practice"]
    method: Line = Field(description="what searched, with its version")


class CheckedClaim(Strict):
    """The claim that a component was searched for something."""

    type: Literal["checked"]
    check: MatterCheck
    evidence: list[MachineEvidence] = Field(default=[], max_length=100)


class CheckedAttestation(Strict):
    """Says that a component was searched for what ``matter`` names; it never says that there is none."""

    component: Link
    attestation: CheckedClaim


class Retraction(Strict):
    """Takes a credential back. It counts only if both have the same signer (see :func:`may_retract`)."""

    retracts: Link
    reason: Text


def may_retract(retraction_signer: str, target_signer: str) -> bool:
    """Returns whether a retraction by the first key takes back what the second signed: only one's own word can be.

    >>> may_retract("did:key:a", "did:key:a"), may_retract("did:key:b", "did:key:a"), may_retract("", "")
    (True, False, False)
    """
    return bool(target_signer) and retraction_signer == target_signer
