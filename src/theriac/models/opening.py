"""Opening a model file that nobody has to trust, as a classifier."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from theriac.errors import Refused, UserError
from theriac.models.agreement import disagreement
from theriac.models.architectures import build, build_empty, defaults, head
from theriac.models.classifier import Classifier
from theriac.models.inspection import Examined, examined
from theriac.models.recognise import num_classes
from theriac.models.saving import FORMAT


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

    What the caller does not name is taken from the file's own metadata, then from the architecture's usual values;
    everything taken without evidence is listed in the classifier's ``assumptions``.

    Args:
        path: The file, local or anywhere that :func:`theriac.files.fetch` knows; its content decides what it is.
        architecture: For instance ``"torchvision:resnet50"``; recognised from the tensors if left out.
        classes: Name of each class.
        image_size: Side of the square images that the network was trained on.
        mean: Per-channel mean of pixels in [0, 1] that the network expects to be subtracted.
        std: Per-channel standard deviation, likewise.
        name: What to call the model in findings; the file's name if left out.

    Returns:
        The classifier in evaluation mode on the CPU, weights in float32; ``sha256`` is the original file's digest.

    Raises:
        Refused: If the file is hostile, broken, or holds NaN.
        UserError: If there is no such file, or it does not fit the architecture or the classes.
    """
    with examined(path) as found:
        if found.weights is None:
            raise Refused(found.inspection.reason or "refused", where=path)
        # Copies: the file goes away, and torch computes with other kernels where memory is not aligned.
        tensors = {key.removeprefix(found.prefix): value.clone() for key, value in load_file(found.weights).items()}
    claims = _claims(found.inspection.metadata, path)
    given = {"classes": classes, "image_size": image_size, "mean": mean, "std": std}
    opening = _Opening(path, found, tensors, claims | {key: value for key, value in given.items() if value is not None})
    if "classes" in claims:
        opening.check_order(claims["classes"])
    net, chosen = opening.network(architecture or claims.get("architecture"))
    usual = defaults(chosen) | {"classes": [f"class {k}" for k in range(opening.count(chosen))]}
    return Classifier(
        net,
        architecture=chosen,
        **{key: opening.settle(key, usual) for key in given},
        name=name or Path(path).name,
        sha256=found.inspection.sha256,
        assumptions=opening.assumptions,
    ).eval()


@dataclass
class _Opening:
    """One opening under way: the file's tensors, what is known beside them, and what had to be assumed so far."""

    path: str
    found: Examined
    tensors: dict[str, Tensor]
    known: dict[str, Any]
    assumptions: list[str] = field(default_factory=list)

    def network(self, named: str | None) -> tuple[nn.Module, str]:
        """Returns the network and its architecture: the named one, or the first recognised one that agrees."""
        self.assumptions += self.found.inspection.notes
        candidates = [named] if named else list(self.found.inspection.architectures)
        if not candidates:
            what = f"its {len(self.tensors)} tensors fit no architecture that theriac knows"
            raise UserError(what, where=self.path, do="name it with --architecture, for instance torchvision:resnet50")
        problems: list[UserError] = []
        for candidate in candidates:
            try:
                net = self.filled(candidate)
            except UserError as error:
                problems.append(error)
                continue
            if not named:
                others = [other for other in candidates[len(problems) :] if other != candidate]
                also = f" (they also fit {', '.join(others)})" if others else ""
                self.assumptions.append(f"the architecture {candidate} was recognised from the tensors{also}")
            return net, candidate
        raise problems[0]

    def filled(self, architecture: str) -> nn.Module:
        """Returns the network with the file's weights; building it without weights first saves making them."""
        count = self.count(architecture)
        size = self.known.get("image_size")
        net = build_empty(architecture, count, size)
        try:
            _load(net, self.tensors, assign=True)
            shared = len(list(net.parameters())) != len(list(net.named_parameters(remove_duplicate=False)))
            if shared or any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
                net = build(architecture, count, size)
                _load(net, self.tensors, assign=False)
        except (RuntimeError, ValueError) as error:
            what = f"does not fit {architecture}: {' '.join(str(error).split())[:300]}"
            raise UserError(what, where=self.path, do="name the right --architecture") from None
        if difference := disagreement(net, self.found.modules):
            raise UserError(f"is not quite {architecture}: {difference}", where=self.path)
        if narrow := {str(t.dtype) for t in net.parameters() if t.dtype != torch.float32}:
            self.assumptions.append(f"weights of type {', '.join(sorted(narrow))} are computed with in torch.float32")
        return net.float()

    def count(self, architecture: str) -> int:
        """Returns the number of classes in the file's head, which must be the number of class names."""
        count = num_classes({name: tuple(t.shape) for name, t in self.tensors.items()}, head(architecture))
        if count is None:
            raise UserError(f"has no head as {architecture} has", where=self.path, do="name the right --architecture")
        named = self.known.get("classes")
        if named is not None and len(named) != count:
            what = f"the model tells {count} classes apart, but {len(named)} are named"
            raise UserError(what, where=self.path, do="check that model, data and class names belong together")
        return count

    def check_order(self, claimed: Sequence[str]) -> None:
        """Compares the classes that the caller names with those that the file claims."""
        named = list(self.known["classes"])
        if named != list(claimed) and sorted(named) == sorted(claimed):
            what = f"has the given classes in another order: {', '.join(claimed)}"
            raise UserError(what, where=self.path, do="give them in the order of the model's outputs")
        if named != list(claimed):
            self.assumptions.append("the classes have the given names, which are not those in the file")

    def settle(self, key: str, usual: Mapping[str, Any]) -> Any:
        """Returns the known value, else the usual one, which is noted as an assumption."""
        if key in self.known:
            return self.known[key]
        shown = "class 0, class 1 …" if key == "classes" else usual[key]
        self.assumptions.append(f"the file does not say its {key.replace('_', ' ')}; assumed: {shown}")
        return usual[key]


def _load(net: nn.Module, tensors: Mapping[str, Tensor], assign: bool) -> None:
    state = net.state_dict()
    state.update(tensors)  # keeps the modules' versions, which some check
    for missing in state.keys() - tensors.keys():
        del state[missing]
    net.load_state_dict(state, strict=True, assign=assign)


def _claims(metadata: Mapping[str, str], path: str) -> dict[str, Any]:
    """Returns what the metadata of one of our own files say, each value checked; of other files, nothing."""
    if metadata.get("format") != FORMAT:
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
    numbers = isinstance(value, list) and all(type(x) in (int, float) and -1e6 < x < 1e6 for x in value)
    return numbers and len(value) == 3
