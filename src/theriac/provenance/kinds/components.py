"""Credentials that describe: who somebody is, and what an AI system is made of."""

from typing import Literal

from pydantic import ConfigDict, Field, StrictStr

from theriac.provenance.kinds.base import (
    ContentHash,
    Did,
    Digest,
    Id,
    JsonObject,
    Line,
    Link,
    Location,
    Moment,
    Strict,
)


class Identity(Strict):
    """Who holds a key. A key that was replaced names its successor, and the new one its predecessor."""

    name: Line
    pub: Did = Field(description="the public key, a did:key")
    uuid: Id | None = Field(default=None, description="what attestations of provision call this identity")
    email: Line | None = None
    role: Line | None = None
    successor: Did | None = Field(default=None, description="the key that this one is replaced by")
    predecessor: Did | None = Field(default=None, description="the key that this one replaces")


class Data(Strict):
    """A data set, or the weights of a model."""

    name: Line
    label: Literal["Training", "Weights"]
    location: Location
    hash: ContentHash
    lastAccessed: Moment  # TAIBOM's spelling
    derivedFrom: list[Link] | None = Field(
        default=None, min_length=1, max_length=5_000, description="the data it was made from, or the base weights"
    )
    omsRootDigest: Digest | None = Field(default=None, description="root digest of OpenSSF model signing (OMS v1)")
    manifest: Digest | None = Field(default=None, description="digest of the manifest file")


class DataPack(Strict):
    """The data sets that a system is trained on together; packs may contain packs."""

    name: Line
    datasets: list[Link] = Field(min_length=1, max_length=2_000_000, json_schema_extra={"uniqueItems": True})


class Config(Strict):
    """Which training system made which weights. TAIBOM calls it "Trained System Configs"."""

    name: Line
    aiSystem: Link
    data: Link = Field(description="the weights")
    settings: dict[Line, StrictStr | int | float | bool | None] | None = Field(
        default=None, description="facts about the model: architecture, classes, input size …"
    )


class SBOM(Strict):
    """A CycloneDX bill of materials. The one subject with unknown fields: its format is somebody else's."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    bomFormat: Literal["CycloneDX"]
    specVersion: StrictStr = Field(pattern=r"^1\.[0-9]{1,2}$")
    serialNumber: Id
    version: int = Field(ge=1, le=2**31)
    metadata: JsonObject
    components: list[JsonObject] = Field(max_length=10_000)


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
