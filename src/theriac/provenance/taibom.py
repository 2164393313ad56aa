"""The sixteen predicates with exactly the meaning that TAIBOM's reference rules have, where these go wrong too.

For comparison with the reference; the queries to rely on are those of :mod:`theriac.provenance.extended`. As there,
whatever was admitted to the store is a fact: signatures were checked then, and hashes of links, times, retractions and
trust play no part. Where a fact is missing, the answer is "nothing".

Known errors that are kept: the lists of providers hold as soon as one data set satisfies them (and the blacklist, as
soon as one provider is not on it); the hash of the training code matches anything; the best practice of the training is
that of every component there is; code that names no SBOM has every SBOM, and data without a hash have every hash (a
missing optional fact is a variable), while a system's link without a hash is not followed (it is a term of another
form).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from theriac.provenance.answer import Answer
from theriac.provenance.canonical import Document
from theriac.provenance.claims import Attestation
from theriac.provenance.facts import details_of, facts_of
from theriac.provenance.snapshot import Claim, Entry, Snapshot
from theriac.provenance.tables import CLAIMS, RELATIONS, key_of_id

FEW = 2000
_TYPES = {"poisoning": "poisoning", "pollution": "pollution", "bias": "bias"}


@dataclass(frozen=True)
class Facts:
    """Reads facts as the rules do: by id, all credentials with that id alike."""

    view: Snapshot

    def of(self, ids: Iterable[str], kind: str, label: str = "") -> list[Entry]:
        """Returns the facts of a kind with these ids; only those with the label, if one is given."""
        wanted = list(dict.fromkeys(ids))
        found = self.view.with_ids(wanted)
        return [
            entry
            for id in wanted
            for entry in found.get(id, [])
            if entry.valid and entry.kind == kind and label in ("", entry.label)
        ]

    def systems(self, id: str, label: str = "") -> list[Entry]:
        """Returns the AI systems with this id."""
        return self.of([id], "ai-system", label)

    def config_of(self, system: str, label: str = "") -> list[Entry]:
        """Returns the configs that a system names as its data."""
        return self.of((target(entry, "data") for entry in self.systems(system, label)), "config")

    def weights_of(self, system: str, system_label: str = "", label: str = "") -> list[Entry]:
        """Returns the weights in the configs that a system names."""
        configs = self.config_of(system, system_label)
        return self.of((target(entry, "data") for entry in configs), "data", label)

    def packs_of(self, system: str) -> list[Entry]:
        """Returns the packs behind the weights of an inferencing system, by whichever config names those weights."""
        weights = self.weights_of(system, "Inferencing", "Weights")
        keys = [key_of_id(entry.id) for entry in weights]
        configs = [e for e in self.view.naming(keys, RELATIONS["data"]) if e.valid and e.kind == "config"]
        training = self.of((target(entry, "aiSystem") for entry in configs), "ai-system")
        return self.of((target(entry, "data") for entry in training), "data-pack")

    def data_of(self, system: str) -> list[str]:
        """Returns the ids that the packs of a system list."""
        packs = self.packs_of(system)
        return list(dict.fromkeys(link.target for pack in packs for link in facts_of(pack.document).links))

    def code_of(self, systems: Iterable[Entry]) -> list[Entry]:
        """Returns the code of systems."""
        return self.of((target(entry, "code") for entry in systems), "code")

    def training_of(self, system: str) -> list[Entry]:
        """Returns the training systems in the configs that a system names."""
        return self.of((target(entry, "aiSystem") for entry in self.config_of(system)), "ai-system")

    def claims(self, keys: Iterable[bytes], type: str) -> list[Claim]:
        """Returns the claims of a type about these ids."""
        wanted = list(dict.fromkeys(keys))
        return [claim for claim in self.view.claims(wanted, [CLAIMS[f"{type}-attestation"]]) if claim.entry.valid]

    def components(self, type: str) -> set[str]:
        """Returns the ids of all that claims of a type are about."""
        claims = (entry for entry in self.view.of_kind(f"{type}-attestation") if entry.valid)
        return {target(claim, "component") for claim in claims} - {""}


def target(entry: Entry, relation: str) -> str:
    """Returns the id that a credential names by a relation; empty if it names none, or without a hash."""
    named = entry.subject.get(relation)
    if not isinstance(named, dict) or named.get("hash") is None:
        return ""
    return next((link.target for link in facts_of(entry.document).links if link.relation == relation), "")


def ask(view: Snapshot, query: str, system: str, arguments: Sequence[str]) -> Answer:
    """Answers a query as the reference would."""
    answer, alarming, claims = _RULES[query](Facts(view), query, system, arguments)
    return Answer(query, system, "taibom", True, answer, alarming, attestations=claims)


_Result = tuple[bool | list[str], bool, list[Attestation]]
_Rule = Callable[[Facts, str, str, Sequence[str]], _Result]


def _data(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    return facts.data_of(system), False, []


def _claimed(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    type = query.removeprefix("data-")
    packs = facts.packs_of(system)
    pks = [pack.pk for pack in packs]
    if sum(pack.fanout for pack in packs) > FEW:
        codes = [CLAIMS[f"{type}-attestation"]]
        keys = [key for _, key, _, _ in facts.view.claimed_among(pks, codes)]
    else:
        keys = facts.view.targets(pks, RELATIONS["datasets"])
    claims = [c for c in facts.claims(keys, type) if facts_of(c.entry.document).type == type]
    found = _shown(claims, system)
    return bool(found), bool(found), found


def _providers(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    provided = facts.claims(map(key_of_id, facts.data_of(system)), "provided")
    uuids = {str(details_of(claim.entry.document).get("uuid")) for claim in provided}
    identities = [entry.subject for entry in facts.view.of_kind("identity") if entry.valid]
    emails = [str(who.get("email")) for uuid, who in product(sorted(uuids), identities) if who.get("uuid") == uuid]
    whitelist = query.endswith("whitelist")
    trusted = any((email in arguments) == whitelist for email in emails)
    return trusted, not trusted, _shown(provided, system)


def _code_hash(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    return _yes(any(entry.content in arguments for entry in facts.code_of(facts.systems(system)) if entry.content))


def _sbom_hash(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    systems = facts.training_of(system) if query.startswith("training") else facts.systems(system)
    links = [facts_of(code.document).links for code in facts.code_of(systems)]
    return _yes(any(not named or any(link.hash in arguments for link in named) for named in links))


def _weights_hash(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    return _yes(any(entry.content in ("", *arguments) for entry in facts.weights_of(system)))


def _training_data(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    data = facts.of(facts.data_of(system), "data")
    return _yes(bool(data) and {entry.content for entry in data} == set(arguments))


def _training_code_hash(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    # The rule compares with a variable that is bound nowhere: it holds for any hash as soon as there is code.
    return _yes(bool(facts.code_of(facts.training_of(system))))


def _vulnerabilities(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    systems = facts.training_of(system) if query.startswith("training") else facts.systems(system)
    codes = list(facts.code_of(systems))
    boms = {target(code, "sbom") for code in codes} - {""}
    if any(not facts_of(code.document).links for code in codes):
        boms = facts.components("vulnerability")
    found = _shown(facts.claims(map(key_of_id, boms), "vulnerability"), system)
    return bool(found), bool(found), found


def _best_practice(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    # The rule leaves the training system unbound: the practice of its training is that of every component.
    found = _shown(facts.claims(map(key_of_id, facts.components("best-practice")), "best-practice"), system)
    return bool(found), False, found


def _performance(facts: Facts, query: str, system: str, arguments: Sequence[str]) -> _Result:
    found = _shown(facts.claims([key_of_id(system)], "functional-performance"), system)
    return bool(found), False, found


_RULES: dict[str, _Rule] = {
    "data-in-system": _data,
    "providers-trusted-whitelist": _providers,
    "providers-trusted-blacklist": _providers,
    "data-poisoning": _claimed,
    "data-pollution": _claimed,
    "data-bias": _claimed,
    "code-hash-matches": _code_hash,
    "sbom-hash-matches": _sbom_hash,
    "weights-hash-matches": _weights_hash,
    "training-data-matches": _training_data,
    "training-code-hash-matches": _training_code_hash,
    "training-sbom-hash-matches": _sbom_hash,
    "inference-vulnerabilities": _vulnerabilities,
    "training-vulnerabilities": _vulnerabilities,
    "best-practice": _best_practice,
    "functional-performance": _performance,
}


def _yes(answer: bool) -> _Result:
    return answer, not answer, []


def _shown(claims: Iterable[Claim], system: str) -> list[Attestation]:
    shown: dict[str, Attestation] = {}
    for claim in claims:
        entry = claim.entry
        component = next(link for link in facts_of(entry.document).links if link.relation == "component")
        details: Document = details_of(entry.document)
        shown[entry.digest] = Attestation(
            id=entry.id,
            issuer=entry.issuer,
            date=str(entry.document.get("validFrom")),
            component={"id": component.target, "hash": component.hash},
            component_kind="",
            component_name="",
            type=str(entry.kind).removesuffix("-attestation"),
            details=details,
            evidence=[],
            path=tuple(dict.fromkeys((system, component.target))),
            accepted=True,
            why_not="",
            profile=entry.profile,
            digest=entry.digest,
        )
    return list(shown.values())
