"""The queries with the meaning that their questions have: over the whole chain, and failing closed.

Where the reference (TAIBOM's rules) goes wrong we deviate: claims on every part of the chain count; packs may be
nested; data may be derived from other data, and weights from base weights; each link is compared with what it names;
lists of trusted providers hold for all data or not at all; hashes are really compared; and an unknown system or a
broken chain is said, instead of "nothing found".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from theriac.provenance.answer import Answer
from theriac.provenance.claims import Attestation, gather
from theriac.provenance.facts import facts_of
from theriac.provenance.linking import TRAINING, TRAINING_DATA, WEIGHTS, same_digest
from theriac.provenance.policy import Policy
from theriac.provenance.snapshot import Snapshot
from theriac.provenance.walk import Chain, Node, leaves, walk

_CHECKS = {"poisoning": ["poisoning-check"]}


@dataclass(frozen=True)
class Asked:
    """One question: what, about which system, with which further arguments, when, and whose word counts."""

    query: str
    system: str
    arguments: tuple[str, ...]
    at: datetime
    policy: Policy

    def answer(self, chain: Chain, answer: bool | list[str], alarming: bool, **others: object) -> Answer:
        """Returns the answer with what the chain says about itself."""
        return Answer(
            self.query,
            self.system,
            "extended",
            chain.complete,
            answer,
            alarming,
            warnings=[*chain.gaps, *chain.notes],
            nodes=list(dict.fromkeys(node.entry.id for node in _near_first(chain.nodes.values()))),
            **others,  # type: ignore[arg-type]
        )

    def walk(self, view: Snapshot) -> Chain:
        """Returns everything that the system was made of."""
        return walk(view, self.system, self.at, self.policy)


def claims_query(view: Snapshot, asked: Asked) -> Answer:
    """Answers whether there is evidence of poisoning, pollution or bias anywhere in the chain."""
    type = asked.query.removeprefix("data-")
    chain = asked.walk(view)
    attestations = gather(view, chain, [type], asked.at, asked.policy)
    checks = gather(view, chain, _CHECKS.get(type, []), asked.at, asked.policy)
    spoken = {claim.component["id"] for claim in (*attestations, *checks) if claim.accepted}
    parts = [node for node in _near_first(chain.nodes.values()) if node.entry.kind == "data"]
    unchecked = [node.entry.id for node in parts if node.entry.id not in spoken]
    if chain.crowds:
        chain.notes.append("the training data are too many to list those that nobody searched")
    found = any(claim.accepted for claim in attestations)
    return asked.answer(chain, found, found, attestations=attestations, checks=checks, unchecked=unchecked)


def data_in_system(view: Snapshot, asked: Asked) -> Answer:
    """Lists all training data of the system."""
    chain = asked.walk(view)
    data = [node for node in _training_data(view, chain, asked.at) if node.sound]
    ids = list(dict.fromkeys(node.entry.id for node in data))
    return asked.answer(chain, ids, False, paths=[node.path for node in data[:1000]])


def providers(view: Snapshot, asked: Asked) -> Answer:
    """Answers whether the providers of all training data are trusted: all on the whitelist, none on the blacklist.

    Every data set must have a provider whom somebody names whose word counts, and the chain must be complete: of what
    nobody knows the origin, nobody can say that it is trusted.
    """
    chain = asked.walk(view)
    data = _training_data(view, chain, asked.at)
    provided = gather(view, chain, ["provided"], asked.at, asked.policy, data)
    listed = {text.lower() for text in asked.arguments}
    by_data: dict[str, list[Attestation]] = {}
    for claim in provided:
        if claim.accepted:
            by_data.setdefault(claim.component["id"], []).append(claim)
    names = _names(view, asked, [str(claim.details.get("uuid", "")) for claim in provided])
    strangers = 0
    for node in data:
        origins = by_data.get(node.entry.id, [])
        if not origins:
            chain.gap(f"nobody whose word counts says who provided {node.entry.id}")
        for claim in origins:
            known = names.get(str(claim.details.get("uuid", "")), set())
            on_list = bool(known & listed)
            if on_list != asked.query.endswith("whitelist"):
                strangers += 1
                who = ", ".join(sorted(known))
                chain.notes.append(f"{node.entry.id} was provided by {who}, which is {'' if on_list else 'not '}listed")
    trusted = not strangers and chain.complete and bool(data)
    return asked.answer(chain, trusted, strangers > 0, attestations=provided)


def hash_matches(view: Snapshot, asked: Asked) -> Answer:
    """Answers whether code, SBOM or weights are those that the credentials describe."""
    chain = asked.walk(view)
    what, training = asked.query.removesuffix("-hash-matches"), asked.query.startswith("training-")
    what = what.removeprefix("training-")
    roots = _direct_training(view, chain) if training else chain.roots
    stated: set[str] = set()
    for root in roots:
        stated |= {hash for hash in _stated(chain, root, what) if same_digest(hash, hash)}
    if not stated:
        chain.gap(f"no credential says what the {'training ' if training else ''}{what} is")
    matches = bool(stated) and bool(asked.arguments) and not _missing(asked.arguments, stated)
    counts = not any(asked.policy.refuses(root.entry, "describe", [asked.system]) for root in chain.roots)
    alarming = counts and bool(stated) and not matches
    return asked.answer(chain, counts and matches and _all_sound(roots), alarming, extra={"stated": sorted(stated)})


def training_data_matches(view: Snapshot, asked: Asked) -> Answer:
    """Answers whether these are the hashes of all training data, and of nothing else."""
    chain = asked.walk(view)
    data = [node for node in _training_data(view, chain, asked.at) if node.sound]
    stated = {node.entry.content for node in data}
    if not all(same_digest(hash, hash) for hash in stated):
        chain.gap("some training data have no hash")
    changed = _missing(stated, asked.arguments)
    for node in data:
        if node.entry.content in changed:
            chain.notes.append(f"{node.entry.id} ({node.entry.name}) has a hash that was not given")
    strangers = _missing(asked.arguments, stated)
    chain.notes += [f"no training data have the hash {hash}" for hash in sorted(strangers)]
    matches = bool(data) and not changed and not strangers
    return asked.answer(chain, matches and chain.complete, bool(data) and not matches)


def vulnerabilities(view: Snapshot, asked: Asked) -> Answer:
    """Lists the known vulnerabilities of the software that runs, or trained, the system."""
    chain = asked.walk(view)
    training = asked.query.startswith("training-")
    roots = chain.with_role(TRAINING) if training else chain.roots
    parts = [part for root in roots for part in _software(chain, root)]
    found = gather(view, chain, ["vulnerability"], asked.at, asked.policy, parts)
    if not any(part.entry.kind == "sbom" for part in parts):
        chain.gap(f"no credential says what software {'trained' if training else 'runs'} the system")
    alarming = any(claim.accepted for claim in found)
    return asked.answer(chain, alarming, alarming, attestations=found)


def claims_about(view: Snapshot, asked: Asked) -> Answer:
    """Lists attestations of best practice or functional performance about any part of the chain."""
    chain = asked.walk(view)
    found = gather(view, chain, [asked.query], asked.at, asked.policy)
    return asked.answer(chain, any(claim.accepted for claim in found), False, attestations=found)


def _training_data(view: Snapshot, chain: Chain, at: datetime) -> list[Node]:
    data = {node.entry.pk: node for node in _near_first(chain.nodes.values()) if node.role == TRAINING_DATA}
    for _, node in leaves(view, chain.crowds, at):
        known = data.get(node.entry.pk)
        if node.role == TRAINING_DATA and (known is None or (node.sound and not known.sound)):
            data[node.entry.pk] = node
    return list(data.values())


def _direct_training(view: Snapshot, chain: Chain) -> list[Node]:
    """Returns the systems that trained the system's own weights, not those behind its base models."""
    direct = []
    for node in chain.with_role(TRAINING):
        weights = [id for id in node.path if any(n.entry.id == id for n in chain.with_role(WEIGHTS))]
        if len(weights) <= 1:
            direct.append(node)
    return direct


def _stated(chain: Chain, root: Node, what: str) -> set[str]:
    if what == "weights":
        own = [node for node in chain.with_role(WEIGHTS) if node.sound and node.path[:-1] in _holders(chain)]
        return {node.entry.content for node in own}
    if what == "code":
        return {node.entry.content for node in _software(chain, root) if node.entry.kind == "code"}
    stated = set()
    for node in _software(chain, root):
        if node.entry.kind == "sbom":
            stated.add(node.entry.digest)
        if node.entry.kind == "code":
            stated |= {link.hash for link in facts_of(node.entry.document).links if link.relation == "sbom"}
    return stated


def _holders(chain: Chain) -> set[tuple[str, ...]]:
    """Returns the ways to what names a system's own weights: itself, or its config."""
    return {node.path for node in (*chain.roots, *chain.with_role("config")) if len(node.path) <= 2}


def _software(chain: Chain, root: Node) -> list[Node]:
    """Returns the sound code of a system, and its SBOM."""
    named = {link.target for link in facts_of(root.entry.document).links if link.relation == "code"}
    code = [
        node for node in chain.nodes.values() if node.entry.kind == "code" and node.entry.id in named and node.sound
    ]
    boms = {link.target for node in code for link in facts_of(node.entry.document).links if link.relation == "sbom"}
    return code + [n for n in chain.nodes.values() if n.entry.kind == "sbom" and n.entry.id in boms and n.sound]


def _names(view: Snapshot, asked: Asked, uuids: Iterable[str]) -> dict[str, set[str]]:
    """Returns uuid -> every name under which a list may have the provider: the uuid itself, and identities' e-mails."""
    wanted = set(uuids)
    names = {uuid: {uuid.lower()} for uuid in wanted}
    for entry in view.of_kind("identity"):
        uuid = entry.subject.get("uuid")
        if uuid in wanted and not asked.policy.refuses(entry, "describe", [entry.id]) and entry.valid:
            names[uuid].add(str(entry.subject.get("email", "")).lower())
    return names


def _all_sound(nodes: Sequence[Node]) -> bool:
    return bool(nodes) and all(node.sound for node in nodes)


def _near_first(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (len(node.path), node.path))


def _missing(hashes: Iterable[str], others: Iterable[str]) -> set[str]:
    """Returns those hashes that are not among the others; see :func:`theriac.provenance.linking.same_digest`."""
    by_value: dict[str, list[str]] = {}
    for other in others:
        by_value.setdefault(other.rpartition(":")[2], []).append(other)

    def is_there(hash: str) -> bool:
        return any(same_digest(hash, other) for other in by_value.get(hash.rpartition(":")[2], ()))

    return {hash for hash in hashes if not is_there(hash)}
