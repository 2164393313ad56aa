"""Writing a classifier to one safetensors file that says itself what is in it."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from theriac.errors import UserError
from theriac.files import replacing
from theriac.models import weights
from theriac.models.classifier import Classifier

FORMAT = "theriac-classifier/1"

DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.int32: "I32",
    torch.int64: "I64", torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64",
}  # fmt: skip


def save_model(model: Classifier, path: Path) -> None:
    """Writes ``model`` to ``path``; :func:`theriac.models.opening.open_model` reads it back bit-equal.

    The header's metadata hold the architecture, classes, image size and normalisation. The same model gives the same
    bytes. The file is written whole or not at all; tied weights are written once per name.

    Raises:
        UserError: If ``path`` cannot be written, or a tensor has a type that the format does not hold.
    """
    metadata = {
        "format": FORMAT,
        "architecture": model.architecture,
        "classes": json.dumps(model.classes, ensure_ascii=False),
        "image_size": json.dumps(model.image_size),
        "mean": json.dumps(model.mean.flatten().tolist()),
        "std": json.dumps(model.std.flatten().tolist()),
    }
    tensors = {name: _tensor(name, value) for name, value in model.net.state_dict().items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        weights.write(file, tensors, metadata)


def _tensor(name: str, value: torch.Tensor) -> weights.Tensor:
    if value.dtype not in DTYPES:
        raise UserError(f"tensor {name!r} has type {value.dtype}, which cannot be saved")

    def pieces() -> Iterator[memoryview]:
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data

    return weights.Tensor(DTYPES[value.dtype], tuple(value.shape), pieces)
