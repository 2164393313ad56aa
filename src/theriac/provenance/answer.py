"""The answer to a query."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from theriac.errors import ExitCode
from theriac.provenance.canonical import Document
from theriac.provenance.claims import Attestation

Mode = Literal["taibom", "extended"]


@dataclass(frozen=True)
class Answer:
    """The answer to a query. That nothing was found means little unless the chain is complete and was searched.

    Attributes:
        query: The query's name.
        system: The id that was asked about.
        mode: ``taibom`` for the reference's meaning, ``extended`` for ours.
        complete: Whether every link from the system to its training data holds, and every claim could be verified.
            Always true in ``taibom`` mode: the rules do not ask, and take what is missing for "nothing".
        answer: Yes or no, or the ids that were asked for.
        alarming: Whether the answer is one to act on: poisoning, or a hash that does not match.
        attestations: The claims behind it: first those that count, the most severe first.
        checks: Searches that found nothing.
        warnings: Why the answer is incomplete, and what else to know.
        nodes: The ids of the parts visited.
        unchecked: The ids of data and weights that no claim or check that counts is about.
        paths: The ways from the system to what was found, as lists of ids, where no attestation shows them.
    """

    query: str
    system: str
    mode: Mode
    complete: bool
    answer: bool | list[str]
    alarming: bool = False
    attestations: Sequence[Attestation] = ()
    checks: Sequence[Attestation] = ()
    warnings: Sequence[str] = ()
    nodes: Sequence[str] = ()
    unchecked: Sequence[str] = ()
    paths: Sequence[Sequence[str]] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def poisoned(self) -> bool:
        """Whether a claim counts."""
        return any(attestation.accepted for attestation in self.attestations)

    @property
    def status(self) -> ExitCode:
        """The exit status: evidence, nothing, or incomplete."""
        if self.alarming:
            return ExitCode.FOUND
        return ExitCode.NOTHING if self.complete else ExitCode.INCONCLUSIVE

    def to_json(self) -> Document:
        """Returns the answer as a JSON value."""
        return {
            "query": self.query,
            "system": self.system,
            "mode": self.mode,
            "complete": self.complete,
            "answer": self.answer,
            "attestations": [vars(attestation) for attestation in self.attestations],
            "checks": [vars(check) for check in self.checks],
            "warnings": list(self.warnings),
            "nodes": list(self.nodes),
            "unchecked": list(self.unchecked),
            "paths": [list(path) for path in self.paths],
            **self.extra,
        }
