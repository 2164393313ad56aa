"""The question the other way round: what came of this data set, or these weights, and who runs it?"""

from itertools import pairwise

from theriac.provenance.answer import Answer
from theriac.provenance.extended import Asked
from theriac.provenance.linking import INFERENCING, WEIGHTS
from theriac.provenance.snapshot import Entry, Snapshot
from theriac.provenance.tables import RELATIONS
from theriac.provenance.walk import Chain, Node, flaw

_CONFIG_DATA = RELATIONS["data"]


def systems_using(view: Snapshot, asked: Asked) -> Answer:
    """Lists the systems that run on what was made from a credential's subject, directly or through other models.

    It follows every link that holds backwards: from data to packs, to training systems, to configs and by these to the
    weights, from weights to configs, to weights derived from them, and to the systems that run them.

    A system whose description does not count by the policy is shown among ``systems``, and is not in the answer. What a
    system names, it vouches for by its digest; only a config that says of other people's weights what they were trained
    on must count by itself, as it must in the forward question.
    """
    chain = Chain(at=asked.at)
    level = [Node(entry, (entry.id,), True) for entry in view.with_ids([asked.system]).get(asked.system, [])]
    if not level:
        chain.gap(f"{asked.system} is not in the store")
    while level:
        fresh: dict[int, Node] = {}
        for node in level:
            if why := flaw(node.entry, asked.at):
                chain.notes.append(f"{node.entry.id}: {why}")
                continue
            known = chain.nodes.get(node.entry.pk)
            if known is None or (node.sound and not known.sound):
                chain.nodes[node.entry.pk] = fresh[node.entry.pk] = node
        level = _above(view, fresh) + _made(view, fresh, asked)
    reasons = {node.entry.pk: _why_not(node, chain, asked) for node in chain.with_role(INFERENCING, WEIGHTS)}
    chain.notes += [f"{chain.nodes[pk].entry.id} does not count: {why}" for pk, why in reasons.items() if why]
    counted = [node for node in chain.with_role(INFERENCING) if not reasons[node.entry.pk]]
    extra = {
        name: [_described(node, reasons[node.entry.pk]) for node in chain.with_role(role)]
        for name, role in (("systems", INFERENCING), ("models", WEIGHTS))
    }
    ids = list(dict.fromkeys(node.entry.id for node in counted))
    return asked.answer(chain, ids, False, paths=[node.path for node in counted], extra=extra)


def _above(view: Snapshot, level: dict[int, Node]) -> list[Node]:
    """Returns what names the parts of this level, except that weights do not make their config's other weights."""
    return [
        Node(entry, (*level[below].path, entry.id), level[below].sound)
        for below, _, entry in view.above([node.entry for node in level.values()])
    ]


def _made(view: Snapshot, level: dict[int, Node], asked: Asked) -> list[Node]:
    """Returns the weights that the configs of this level say were made; not sound if such a config may not count."""
    configs: dict[int, Node] = {pk: node for pk, node in level.items() if node.role == "config"}
    made: list[Node] = []
    for step in view.steps(configs):
        if step.relation == _CONFIG_DATA and step.entry is not None:
            config = configs[step.source]
            path = (*config.path, step.entry.id)
            counts = config.sound and not asked.policy.refuses(config.entry, "describe", path)
            made.append(Node(step.entry, path, counts))
    return made


def _why_not(node: Node, chain: Chain, asked: Asked) -> str:
    """Returns why a system or model does not count by the policy, or nothing."""
    if node.role == INFERENCING and (why := asked.policy.refuses(node.entry, "describe", [node.entry.id])):
        return why
    if node.sound:
        return ""
    steps = set(pairwise(node.path))
    models = {model.entry.id for model in chain.with_role(WEIGHTS)}
    for config in chain.with_role("config"):
        made = next((to for id, to in steps if id == config.entry.id and to in models), "")
        # asked again: only now the system is known, about which a policy may let somebody speak
        if made and (why := asked.policy.refuses(config.entry, "describe", node.path)):
            return f"{config.entry.id}, which says what {made} was trained on, does not: {why}"
    return ""


def _described(node: Node, why_not: str) -> dict[str, object]:
    entry: Entry = node.entry
    known = {"id": entry.id, "name": entry.name, "issuer": entry.issuer, "profile": entry.profile}
    return known | {"accepted": not why_not, "why_not": why_not}
