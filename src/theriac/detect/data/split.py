"""Does one class hold two kinds of examples? The best split of its activations into two groups.

Spectral signatures (Tran, Li & Madry, NeurIPS 2018) rank a class's rows along its top singular vector; activation
clustering (Chen et al., SafeAI 2019) cuts the class in two by k-means. Both look at the class alone, where natural
variety (light or dark, front or side) drowns a faint trigger. We join the two and deviate as follows. Activations are
whitened by the covariance within the *other* classes, so that only variety that other classes lack stands out. The
spectral directions start, and a two-component Gaussian mixture with one covariance finishes, the split; its
likelihood over one component is the evidence, as in SCAn (Tang et al., USENIX Security 2021).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from theriac.detect.shrinkage import shrunk, whitening


@dataclass(frozen=True)
class Split:
    """The best split of one class.

    Attributes:
        gain: Mean log-likelihood per row that two groups explain better than one.
        separation: Distance of the groups' centres in units of the spread within them.
        distance: [n], the rows' distance from the centre of the main group towards the other one, in the same unit.
        log_odds: [n], for the row being of the smaller group.
        share: Share of the smaller group.
        valley: Rows in the middle third between the two centres per row beyond it. A long tail, which natural variety
            makes, gives about 1; two groups with a gap between them give about 0.
        spectral_gap: Ratio of the two largest variances after whitening by the other classes.
    """

    gain: float
    separation: float
    distance: Tensor
    log_odds: Tensor
    share: float
    valley: float
    spectral_gap: float


def whitened(rows: Tensor, others: Tensor, components: int, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Returns the class's ``components`` top directions relative to the other classes, and all their variances.

    Args:
        rows: [n, d] activations of one class, float64.
        others: [d, d] covariance within the other classes.
        components: How many directions to keep.
        shrinkage: Weight of ``trace/d I`` in ``others``.
    """
    white = (rows - rows.mean(0)) @ whitening(others, shrinkage).T
    variances, directions = torch.linalg.eigh(white.T @ white / len(white))
    return white @ directions[:, -components:].flip(1), variances.flip(0)


def best_split(rows: Tensor, others: Tensor, *, components: int, shrinkage: float, starts: int = 3) -> Split:
    """Splits the activations ``rows`` [n, d] of one class in two; see the module's docstring.

    >>> generator = torch.Generator().manual_seed(0)
    >>> rows = torch.randn(200, 5, generator=generator).double()
    >>> rows[:40, 0] += 8
    >>> split = best_split(rows, torch.eye(5).double(), components=5, shrinkage=1e-3)
    >>> bool(split.separation > 6), int((split.log_odds > 0).sum())
    (True, 40)
    """
    points, variances = whitened(rows, others, components, shrinkage)
    total = shrunk(torch.cov(points.T).reshape(points.shape[1], -1), 1e-6)
    candidates = []
    for axis in range(min(starts, points.shape[1])):
        along = points[:, axis] / points[:, axis].std().clamp(min=1e-12)
        for side in (along > 1, along < -1, along > along.median()):
            candidates.append(_mixture(points, total, side.double() * 0.98 + 0.01))
    gain, share, direction, centres = max(candidates, key=lambda candidate: candidate[0])
    if share > 0.5:
        share, direction, centres = 1 - share, -direction, centres.flip(0)
    separation = float(((centres[1] - centres[0]) @ direction).clamp(min=1e-12).sqrt())
    projected = (points - centres[0]) @ direction
    place = projected / separation**2  # 0 at the main group's centre, 1 at the other one
    beyond = int((place >= 2 / 3).sum())
    between = int(((place > 1 / 3) & (place < 2 / 3)).sum())
    odds = torch.tensor(share / (1 - share), dtype=torch.float64).log()
    return Split(
        gain=gain,
        separation=separation,
        distance=projected / separation,
        log_odds=projected - separation**2 / 2 + odds,
        share=share,
        valley=(between + 1) / (beyond + 1),
        spectral_gap=float(variances[0] / variances[min(1, len(variances) - 1)].clamp(min=1e-12)),
    )


def _mixture(points: Tensor, total: Tensor, belongs: Tensor, steps: int = 60) -> tuple[float, float, Tensor, Tensor]:
    """Expectation maximisation of two Gaussians with one covariance, from soft memberships ``belongs`` [n].

    With one covariance the total scatter fixes the scatter within the groups, so a step costs two weighted means.
    Returns gain per row, share of the second group, discriminant direction, and the two centres.
    """
    n, before = len(points), -float("inf")
    gain, share, direction, centres = 0.0, 0.5, torch.zeros_like(points[0]), torch.zeros_like(points[:2])
    overall = points.mean(0)
    inverse = torch.linalg.inv(total)
    one = -0.5 * (torch.logdet(total) + (((points - overall) @ inverse) * (points - overall)).sum(1).mean())
    for _ in range(steps):
        mass = float(belongs.sum())
        if min(mass, n - mass) < max(5.0, 0.002 * n):  # a few outliers are not a group
            break
        part = mass / n
        second = belongs @ points / mass
        first = (overall - part * second) / (1 - part)
        apart = second - first
        within = total - part * (1 - part) * torch.outer(apart, apart)
        factor, fault = torch.linalg.cholesky_ex(within)
        if int(fault):
            break
        towards = torch.cholesky_solve(apart[:, None], factor)[:, 0]
        log_odds = (points - (first + second) / 2) @ towards + torch.tensor(part / (1 - part)).double().log()
        centred = points - first
        spread = torch.cholesky_solve(centred.T, factor).T.mul(centred).sum(1)
        likelihood = -0.5 * spread + torch.nn.functional.softplus(log_odds) + torch.tensor(1 - part).double().log()
        gain = float(likelihood.mean() - factor.diagonal().log().sum() - one)
        share, direction, centres = part, towards, torch.stack([first, second])
        if gain - before < 1e-7:
            break
        before, belongs = gain, torch.sigmoid(log_odds)
    return gain, share, direction, centres
