"""The one record that every detector and mitigation returns."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from theriac.errors import ExitCode

SCHEMA_VERSION: Literal["1"] = "1"

Verdict = Literal["poisoned", "clean", "inconclusive"]


class Record(BaseModel):
    """Base of records that cross files: frozen, strict about unknown fields, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Subject(Record):
    """What a finding is about."""

    kind: Literal["model", "data", "input"]
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="digest of the file, or Merkle root of the folder")


class Method(Record):
    """Which method ran, with its settings exactly as run."""

    name: str
    version: str
    settings: dict[str, JsonValue] = {}


class Picture(Record):
    """A small picture: a caption and a base64-encoded PNG."""

    caption: str
    png: str


class SuspectedClasses(Record):
    """The classes that the poison seems to aim at, and to come from."""

    kind: Literal["suspected_classes"] = "suspected_classes"
    target: int
    target_name: str
    sources: list[int] = Field(default=[], description="empty: every class")
    reason: str


class TriggerEvidence(Record):
    """A trigger reconstructed from the model alone."""

    kind: Literal["trigger"] = "trigger"
    space: str = Field(description="the family of changes searched: mask, perturbation, colour …")
    target: int
    asr: float = Field(ge=0, le=1, description="ASR of the reconstructed trigger on held-out clean examples")
    base_rate: float = Field(ge=0, le=1, description="share of the same examples given to the target without it")
    size: float = Field(description="size of the change in the unit of the space")
    unit: str
    pictures: list[Picture] = []
    parameters: str | None = Field(default=None, description="base64 of a safetensors file with the trigger's tensors")


class SuspiciousExample(Record):
    """One training example or input that looks like poison."""

    row: int
    score: float
    label: int
    label_name: str
    reason: str
    png: str | None = None


class RankedExamples(Record):
    """The most suspicious examples, worst first, and where the scores of all rows are."""

    kind: Literal["examples"] = "examples"
    title: str
    examples: list[SuspiciousExample]
    estimated_poisoned: int
    total: int
    scores_file: str | None = Field(
        default=None,
        description="Parquet file: row, label, score, suspected, reason; in an audit relative to its folder",
    )


class Histogram(Record):
    """Counts of scores; ``series`` maps a name to one count per bin."""

    kind: Literal["histogram"] = "histogram"
    title: str
    axis: str
    edges: list[float]
    series: dict[str, list[int]]
    threshold: float | None = None


class Table(Record):
    """A small table of results, for instance before and after a repair."""

    kind: Literal["table"] = "table"
    title: str
    columns: list[str]
    rows: list[list[str | float | int | None]]


class Note(Record):
    """One sentence of evidence that is neither a number nor a picture."""

    kind: Literal["note"] = "note"
    text: str


Evidence = Annotated[
    SuspectedClasses | TriggerEvidence | RankedExamples | Histogram | Table | Note, Field(discriminator="kind")
]


class Finding(Record):
    """What a method found about a subject, with its evidence and with what it could not look at.

    ``probability`` is the calibrated P(poisoned); ``verdict`` follows from it and the method's stated thresholds.
    """

    schema_version: Literal["1"] = SCHEMA_VERSION
    subject: Subject
    method: Method
    probability: float = Field(ge=0, le=1)
    verdict: Verdict
    summary: str = Field(description="one sentence for a reader in a hurry")
    evidence: list[Evidence] = []
    not_checked: list[str] = []
    seconds: float = Field(ge=0)
    peak_memory: int = Field(ge=0, description="bytes")
    device: str
    seed: int

    def repeatable(self) -> dict[str, Any]:
        """Returns what two runs with one seed must agree on: everything but time and memory."""
        return self.model_dump(mode="json", exclude={"seconds", "peak_memory"})

    def digest(self) -> str:
        """Returns the SHA-256 of the finding as canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def verdict_of(probability: float, *, clean_below: float = 0.2, poisoned_above: float = 0.5) -> Verdict:
    """Turns a calibrated probability into a verdict.

    >>> [verdict_of(p) for p in (0.05, 0.4, 0.9)]
    ['clean', 'inconclusive', 'poisoned']
    """
    if probability > poisoned_above:
        return "poisoned"
    return "clean" if probability < clean_below else "inconclusive"


def exit_code(findings: list[Finding]) -> ExitCode:
    """Returns the exit status that a list of findings calls for."""
    verdicts = {f.verdict for f in findings}
    if "poisoned" in verdicts:
        return ExitCode.FOUND
    return ExitCode.INCONCLUSIVE if "inconclusive" in verdicts or not findings else ExitCode.NOTHING


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a finding (draft 2020-12)."""
    return Finding.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://theriac.dev/schemas/finding/v{SCHEMA_VERSION}",
    }
