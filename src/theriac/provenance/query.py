"""Asking a store about an AI system: TAIBOM's sixteen questions, and the one the other way round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from theriac.errors import UserError
from theriac.provenance import extended, impact, taibom
from theriac.provenance.answer import Answer, Mode
from theriac.provenance.claims import Attestation
from theriac.provenance.policy import EVERYBODY, Policy
from theriac.provenance.snapshot import Snapshot
from theriac.provenance.store import Store

__all__ = ["QUERIES", "Answer", "Attestation", "Mode", "Query", "ask", "data_poisoning"]


@dataclass(frozen=True)
class Query:
    """A question that can be asked about a system.

    Attributes:
        question: In words.
        predicate: TAIBOM's name for it; empty if it is ours.
        extended: Answers it with the meaning of the question.
        arguments: What else must be given; empty for nothing.
    """

    question: str
    predicate: str
    extended: Callable[[Snapshot, extended.Asked], Answer]
    arguments: str = ""


QUERIES: dict[str, Query] = {
    "data-in-system": Query("What was the system trained on?", "data_in_inferencing_system", extended.data_in_system),
    "providers-trusted-whitelist": Query(
        "Are all training data from providers on this list?",
        "ai_system_providers_trusted_with_whitelist",
        extended.providers,
        "PROVIDER ...",
    ),
    "providers-trusted-blacklist": Query(
        "Are no training data from providers on this list?",
        "ai_system_providers_trusted_with_blacklist",
        extended.providers,
        "PROVIDER ...",
    ),
    "data-poisoning": Query(
        "Is there evidence that the system is poisoned?", "ai_system_has_data_poisoning", extended.claims_query
    ),
    "data-pollution": Query(
        "Is there evidence that its data are polluted?", "ai_system_has_data_pollution", extended.claims_query
    ),
    "data-bias": Query("Is there evidence that its data are biased?", "ai_system_has_data_bias", extended.claims_query),
    "code-hash-matches": Query(
        "Is this the code that runs the system?", "ai_system_code_hash_matches", extended.hash_matches, "HASH"
    ),
    "sbom-hash-matches": Query(
        "Is this the SBOM of the code that runs it?", "ai_system_sbom_hash_matches", extended.hash_matches, "HASH"
    ),
    "weights-hash-matches": Query(
        "Are these the system's weights?", "weights_hash_matches_for_ai_system", extended.hash_matches, "HASH"
    ),
    "training-data-matches": Query(
        "Are these all its training data?",
        "submitted_training_data_matches",
        extended.training_data_matches,
        "HASH ...",
    ),
    "training-code-hash-matches": Query(
        "Is this the code that trained it?", "training_code_hash_matches", extended.hash_matches, "HASH"
    ),
    "training-sbom-hash-matches": Query(
        "Is this the SBOM of the code that trained it?",
        "training_code_sbom_hash_matches",
        extended.hash_matches,
        "HASH",
    ),
    "inference-vulnerabilities": Query(
        "Has the software that runs it known vulnerabilities?",
        "ai_system_inference_software_vulnerabilities",
        extended.vulnerabilities,
    ),
    "training-vulnerabilities": Query(
        "Had the software that trained it?", "ai_system_training_software_vulnerabilities", extended.vulnerabilities
    ),
    "best-practice": Query(
        "Was best practice followed?", "ai_system_best_practice_attestations", extended.claims_about
    ),
    "functional-performance": Query(
        "How well does it do its job?", "ai_system_functional_performance", extended.claims_about
    ),
    "systems-using": Query(
        "This credential is about poisoned data or a bad model: which systems came of it, and whose are they?",
        "",
        impact.systems_using,
    ),
}


def ask(
    store: Store,
    query: str,
    system: str,
    arguments: Sequence[str] = (),
    *,
    mode: Mode = "extended",
    at: datetime | None = None,
    policy: Policy = EVERYBODY,
) -> Answer:
    """Asks a store about a system.

    Claims that do not count (bad signature, another credential's hash, expired, retracted, not allowed by the policy,
    behind a broken link) are part of the answer, marked as not accepted.

    Args:
        store: Where to look.
        query: One of :data:`QUERIES`.
        system: The id of the system's credential; of any credential for ``systems-using``.
        arguments: Hashes or providers, as the query needs.
        mode: ``extended``, or ``taibom`` for the reference's meaning, errors included.
        at: The time at which credentials must hold; now by default. TAIBOM's meaning knows no time.
        policy: Whose word counts; everybody's by default.

    Raises:
        UserError: If there is no such query, or its arguments are missing.
    """
    if query not in QUERIES:
        raise UserError(f"no query {query!r}", do=f"ask one of: {', '.join(QUERIES)}")
    wanted = QUERIES[query].arguments
    if bool(wanted) != bool(arguments) or (wanted == "HASH" and len(arguments) > 1):
        raise UserError(f"{query} takes {wanted or 'nothing'} beside the id", do=f"see theriac query {query} --help")
    if mode == "taibom" and not QUERIES[query].predicate:
        raise UserError(f"TAIBOM has no query {query}", do="leave --mode out")
    asked = extended.Asked(query, system, tuple(arguments), at or datetime.now(UTC), policy)
    with store.snapshot() as view:
        if mode == "taibom":
            return taibom.ask(view, query, system, arguments)
        return QUERIES[query].extended(view, asked)


def data_poisoning(store: Store, system_id: str, *, at: datetime | None = None, policy: Policy = EVERYBODY) -> Answer:
    """Returns the evidence that an AI system, or anything it was made of, is poisoned."""
    return ask(store, "data-poisoning", system_id, at=at, policy=policy)
