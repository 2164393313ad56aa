"""Adding a claim to a store, and taking one's own back, as signed credentials like any other."""

from datetime import UTC, datetime
from typing import Any, Literal

from theriac.errors import UserError
from theriac.provenance import Document, Invalid, SigningKey, Store, issue, link_to
from theriac.provenance.snapshot import Entry

Claim = Literal["poisoning", "pollution", "bias"]
Severity = Literal["low", "medium", "high"]


def attest(
    store: Store, key: SigningKey, component: Entry, claim: Claim, *, type: str, severity: Severity, description: str
) -> Document:
    """Signs a claim about a credential's subject, adds it to the store and returns it.

    Args:
        store: Where to add it.
        key: Signs it.
        component: What the claim is about.
        claim: What kind of claim.
        type: In what way: for instance "data injection".
        severity: How bad it is.
        description: What was seen.

    Raises:
        UserError: If a text does not fit, or the store cannot be written to.
    """
    details: dict[str, Any] = {"severity": severity, "description": description}
    if claim == "bias":
        details["types"] = [type]
    else:
        details |= {"type": type, "date": datetime.now(UTC).date().isoformat()}
    attestation = {"type": claim, claim: details}
    subject = {"component": link_to(component.document), "attestation": attestation}
    return _add(store, key, f"{claim}-attestation", subject)


def retract(store: Store, key: SigningKey, credential: Entry, reason: str) -> Document:
    """Signs a retraction of a credential, adds it to the store and returns it.

    Raises:
        UserError: If another key signed the credential, or the store cannot be written to.
    """
    if credential.signer != key.did:
        raise UserError("only the key that signed a credential can retract it")
    if credential.retracted is not None:
        raise UserError("the credential is retracted already")
    return _add(store, key, "retraction", {"retracts": link_to(credential.document), "reason": reason})


def _add(store: Store, key: SigningKey, kind: str, subject: dict[str, Any]) -> Document:
    try:
        document = issue(kind, subject, key)
    except Invalid as error:
        raise UserError(f"cannot be signed: {error}") from None
    added = store.add([document])
    if added.invalid or added.refused or added.kept_out:
        raise UserError(f"was not taken: {[*added.invalid, *added.refused, *added.kept_out][0]}")
    return document
