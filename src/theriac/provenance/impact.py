"""The question the other way round: what came of this data set, or these weights, and who runs it?"""

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
    """
    chain = Chain()
    level = [Node(entry, (entry.id,), True) for entry in view.with_ids([asked.system]).get(asked.system, [])]
    if not level:
        chain.gap(f"{asked.system} is not in the store")
    while level:
        fresh: dict[int, Node] = {}
        for node in level:
            if why := flaw(node.entry, asked.at):
                chain.notes.append(f"{node.entry.id}: {why}")
            elif node.entry.pk not in chain.nodes:
                chain.nodes[node.entry.pk] = fresh[node.entry.pk] = node
        level = _above(view, fresh) + _made(view, fresh)
    systems = chain.with_role(INFERENCING)
    ids = list(dict.fromkeys(node.entry.id for node in systems))
    extra = {
        "systems": [_described(node) for node in systems],
        "models": [_described(node) for node in chain.with_role(WEIGHTS)],
    }
    return asked.answer(chain, ids, False, paths=[node.path for node in systems], extra=extra)


def _above(view: Snapshot, level: dict[int, Node]) -> list[Node]:
    """Returns what names the parts of this level, except that weights do not make their config's other weights."""
    return [
        Node(entry, (*level[below].path, entry.id), True)
        for below, _, entry in view.above([node.entry for node in level.values()])
    ]


def _made(view: Snapshot, level: dict[int, Node]) -> list[Node]:
    """Returns the weights that the configs of this level say were made."""
    configs: dict[int, Node] = {pk: node for pk, node in level.items() if node.role == "config"}
    made: list[Node] = []
    for step in view.steps(configs):
        if step.relation == _CONFIG_DATA and step.entry is not None:
            made.append(Node(step.entry, (*configs[step.source].path, step.entry.id), True))
    return made


def _described(node: Node) -> dict[str, str]:
    entry: Entry = node.entry
    return {"id": entry.id, "name": entry.name, "issuer": entry.issuer, "profile": entry.profile}
