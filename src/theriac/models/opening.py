"""Opening a model file that nobody has to trust, as a classifier."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from theriac.errors import Refused, UserError
from theriac.models.architectures import build, defaults, head
from theriac.models.classifier import Classifier
from theriac.models.inspection import Examined, examined
from theriac.models.recognise import num_classes


def open_model(
    path: str,
    *,
    architecture: str | None = None,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
) -> Classifier:
    """Opens a safetensors file, a state dict or a whole pickled module, without running anything in it.

    What the caller does not name is taken from the file's own metadata, then from the architecture's usual values; everything taken
    without evidence is listed in the classifier's ``assumptions``.

    Args:
        path: The file; its content decides what it is, not its suffix.
        architecture: For instance ``"torchvision:resnet50"``; recognised from the tensors if left out.
        classes: Name of each class.
        image_size: Side of the square images that the network was trained on.
        mean, std: Per-channel normalisation of pixels in [0, 1].
        name: What to call the model in findings; the file's name if left out.

    Returns:
        The classifier in evaluation mode on the CPU, weights in float32, ``sha256`` being the digest of the original file.

    Raises:
        Refused: If the file is hostile, broken, or holds NaN.
        UserError: If there is no such file, or it does not fit the architecture or the classes.
    """
    with examined(path) as found:
        if found.weights is None:
            raise Refused(found.inspection.reason or "", where=path)
        claims = _claims(found.inspection.metadata, path)
        assumptions: list[str] = list(found.inspection.notes)
        tensors = {key.removeprefix(found.prefix): value for key, value in load_file(found.weights).items()}
        if widened := {str(t.dtype) for t in tensors.values() if t.is_floating_point() and t.dtype != torch.float32}:
            assumptions.append(f"weights of type {', '.join(sorted(widened))} are computed with in torch.float32")
        chosen = architecture or claims.get("architecture") or _recognised(found, assumptions, path)
        count = _count(chosen, tensors, classes or claims.get("classes"), path)
        usual = defaults(chosen)

        def settled(given: Any, key: str) -> Any:
            if given is None and key not in claims:
                assumptions.append(f"the file does not say its {key.replace('_', ' ')}; {usual[key]} is assumed")
            return claims.get(key, usual[key]) if given is None else given

        usual["classes"] = [f"class {k}" for k in range(count)]
        size = settled(image_size, "image_size")
        net = _filled(chosen, count, size, tensors, path)
        return Classifier(
            net,
            architecture=chosen,
            classes=settled(classes, "classes"),
            image_size=size,
            mean=settled(mean, "mean"),
            std=settled(std, "std"),
            name=name or Path(path).name,
            sha256=found.inspection.sha256,
            assumptions=assumptions,
        ).eval()


def _claims(metadata: Mapping[str, str], path: str) -> dict[str, Any]:
    """Returns what the metadata of one of our own files say, each value checked; of other files, nothing."""
    if not metadata.get("format", "").startswith("theriac-classifier/"):
        return {}
    checks: dict[str, Callable[[Any], bool]] = {
        "classes": lambda v: isinstance(v, list) and len(v) > 1 and all(isinstance(c, str) for c in v),
        "image_size": lambda v: type(v) is int and 1 <= v <= 4096,
        "mean": _three_numbers,
        "std": lambda v: _three_numbers(v) and min(v) > 0,
    }
    claims: dict[str, Any] = {"architecture": metadata.get("architecture", "")}
    for key, check in checks.items():
        try:
            value = json.loads(metadata.get(key, ""))
        except (ValueError, RecursionError):
            value = None
        if not check(value):
            raise UserError(f"its metadata have no sound {key!r}", where=path, do="save the model again")
        claims[key] = value
    return claims


def _three_numbers(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == 3 and all(type(x) in (int, float) and math.isfinite(x) for x in value)
    )


def _recognised(found: Examined, assumptions: list[str], path: str) -> str:
    candidates = list(found.inspection.architectures)
    if not candidates:
        what = f"its {found.inspection.tensors} tensors fit no architecture that theriac knows"
        raise UserError(what, where=path, do="name one with --architecture, for instance torchvision:resnet50")
    others = f" (they also fit {', '.join(candidates[1:])})" if len(candidates) > 1 else ""
    assumptions.append(f"the architecture {candidates[0]} was recognised from the tensors{others}")
    return candidates[0]


def _count(architecture: str, tensors: Mapping[str, Tensor], classes: Sequence[str] | None, path: str) -> int:
    """Returns the number of classes in the file's head, which must be the number of class names."""
    count = num_classes({name: tuple(t.shape) for name, t in tensors.items()}, head(architecture))
    if count is None:
        raise UserError(f"has no head as {architecture} has", where=path, do="name the right --architecture")
    if classes is not None and len(classes) != count:
        raise UserError(f"the model tells {count} classes apart, but {len(classes)} are named", where=path)
    return count


def _filled(architecture: str, count: int, size: int, tensors: Mapping[str, Tensor], path: str) -> nn.Module:
    """Returns the network with the file's weights; building without weights first saves their initialisation."""
    try:
        with torch.device("meta"):
            net = build(architecture, count, size)
        net.load_state_dict(tensors, strict=True, assign=True)
        shared = len(list(net.parameters())) != len(list(net.named_parameters(remove_duplicate=False)))
        if shared or any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
            net = build(architecture, count, size)
            net.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise UserError(f"does not fit {architecture}: {what[:300]}", where=path, do="name the right one") from None
    return net.float()
