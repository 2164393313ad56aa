"""Which (source, target) pairs deserve a search of their own."""

import torch
from torch import Tensor

from theriac.detect.inversion_victim import Victim

EXAMPLES = 4


def promising_pairs(victim: Victim, limit: int) -> tuple[Tensor, Tensor, int]:
    """Returns sources and targets of at most ``limit`` pairs, and how many pairs there are.

    When there are more, they are ranked by the size of the universal change that would lead to the target if the
    network were linear: how far the target's logit lies behind, over the L1 norm of that distance's mean gradient.
    """
    present = [c for c in range(victim.classes) if bool((victim.search.labels == c).any())]
    pairs = torch.tensor([(s, t) for s in present for t in range(victim.classes) if s != t])
    if len(pairs) <= limit:
        return pairs[:, 0], pairs[:, 1], len(pairs)
    distance = torch.empty(len(present), victim.classes)
    for row, source in enumerate(present):
        index = torch.nonzero(victim.search.labels == source)[:EXAMPLES, 0]
        images = victim.search.pixels(index, victim.device)
        for target in range(victim.classes):
            leads, slope = victim.lead_and_slope(images, target)
            distance[row, target] = -leads.mean() / slope.mean(0).abs().sum().clamp(min=1e-12)
    order = torch.stack([distance[present.index(int(s)), t] for s, t in pairs]).argsort(stable=True)[:limit]
    chosen = pairs[order.sort().values]
    return chosen[:, 0], chosen[:, 1], len(pairs)
