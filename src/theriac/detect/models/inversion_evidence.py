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


def trigger_evidence(reading: Reading, victim: Victim) -> TriggerEvidence:
    """Returns the reading's trigger with pictures and with its rates on examples that no search has seen."""
    triggers, best = reading.triggers, reading.best
    parameters = encode(triggers[best])
    trigger = decode(parameters)  # what is written down, rounding included, is what is measured
    data, target = victim.held_out, reading.target
    wanted = data.labels != target if reading.source < 0 else data.labels == reading.source
    images = data[wanted].pixels(device=victim.device)
    return TriggerEvidence(
        space=reading.kind,
        target=target,
        asr=_rate(victim, trigger(images), target),
        base_rate=_rate(victim, images, target),
        size=round(float(triggers.sizes[best]), 4),
        unit=triggers.space.unit,
        pictures=_pictures(trigger, images[:2].cpu()),
        parameters=parameters,
    )


@torch.no_grad()
def _rate(victim: Victim, images: Tensor, target: int) -> float:
    if not len(images):
        return 0.0
    return float((victim.logits(images).argmax(1) == target).float().mean())


def _pictures(trigger: InvertedTrigger, examples: Tensor) -> list[Picture]:
    pictures = [Picture(caption=caption, png=_png(image)) for caption, image in _portraits(trigger, examples.shape[-1])]
    for example in examples:
        changed = trigger(example[None])[0]
        pair = torch.cat([_large(example), torch.ones(3, SIDE, 4), _large(changed)], dim=2)
        pictures.append(Picture(caption="a clean example, and the same with the trigger", png=_png(pair)))
    return pictures


def _portraits(trigger: InvertedTrigger, side: int) -> list[tuple[str, Tensor]]:
    """Returns captions and pictures [3, SIDE, SIDE] of the trigger by itself."""
    if trigger.space == "mask":
        mask = trigger.tensors["mask"].expand(3, -1, -1)
        grey = torch.full((1, 3, *mask.shape[1:]), 0.5)
        return [("the trigger on grey", _large(trigger(grey)[0])), ("its mask", _large(mask))]
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


def _large(image: Tensor) -> Tensor:
    return F.interpolate(image[None], size=(SIDE, SIDE), mode="nearest" if image.shape[-1] < SIDE else "area")[0]


def _png(image: Tensor) -> str:
    return thumbnail((image.clamp(0, 1) * 255).round().to(torch.uint8), side=2 * SIDE + 4)


def size_table(readings: Sequence[Reading], classes: Sequence[str]) -> Table:
    """Returns the size of each class's trigger in each space, and the most anomalous index, smallest sizes first."""
    whole = [reading for reading in readings if bool((reading.triggers.sources < 0).all())]
    columns = ["target class"]
    for reading in whole:
        columns += [
            f"{reading.kind}: size in {reading.triggers.space.unit}",
            f"{reading.kind}: ASR",
            f"{reading.kind}: log shortfall",
        ]
    strongest = torch.stack([reading.shortfalls for reading in whole]).amax(0)
    rows: list[list[str | float | int | None]] = []
    for c in strongest.argsort(descending=True, stable=True)[:SHOWN_CLASSES].tolist():
        row: list[str | float | int | None] = [classes[c]]
        for reading in whole:
            triggers = reading.triggers
            row += [round(float(v[c]), 3) for v in (triggers.sizes, triggers.asrs, reading.shortfalls)]
        rows.append(row)
    return Table(title="Smallest trigger found for each target class", columns=columns, rows=rows)
