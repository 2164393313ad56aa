"""Everything that a report shows, as one record."""

from pydantic import AwareDatetime, Field

from theriac.finding import Finding, Record, Subject, Table


class CredentialSummary(Record):
    """One signed credential that the audit wrote."""

    kind: str = Field(description="what it states, for instance poisoning-attestation")
    about: str = Field(description="name of the data, weights or system that it is about")
    id: str
    issuer: str = Field(description="DID of the signer")
    file: str
    digest: str = Field(description="SHA-256 of the file, hexadecimal")
    content: str = Field(default="", description="the file's text, to be downloaded from the page")


class WrittenFile(Record):
    """One file that the audit wrote, and what it is for."""

    path: str
    what: str


class Reproduction(Record):
    """What somebody else needs to get the same result."""

    commands: list[str] = Field(default=[], description="exact commands, one per entry")
    seed: int
    device: str
    versions: dict[str, str] = Field(default={}, description="name of a library or program -> version")


class AuditReport(Record):
    """The result of one audit.

    ``findings`` are about the system as it came in; ``repair`` is the mitigation's finding about the repaired model.
    ``repair_table`` has columns "…", "before", "after"; rows about accuracies, rates or shares are also drawn as bars.
    """

    system: str = Field(description="name of the audited system, for people")
    system_id: str
    when: AwareDatetime
    version: str = Field(description="version of theriac")
    subjects: list[Subject] = Field(default=[])
    findings: list[Finding] = Field(default=[])
    repair: Finding | None = None
    repair_table: Table | None = None
    not_checked: list[str] = Field(default=[], description="about the whole audit; each finding adds its own")
    reproduction: Reproduction
    credentials: list[CredentialSummary] = Field(default=[])
    chain: str = Field(default="", description="SVG of the chain from the system to its data")
    evidence_commands: list[str] = Field(default=[], description="commands that verify and query the credentials")
    files: list[WrittenFile] = Field(default=[])
