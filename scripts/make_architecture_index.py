"""Writes src/theriac/models/architectures.json: which tensors each known architecture has.

Every torchvision classifier, every timm model and our own networks are built twice, with 7 and with 11 classes, on the meta device
where possible, so that no weights are made. It takes some minutes: python scripts/make_architecture_index.py [NAME-PART]
"""

import json
import sys
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn
from torchvision import models

from theriac.errors import UserError
from theriac.models.architectures import OURS, build
from theriac.models.recognise import head_axes, names_digest, shapes_digest

CLASSES = (7, 11)


def names() -> list[str]:
    tv = [f"torchvision:{name}" for name in models.list_models(module=models)]
    return [f"theriac:{name}" for name in OURS] + tv + [f"timm:{name}" for name in timm.list_models()]


def shapes(architecture: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    try:
        with torch.device("meta"):
            net: nn.Module = build(architecture, num_classes)
    except (UserError, RuntimeError, NotImplementedError):
        net = build(architecture, num_classes)
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def entry(architecture: str) -> dict[str, object] | None:
    narrow, wide = (shapes(architecture, k) for k in CLASSES)
    head = head_axes(narrow, wide, CLASSES)
    if head is None:
        return None
    return {"names": names_digest(narrow), "shapes": shapes_digest(narrow, head), "head": dict(sorted(head.items()))}


def main(part: str) -> None:
    target = Path(__file__).parents[1] / "src/theriac/models/architectures.json"
    found, left_out = {}, []
    for architecture in names():
        if part not in architecture:
            continue
        try:
            made = entry(architecture)
        except Exception as error:  # one library's broken model must not cost the index of all others
            made = None
            print(f"{architecture}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
        if made is None:
            left_out.append(architecture)
        else:
            found[architecture] = made
    versions = {module.__name__: module.__version__.partition("+")[0] for module in (torch, torchvision, timm)}
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(made, separators=(',', ':'))}" for name, made in found.items())
    head = json.dumps({"versions": versions, "left_out": left_out})[:-1]
    target.write_text(f'{head},\n"architectures":{{\n{lines}\n}}}}\n', encoding="utf-8")
    print(f"{len(found)} architectures, {len(left_out)} left out, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
