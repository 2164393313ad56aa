"""Writes src/theriac/models/architectures.json: which tensors each known architecture has.

Every torchvision classifier, every timm model and our own networks are built with two numbers of classes, without
making their weights where possible. It takes about half an hour on one core: python scripts/make_architecture_index.py
"""

import json
import sys
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torchvision import models

from theriac.models.architectures import OURS, shapes
from theriac.models.recognise import head_axes, names_digest, shapes_digest

TARGET = Path(__file__).parents[1] / "src/theriac/models/architectures.json"
CLASSES = (7, 11)


def names() -> list[str]:
    tv = [f"torchvision:{name}" for name in models.list_models(module=models)]
    return [f"theriac:{name}" for name in OURS] + tv + [f"timm:{name}" for name in timm.list_models()]


def entry(architecture: str) -> dict[str, Any] | None:
    narrow, wide = (shapes(architecture, count) for count in CLASSES)
    head = head_axes(narrow, wide, CLASSES)
    if head is None:
        return None
    return {"names": names_digest(narrow), "shapes": shapes_digest(narrow, head), "head": dict(sorted(head.items()))}


def main() -> None:
    found, left_out = {}, []
    for architecture in names():
        try:
            made = entry(architecture)
        except Exception as error:  # one broken model of a library must not cost the index of all others
            made = None
            print(f"{architecture}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
        if made is None:
            left_out.append(architecture)
        else:
            found[architecture] = made
    versions = {module.__name__: module.__version__.partition("+")[0] for module in (torch, torchvision, timm)}
    lines = ",\n".join(f"{json.dumps(name)}:{json.dumps(made, separators=(',', ':'))}" for name, made in found.items())
    head = json.dumps({"versions": versions, "left_out": left_out})[:-1]
    TARGET.write_text(f'{head},\n"architectures":{{\n{lines}\n}}}}\n', encoding="utf-8")
    print(f"{len(found)} architectures, {len(left_out)} left out, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
