"""Issuing credentials with one key: about data, weights and code, and about what was found in them."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from theriac.errors import UserError
from theriac.files import fetch, sha256_file, write_text
from theriac.manifest import Entry, Manifest, build, oms_root_digest
from theriac.provenance.canonical import Document, Invalid, digest_of, to_bytes
from theriac.provenance.credentials import issue, link_to, to_text
from theriac.provenance.keys import SigningKey
from theriac.provenance.kinds import SCHEMA_ROOT, check_subject, kind_of, links_of
from theriac.provenance.store import Store
from theriac.provenance.walk import flaw

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, SCHEMA_ROOT)
_PASSING = frozenset({"lastAccessed", "location"})


@dataclass(frozen=True)
class Artifact:
    """Bytes that a credential is about.

    Attributes:
        name: What people call it.
        hash: ``sha256:`` and the digest of a file, or ``sha256-merkle:`` and the Merkle root of a folder.
        path: Where it was, as the user named it; recorded, never followed.
        remote: Whether ``path`` is a URL.
        oms: OpenSSF model signing's root digest, ``sha256:`` and hexadecimal, by which a ``model.sig`` can be matched.
    """

    name: str
    hash: str
    path: str
    remote: bool = False
    oms: str | None = None

    @classmethod
    def at(cls, path: Path, name: str | None = None) -> "Artifact":
        """Returns the file or folder at ``path``, hashing it; the path is recorded by its last part only."""
        last = path.absolute().name or path.anchor
        manifest = build(path)
        return cls(name or last, manifest.root, last, oms=_oms(manifest))

    @classmethod
    def read(cls, name: str, sha256: str, path: str) -> "Artifact":
        """Returns what was read from ``path``, which may be a URL; of a local path only the last part is recorded."""
        local, remote = fetch(path).path, "://" in path
        where = path if remote else local.absolute().name
        if not local.is_file() or sha256_file(local) != sha256:
            return cls(name, f"sha256-merkle:{sha256}", where, remote)
        manifest = Manifest((Entry(local.name, local.stat().st_size, sha256),), single=True)
        return cls(name, f"sha256:{sha256}", where, remote, _oms(manifest))

    def location(self) -> dict[str, str]:
        """Returns TAIBOM's form of ``path``."""
        return {"type": "remote" if self.remote else "local", "path": self.path}


def _oms(manifest: Manifest) -> str | None:
    """Returns OpenSSF's digest; none of a folder of which its tool would sign nothing."""
    with suppress(UserError):
        return f"sha256:{oms_root_digest(manifest)}"
    return None


@dataclass(frozen=True)
class Evidence:
    """A detector's result. ``settings`` and ``finding`` are digests (see :func:`canonical.digest_of`)."""

    detector: str
    version: str
    score: float
    threshold: float | None = None
    settings: str | None = None
    finding: str | None = None

    def subject(self) -> dict[str, str | float]:
        """Returns the evidence as a credential states it."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass
class Issuer:
    """Issues credentials with one key and adds them to a store, if there is one.

    A credential's id follows from its issuer and what it says, so that describing the same system again gives the same
    ids; what the store holds already is taken from there instead of being issued twice.

    Attributes:
        key: The issuer's key.
        store: Where to add credentials, and to look for those that were issued before.
        credentials: Everything issued or found again, in order, by id.
    """

    key: SigningKey
    store: Store | None = None
    credentials: dict[str, Document] = field(default_factory=dict)

    def issue(self, kind: str, subject: Mapping[str, Any]) -> Document:
        """Returns the credential that says ``subject``, issuing it if that was not done before.

        Raises:
            UserError: If the subject does not fit the kind, for instance because a name contains a line break.
        """
        try:
            check_subject(kind, subject)
            id = self._stable_id(kind, subject)
            document = self._issued_before(id, subject) or self._issued_now(kind, subject, id)
        except Invalid as error:
            raise UserError(str(error), do="correct the description") from None
        self.adopt(document)
        self.credentials[id] = document
        return document

    def adopt(self, document: Document) -> None:
        """Adds a credential that somebody issued elsewhere to the store, so that claims about it find it."""
        if self.store is not None:
            self.store.add([document])

    def data(self, artifact: Artifact, *, weights: bool = False) -> Document:
        """Returns a credential about a data set or a model's weights."""
        subject: dict[str, Any] = {
            "name": artifact.name,
            "label": "Weights" if weights else "Training",
            "location": artifact.location(),
            "hash": artifact.hash,
            "lastAccessed": to_text(datetime.now(UTC)),
        }
        if weights and artifact.oms:
            subject["omsRootDigest"] = artifact.oms
        return self.issue("data", subject)

    def code(self, artifact: Artifact, version: str) -> Document:
        """Returns a credential about program code."""
        subject = {
            "name": artifact.name,
            "version": version,
            "location": artifact.location(),
            "hash": {"value": artifact.hash},
        }
        return self.issue("code", subject)

    def poisoning(
        self,
        component: Document,
        *,
        type: str,
        severity: Literal["low", "medium", "high"],
        description: str,
        evidence: Sequence[Evidence] = (),
        date: str | None = None,
    ) -> Document:
        """Attests that ``component`` (a credential) is poisoned; ``date`` is YYYY-MM-DD, today by default."""
        details = {"date": date or _today(), "type": type, "severity": severity, "description": description}
        claim: dict[str, Any] = {"type": "poisoning", "poisoning": details}
        if evidence:
            claim["evidence"] = [item.subject() for item in evidence]
        return self.issue("poisoning-attestation", {"component": link_to(component), "attestation": claim})

    def check(
        self,
        component: Document,
        *,
        verdict: Literal["clean", "inconclusive"],
        examined: str,
        limits: Sequence[str],
        evidence: Sequence[Evidence],
        date: str | None = None,
    ) -> Document:
        """Attests that ``component`` was searched for poisoning and none was proven.

        Args:
            component: The credential of what was searched.
            verdict: What the search says.
            examined: What was looked at.
            limits: What was not, or could not be, looked at.
            evidence: The detectors that ran, at least one.
            date: YYYY-MM-DD, today by default.
        """
        check = {"date": date or _today(), "verdict": verdict, "examined": examined, "limits": list(limits)}
        claim = {"type": "poisoning-check", "check": check, "evidence": [item.subject() for item in evidence]}
        return self.issue("poisoning-check-attestation", {"component": link_to(component), "attestation": claim})

    def write(self, folder: Path) -> list[Path]:
        """Writes every credential of this issuer to ``folder`` as ``KIND-UUID.json`` and returns the files."""
        return [write_credential(document, folder) for document in self.credentials.values()]

    def _stable_id(self, kind: str, subject: Mapping[str, Any]) -> str:
        said = {"kind": kind, "issuer": self.key.did, "subject": _lasting(subject)}
        return f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest_of(said))}"

    def _issued_before(self, id: str, subject: Mapping[str, Any]) -> Document | None:
        if self.store is None:
            return self.credentials.get(id)
        now = datetime.now(UTC)
        with self.store.snapshot() as view:
            candidates = view.with_ids([id]).get(id, [])
        ours = [entry for entry in candidates if entry.valid and entry.document["issuer"] == self.key.did]
        links = sorted(links_of(subject))  # a store keeps fields in another order
        same = [entry for entry in ours if sorted(links_of(entry.subject)) == links and not flaw(entry, now)]
        return same[0].document if same else None

    def _issued_now(self, kind: str, subject: Mapping[str, Any], id: str) -> Document:
        """Issues a credential that is not in the store.

        Said again within the second in which it was retracted, it would be the same document, and so retracted, too.
        """
        moment = datetime.now(UTC)
        document = issue(kind, subject, self.key, id=id, valid_from=moment)
        while self._is_stored(document):
            moment += timedelta(seconds=1)
            document = issue(kind, subject, self.key, id=id, valid_from=moment)
        return document

    def _is_stored(self, document: Document) -> bool:
        if self.store is None:
            return False
        with self.store.snapshot() as view:
            return bool(view.with_digests([digest_of(document)]))


def write_credential(document: Document, folder: Path) -> Path:
    """Writes a credential to ``folder`` as ``KIND-UUID.json`` and returns the file."""
    path = folder / f"{kind_of(document)}-{str(document['id']).rpartition(':')[2]}.json"
    write_text(path, to_bytes(document).decode())
    return path


def _lasting(value: Any) -> Any:
    """Returns what a subject says apart from times, places and the digests of links (these follow from times)."""
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"id", "hash"}:
        return {"id": value["id"]}
    return {name: _lasting(item) for name, item in value.items() if name not in _PASSING}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
