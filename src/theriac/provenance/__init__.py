"""Signed evidence about AI systems: keys, credentials, the store that keeps them, and the queries that find them."""

from theriac.provenance.canonical import Document, Invalid, digest_of, to_bytes
from theriac.provenance.credentials import Verification, issue, link_to, verify
from theriac.provenance.describe import SystemCredentials, describe_system
from theriac.provenance.facts import Facts, details_of, facts_of
from theriac.provenance.intake import Accepted
from theriac.provenance.issuer import Artifact, Evidence, Issuer, write_credential
from theriac.provenance.keys import SigningKey, default_folder, load_or_create
from theriac.provenance.policy import Policy, read_policy
from theriac.provenance.query import QUERIES, Answer, Attestation, ask, data_poisoning
from theriac.provenance.store import Added, Store

__all__ = [
    "QUERIES",
    "Accepted",
    "Added",
    "Answer",
    "Artifact",
    "Attestation",
    "Document",
    "Evidence",
    "Facts",
    "Invalid",
    "Issuer",
    "Policy",
    "SigningKey",
    "Store",
    "SystemCredentials",
    "Verification",
    "ask",
    "data_poisoning",
    "default_folder",
    "describe_system",
    "details_of",
    "digest_of",
    "facts_of",
    "issue",
    "link_to",
    "load_or_create",
    "read_policy",
    "to_bytes",
    "verify",
    "write_credential",
]
