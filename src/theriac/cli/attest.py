"""``theriac attest``: signing credentials by hand."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from theriac.errors import ExitCode, UserError

if TYPE_CHECKING:
    from theriac.provenance.canonical import Document
    from theriac.provenance.issuer import Issuer

app = App(name="attest", help="Sign a credential about data, weights or a whole system.")


Matter = Literal[
    "licence", "sbom", "vulnerability", "provided", "pollution", "bias", "best-practice", "functional-performance"
]


@Parameter(name="*")
@dataclass(frozen=True)
class Signing:
    """Who signs, and where the credentials go.

    Args:
        key: Name of the signing key.
        keys: Folder of the keys; $THERIAC_KEYS or ~/.config/theriac/keys by default.
        out: Folder for the credential files.
        store: Store that the credentials are added to, made if absent; what it holds already is not signed again.
        json: Print machine-readable output only.
    """

    key: str = "default"
    keys: Path | None = None
    out: Path = Path("credentials")
    store: Path = Path("evidence.sqlite")
    json: Annotated[bool, Parameter(negative="")] = False

    @contextmanager
    def issuer(self) -> "Iterator[Issuer]":
        """Yields an issuer; when the block ends well, writes and prints what it issued last."""
        from theriac.provenance import keys
        from theriac.provenance.issuer import Issuer
        from theriac.provenance.store import Store

        key = keys.load(self.keys or keys.default_folder(), self.key, ask=_ask if sys.stdin.isatty() else None)
        with Store(self.store, write=True) as store:
            issuer = Issuer(key, store)
            yield issuer
        self._print(issuer)

    def _print(self, issuer: "Issuer") -> None:
        from theriac.cli.options import print_json
        from theriac.provenance.canonical import digest_of

        files = issuer.write(self.out)
        documents = list(issuer.credentials.values())
        if self.json:
            written = [
                {"id": document["id"], "digest": digest_of(document), "file": str(file)}
                for document, file in zip(documents, files, strict=True)
            ]
            print_json({"id": documents[-1]["id"], "issuer": issuer.key.did, "credentials": written})
            return
        for file in files:
            print(file)
        print(documents[-1]["id"])


@app.command
def data(path: Path, *, name: str | None = None, signing: Signing = Signing()) -> int:
    """Sign what a training data set is: its name and digest.

    Args:
        path: The data, a file or a folder.
        name: What people call it; the file's name by default.
    """
    from theriac.provenance.issuer import Artifact

    artifact = Artifact.at(path, name)
    with signing.issuer() as issuer:
        issuer.data(artifact)
    return ExitCode.NOTHING


@app.command
def weights(path: Path, *, name: str | None = None, signing: Signing = Signing()) -> int:
    """Sign what a model's weights are: their name and digest.

    Args:
        path: The weights, a file or a folder.
        name: What people call them; the file's name by default.
    """
    from theriac.provenance.issuer import Artifact

    artifact = Artifact.at(path, name)
    with signing.issuer() as issuer:
        issuer.data(artifact, weights=True)
    return ExitCode.NOTHING


@app.command
def system(
    name: str,
    *,
    weights: Path,
    data: Annotated[list[Path], Parameter(negative="")] = [],  # noqa: B006 — cyclopts reads it, nothing writes it
    training_code: Path | None = None,
    inference_code: Path | None = None,
    code_version: str = "unknown",
    signing: Signing = Signing(),
) -> int:
    """Sign a linked description of a whole AI system; the last line printed is the system's id.

    Args:
        name: The system's name.
        weights: The model's weights, a file or a folder.
        data: A training data set, a file or a folder; repeatable.
        training_code: The code that trained the model.
        inference_code: The code that runs it.
        code_version: The version of both.
    """
    from theriac.provenance.describe import describe_system
    from theriac.provenance.issuer import Artifact

    weights_bytes, data_bytes = Artifact.at(weights), [Artifact.at(path) for path in data]
    training = Artifact.at(training_code) if training_code else None
    inference = Artifact.at(inference_code) if inference_code else None
    with signing.issuer() as issuer:
        describe_system(
            issuer,
            name,
            weights=weights_bytes,
            data=data_bytes,
            training_code=training,
            inference_code=inference,
            code_version=code_version,
        )
    return ExitCode.NOTHING


@app.command
def poisoning(
    credential: Path,
    *,
    type: str,
    severity: Literal["low", "medium", "high"],
    description: str,
    day: Annotated[str | None, Parameter(name="--date")] = None,
    signing: Signing = Signing(),
) -> int:
    """Attest that what a credential is about is poisoned.

    Args:
        credential: The credential (a JSON file) of the poisoned data, weights or system.
        type: What was done, for instance "data injection" or "mislabelling attack".
        severity: How bad it is.
        description: What was found.
        day: When it was found, YYYY-MM-DD; today by default.
    """
    component, day = _component(credential), _day(day)
    with signing.issuer() as issuer:
        issuer.adopt(component)
        issuer.poisoning(component, type=type, severity=severity, description=description, date=day)
    return ExitCode.NOTHING


@app.command
def check(
    credential: Path,
    *,
    verdict: Literal["clean", "inconclusive"],
    examined: str,
    detector: str,
    detector_version: str,
    probability: float,
    limit: Annotated[list[str], Parameter(negative="")] = [],  # noqa: B006
    day: Annotated[str | None, Parameter(name="--date")] = None,
    signing: Signing = Signing(),
) -> int:
    """Attest that what a credential is about was searched for poisoning, and none was proven.

    Args:
        credential: The credential (a JSON file) of the data, weights or system that was searched.
        verdict: What the search says.
        examined: What was looked at.
        detector: What searched.
        detector_version: Its version.
        probability: The calibrated probability of poisoning that it gave, from 0 to 1.
        limit: What was not, or could not be, looked at; repeatable.
        day: When it was searched, YYYY-MM-DD; today by default.
    """
    from theriac.provenance.issuer import Evidence

    component, day = _component(credential), _day(day)
    evidence = [Evidence(detector, detector_version, probability)]
    with signing.issuer() as issuer:
        issuer.adopt(component)
        issuer.check(component, verdict=verdict, examined=examined, limits=limit, evidence=evidence, date=day)
    return ExitCode.NOTHING


@app.command
def claim(
    matter: Matter,
    credential: Path,
    details: Path,
    *,
    signing: Signing = Signing(),
) -> int:
    """Attest anything else that TAIBOM knows about what a credential is about.

    Args:
        matter: What the claim is about.
        credential: The credential (a JSON file) of the data, weights, code or system.
        details: A JSON file with what is claimed, for instance {"types": ["selection bias"], "severity": "low"}.
    """
    from theriac.provenance.canonical import parse
    from theriac.provenance.credentials import link_to
    from theriac.provenance.kinds import claim_of

    component = _component(credential)
    kind = f"{matter}-attestation"
    said = claim_of(kind, parse(_read(details)))
    with signing.issuer() as issuer:
        issuer.adopt(component)
        issuer.issue(kind, {"component": link_to(component), "attestation": said})
    return ExitCode.NOTHING


@app.command
def retract(credential: Path, *, reason: str, signing: Signing = Signing()) -> int:
    """Take back a credential that the same key signed; it stays on record, and no longer counts from now on.

    Args:
        credential: The credential (a JSON file).
        reason: Why.
    """
    from theriac.provenance.credentials import link_to

    document = _holding(credential)
    with signing.issuer() as issuer:
        if document["issuer"] != issuer.key.did:
            raise UserError("only its issuer can retract it", where=credential, do=f"sign with {document['issuer']}")
        issuer.adopt(document)
        issuer.issue("retraction", {"retracts": link_to(document), "reason": reason})
    return ExitCode.NOTHING


def _component(file: Path) -> "Document":
    """Returns the credential in ``file``, which must hold and be about something that claims can be about."""
    from theriac.provenance.kinds import COMPONENTS, kind_of

    document = _holding(file)
    if kind_of(document) not in COMPONENTS:
        raise UserError("not a credential about data, weights, code or a system", where=file)
    return document


def _holding(file: Path) -> "Document":
    from theriac.provenance.canonical import parse
    from theriac.provenance.credentials import verify

    content = _read(file)
    verification = verify(content)
    if not verification.valid:
        raise UserError(f"the credential does not hold: {verification.reason}", where=file)
    return parse(content)


def _read(file: Path) -> bytes:
    from theriac.provenance.canonical import MAX_BYTES

    with file.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _day(text: str | None) -> str | None:
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"{text!r} is not a date", where="--date", do="write YYYY-MM-DD") from None


def _ask() -> str:
    from getpass import getpass

    return getpass("Passphrase: ")
