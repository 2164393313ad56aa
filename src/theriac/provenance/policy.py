"""Whose word counts: a trust policy says which issuer may claim what about which systems.

A policy is a TOML file, and what it does not allow is denied::

    version = 1

    [[issuer]]
    name = "our audit team"
    did = "did:key:z6Mk…"
    may = ["poisoning", "poisoning-check", "describe"]
    about = ["*"]

    [[issuer]]
    name = "Tony, who signs with an older tool"
    id = "urn:uuid:57338930-b10c-43b6-8106-6c00cce3600d"
    may = ["provided"]
    about = ["urn:uuid:3a02992b-*"]
"""

import fnmatch
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from theriac.errors import UserError
from theriac.provenance.snapshot import Entry

Right = Literal[
    "*",
    "describe",
    "licence",
    "sbom",
    "vulnerability",
    "provided",
    "poisoning",
    "pollution",
    "bias",
    "best-practice",
    "functional-performance",
    "poisoning-check",
    "checked",
    "attestation",
]


class TrustedIssuer(BaseModel):
    """An issuer and what counts of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=200)
    did: str | None = Field(default=None, pattern=r"^did:[a-z]+:[!-~]+$", description="the key that signs")
    id: str | None = Field(default=None, max_length=500, description="the issuer that an unsigned credential names")
    may: list[Right] = Field(min_length=1)
    about: list[str] = Field(default=["*"], min_length=1, description="ids of systems or components; * is any text")

    @model_validator(mode="after")
    def _one_identity(self) -> "TrustedIssuer":
        if (self.did is None) == (self.id is None):
            raise ValueError("give either did or id")
        return self

    def is_of(self, entry: Entry) -> bool:
        """Returns whether a credential is this issuer's."""
        if self.did is not None:
            return entry.signer == self.did
        return entry.issuer == self.id and entry.profile != "w3c"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1]
    issuer: list[TrustedIssuer] = []


@dataclass(frozen=True)
class Policy:
    """Whose word counts. Without a file, everybody's whose signature holds: ``given`` is false then."""

    issuers: tuple[TrustedIssuer, ...] = ()
    given: bool = False

    def refuses(self, entry: Entry, right: str, about: Iterable[str]) -> str:
        """Returns why a credential does not count, or nothing.

        Args:
            entry: The credential.
            right: What its issuer must be allowed to do.
            about: The ids of the component and of everything on the way to it; one of them must be allowed.
        """
        if not self.given:
            return ""
        known = [issuer for issuer in self.issuers if issuer.is_of(entry)]
        if not known:
            return f"the policy does not know its issuer {entry.signer or entry.issuer}"
        allowed = [issuer for issuer in known if right in issuer.may or "*" in issuer.may]
        if not allowed:
            return f"the policy does not let {known[0].name} {_PHRASES.get(right, f'claim {right}')}"
        ids = list(about)
        patterns = [pattern for issuer in allowed for pattern in issuer.about]
        if not any(fnmatch.fnmatchcase(id, pattern) for id in ids for pattern in patterns):
            return f"the policy does not let {allowed[0].name} speak about this system"
        return ""


_PHRASES = {"describe": "describe systems"}
EVERYBODY = Policy()


def read_policy(path: Path) -> Policy:
    """Reads a trust policy.

    Raises:
        UserError: If the file is missing or is no policy.
    """
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is not TOML: {error}", where=path) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{field}: {first['msg']}", where=path, do="see docs/provenance.md") from None
    return Policy(tuple(file.issuer), given=True)
