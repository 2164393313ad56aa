"""Opening a model file that nobody has to trust, as a classifier."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from theriac.errors import Refused, UserError
from theriac.models.agreement import disagreement
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
            raise Refused(found.inspection.reason or "refused", where=path)
        claims = _claims(found.inspection.metadata, path)
        # Copies: the file goes away, and torch computes with other kernels where memory is not aligned.
        tensors = {key.removeprefix(found.prefix): value.clone() for key, value in load_file(found.weights).items()}
    opening = _Opening(path, found, tensors, list(found.inspection.notes))
    chosen = architecture or claims.get("architecture") or opening.recognised()
    count = opening.count(chosen, classes or claims.get("classes"))
    usual = defaults(chosen)
    size = opening.settle("image_size", image_size, claims, usual)
    net = opening.filled(chosen, count, size)
    return Classifier(
        net,
        architecture=chosen,
        classes=opening.settle("classes", classes, claims, {"classes": [f"class {k}" for k in range(count)]}),
        image_size=size,
        mean=opening.settle("mean", mean, claims, usual),
        std=opening.settle("std", std, claims, usual),
        name=name or Path(path).name,
        sha256=found.inspection.sha256,
        assumptions=opening.assumptions,
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


@dataclass
class _Opening:
    """One opening under way: the file's tensors and what had to be assumed so far."""

    path: str
    found: Examined
    tensors: dict[str, Tensor]
    assumptions: list[str]

    def recognised(self) -> str:
        candidates = list(self.found.inspection.architectures)
        if not candidates:
            what = f"its {len(self.tensors)} tensors fit no architecture that theriac knows"
            raise UserError(what, where=self.path, do="name it with --architecture, for instance torchvision:resnet50")
        others = f" (they also fit {', '.join(candidates[1:])})" if len(candidates) > 1 else ""
        self.assumptions.append(f"the architecture {candidates[0]} was recognised from the tensors{others}")
        return candidates[0]

    def count(self, architecture: str, classes: Sequence[str] | None) -> int:
        """Returns the number of classes in the file's head, which must be the number of class names."""
        count = num_classes({name: tuple(t.shape) for name, t in self.tensors.items()}, head(architecture))
        if count is None:
            raise UserError(f"has no head as {architecture} has", where=self.path, do="name the right --architecture")
        if classes is not None and len(classes) != count:
            raise UserError(f"the model tells {count} classes apart, but {len(classes)} are named", where=self.path)
        return count

    def settle(self, key: str, given: Any, claims: Mapping[str, Any], usual: Mapping[str, Any]) -> Any:
        """Returns the caller's value, else the file's, else the usual one, which is noted as an assumption."""
        if given is not None or key in claims:
            return claims[key] if given is None else given
        shown = "class 0, class 1 …" if key == "classes" else usual[key]
        self.assumptions.append(f"the file does not say its {key.replace('_', ' ')}; {shown} is assumed")
        return usual[key]

    def filled(self, architecture: str, count: int, size: int) -> nn.Module:
        """Returns the network with the file's weights; building it without weights saves their initialisation."""
        try:
            with torch.device("meta"):
                net = build(architecture, count, size)
            net.load_state_dict(self.tensors, strict=True, assign=True)
            shared = len(list(net.parameters())) != len(list(net.named_parameters(remove_duplicate=False)))
            if shared or any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
                net = build(architecture, count, size)
                net.load_state_dict(self.tensors, strict=True)
        except RuntimeError as error:
            what = f"does not fit {architecture}: {' '.join(str(error).split())[:300]}"
            raise UserError(what, where=self.path, do="name the right --architecture") from None
        if difference := disagreement(net, self.found.modules):
            raise UserError(f"is not quite {architecture}: {difference}", where=self.path)
        narrow = {str(t.dtype) for t in net.parameters() if t.dtype != torch.float32}
        if narrow:
            self.assumptions.append(f"weights of type {', '.join(sorted(narrow))} are computed with in torch.float32")
        return net.float()
