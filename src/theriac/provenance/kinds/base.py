"""The types that credentials' subjects are made of. Everything is bounded: a credential comes from a stranger."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

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
Did = Annotated[StrictStr, Field(max_length=500, pattern=r"^did:[a-z0-9]+:[A-Za-z0-9._:%-]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Severity = Literal["low", "medium", "high"]
JsonObject = dict[str, Any]


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


class MachineEvidence(Strict):
    """What a detector found, in numbers, and the digest of its whole finding."""

    detector: Line
    version: Line
    score: Share = Field(description="calibrated P(poisoned)")
    threshold: Share | None = Field(default=None, description="the score above which the detector says poisoned")
    settings: Digest | None = Field(default=None, description="digest of the detector's settings exactly as run")
    finding: Digest | None = Field(default=None, description="digest of the finding's repeatable part")
