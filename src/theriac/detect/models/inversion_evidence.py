"""Pictures, rates and tables about inverted triggers."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.detect.evidence import thumbnail
from theriac.detect.inversion_victim import Victim
from theriac.detect.inverted import InvertedTrigger, decode, encode
from theriac.detect.models.inversion_verdict import Reading
from theriac.finding import Picture, Table, TriggerEvidence

SIDE = 96
SHOWN_CLASSES = 64
FOUND = 0.8
"""ASR below which a search has found no trigger worth naming."""


def trigger_evidence(reading: Reading, victim: Victim) -> TriggerEvidence:
    """Returns the reading's trigger with pictures and with its rates on examples that no search has seen."""
    triggers, best = reading.triggers, reading.best
    parameters = encode(triggers[best])
    trigger = decode(parameters)  # what is written down, rounding included, is what is measured
    data, target = victim.held_out, reading.target
    data = data[data.labels != target if reading.source < 0 else data.labels == reading.source]
    images = data.pixels(device=victim.device)
    led = _led(victim, trigger(images), target)
    return TriggerEvidence(
        space=reading.kind,
        target=target,
        asr=_share(led),
        base_rate=_share(_led(victim, images, target)),
        size=round(float(triggers.sizes[best]), 4),
        unit=triggers.space.unit,
        pictures=_pictures(trigger, images[_exhibits(data.labels, led)], victim),
        parameters=parameters,
    )


@torch.no_grad()
def _led(victim: Victim, images: Tensor, target: int) -> Tensor:
    """Returns which of ``images`` [n] the model gives to ``target``."""
    return victim.logits(images).argmax(1) == target if len(images) else torch.zeros(0, dtype=torch.bool)


def _share(led: Tensor) -> float:
    return float(led.float().mean()) if len(led) else 0.0


def _exhibits(labels: Tensor, led: Tensor) -> Tensor:
    """Returns two rows to show: of different classes where there are, and such that the trigger works on them."""
    rows = led.cpu().nonzero().flatten()
    first = [rows[labels[rows] == c][:1] for c in sorted(set(labels[rows].tolist()))]
    order = torch.cat([*first, rows, torch.arange(len(labels))]).tolist()
    return torch.tensor(list(dict.fromkeys(order))[:2], dtype=torch.int64)


@torch.no_grad()
def _pictures(trigger: InvertedTrigger, examples: Tensor, victim: Victim) -> list[Picture]:
    """Returns what to look at first: the trigger, then examples without and with it and the model's answers."""
    portraits = [
        Picture(caption=caption, png=_png(image)) for caption, image in _portraits(trigger, examples.shape[-1])
    ]
    pairs = []
    for example in examples:
        for words, image in (("without", example), ("with", trigger(example[None])[0])):
            answer = victim.model.classes[int(victim.logits(image[None]).argmax())]
            pairs.append(Picture(caption=f"{words} the trigger: “{answer}”", png=_png(_large(image.cpu()))))
    return portraits[:1] + pairs + portraits[1:]


def _portraits(trigger: InvertedTrigger, side: int) -> list[tuple[str, Tensor]]:
    """Returns captions and pictures [3, SIDE, SIDE] of the trigger by itself."""
    if trigger.space == "mask":
        mask = trigger.tensors["mask"].expand(3, -1, -1)
        grey = torch.full((1, 3, *mask.shape[1:]), 0.5)
        pasted = trigger(grey)[0]
        close = _large(_crop(pasted, mask[0]))
        return [("the trigger, enlarged", close), ("the trigger on grey", _large(pasted)), ("its mask", _large(mask))]
    if trigger.space == "perturbation":
        delta = trigger.tensors["delta"]
        return [("what is added, at full contrast", _large(0.5 + 0.5 * delta / delta.abs().max().clamp(min=1e-6)))]
    if trigger.space == "colour":
        hues = torch.linspace(0, 1, side)
        chart = torch.stack([hues.expand(side, -1), hues[:, None].expand(-1, side), torch.full((side, side), 0.5)])
        pair = torch.cat([_large(chart), torch.ones(3, SIDE, 4), _large(trigger(chart[None])[0])], dim=2)
        return [("a colour chart, and the same with the trigger", pair)]
    lines = torch.arange(side) % max(4, side // 8) == 0
    lattice = torch.where(lines[:, None] | lines[None, :], 0.15, 0.9).expand(1, 3, side, side)
    strong = InvertedTrigger("warp", trigger.target, {"field": trigger.tensors["field"] * 3})
    return [("what the warp does to a lattice, three times as strong", _large(strong(lattice)[0]))]


def _crop(image: Tensor, mask: Tensor) -> Tensor:
    """Returns the square of ``image`` [3, h, w] around the places where ``mask`` [h, w] is strong."""
    places = (mask > 0.25 * mask.max()).nonzero()
    low, high = places.amin(0), places.amax(0) + 1
    side = min(int((high - low).max()) + 4, *mask.shape)
    top, left = (int(((a + b - side) // 2).clamp(0, n - side)) for a, b, n in zip(low, high, mask.shape, strict=True))
    return image[:, top : top + side, left : left + side]


def _large(image: Tensor) -> Tensor:
    return F.interpolate(image[None], size=(SIDE, SIDE), mode="nearest" if image.shape[-1] < SIDE else "area")[0]


def _png(image: Tensor) -> str:
    return thumbnail((image.clamp(0, 1) * 255).round().to(torch.uint8), side=2 * SIDE + 4)


def size_table(readings: Sequence[Reading], classes: Sequence[str]) -> Table:
    """Returns the size of each class's smallest trigger in each space and how anomalous it is, the worst first."""
    whole = [reading for reading in readings if bool((reading.triggers.sources < 0).all())]
    columns = ["target class", "anomaly", *(f"{reading.kind}: {reading.triggers.space.unit}" for reading in whole)]
    strongest = torch.stack([reading.shortfalls for reading in whole]).amax(0)
    rows: list[list[str | float | int | None]] = []
    for c in strongest.argsort(descending=True, stable=True)[:SHOWN_CLASSES].tolist():
        found = [(float(r.triggers.sizes[c]), float(r.triggers.asrs[c])) for r in whole]
        sizes = [round(size, 3) if asr >= FOUND else None for size, asr in found]
        rows.append([classes[c], round(float(strongest[c]), 3), *sizes])
    return Table(title="Smallest trigger found for each target class", columns=columns, rows=rows)
