"""Activations of a model by layer name: one forward pass serves any number of layers.

A layer is named by its module path, for instance ``"net.layer2"``, which stands for the module's output;
``"net.fc:input"`` stands for its first input. Whatever shape a layer has, it is averaged over places and positions to
one row of channels per example, at once, so that nothing large is kept.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from theriac.errors import UserError
from theriac.models.classifier import Classifier

_STAGES = re.compile(r"^(layer|stage|block|denseblock)_?\d+$|^(inception|Mixed_)\w+$")
_CONTAINERS = re.compile(r"(^|\.)(features|stages|blocks|layers|trunk)$")


class _Stop(Exception):
    """Ends a forward pass whose later part nobody needs."""


class Activations:
    """Captures layers of ``model``; use it as a context manager and call it on images.

    Inside the block the model is in ``eval`` mode; afterwards its mode is as before and no hook is left. The forward
    pass ends at the last of the layers.

    Args:
        model: Any module that takes one tensor of images.
        layers: Names as in the module's docstring.

    Raises:
        UserError: If there is no such layer.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    >>> with Activations(net, ["0", "3:input"]) as capture:
    ...     rows = capture(torch.zeros(5, 3, 8, 8))
    >>> [list(row.shape) for row in rows.values()]
    [[5, 4], [5, 144]]
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        modules = dict(model.named_modules())
        for layer in layers:
            if layer.removesuffix(":input") not in modules:
                raise UserError(f"the model has no layer {layer!r}", do="name a module path such as net.layer1")
        self.model, self.layers = model, tuple(dict.fromkeys(layers))
        self._modules = {layer: modules[layer.removesuffix(":input")] for layer in self.layers}
        self._modes: list[tuple[nn.Module, bool]] = []
        self._handles: list[RemovableHandle] = []
        self._rows: dict[str, Tensor] = {}

    def __enter__(self) -> "Activations":
        self._modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        for layer, module in self._modules.items():
            if layer.endswith(":input"):
                hook = module.register_forward_pre_hook(self._on_input(layer), with_kwargs=True)
            else:
                hook = module.register_forward_hook(self._on_output(layer))
            self._handles.append(hook)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for module, mode in self._modes:
            module.training = mode

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Returns layer -> float rows [n, channels] of ``images`` [n, 3, h, w].

        Raises:
            UserError: If the model does not use one of the layers.
        """
        self._rows = {}
        try:
            with torch.no_grad():
                self.model(images)
        except _Stop:
            pass
        missing = [layer for layer in self.layers if layer not in self._rows]
        if missing:
            raise UserError(f"the forward pass never reaches layer {missing[0]!r}", do="choose another layer")
        return {layer: self._rows[layer] for layer in self.layers}

    def _keep(self, layer: str, value: Any) -> None:
        self._rows[layer] = rows_of(value)
        if len(self._rows) == len(self.layers):
            raise _Stop

    def _on_input(self, layer: str) -> Any:
        return lambda module, args, kwargs: self._keep(layer, args or tuple(kwargs.values()))

    def _on_output(self, layer: str) -> Any:
        return lambda module, args, output: self._keep(layer, output)


def rows_of(value: Any) -> Tensor:
    """Returns one float row of channels per example from whatever a layer gives.

    Of tuples, lists and mappings the first tensor counts. [n, c, h, w], [n, h, w, c] (told apart by the two equal
    sides) and [n, tokens, c] are averaged over places.

    Raises:
        UserError: If there is no tensor of at least two dimensions in it.

    >>> rows_of((torch.ones(2, 7, 4, 4), None)).shape, rows_of(torch.ones(2, 4, 4, 7)).shape
    (torch.Size([2, 7]), torch.Size([2, 7]))
    """
    while isinstance(value, (tuple, list, dict)) and value:
        parts = list(value.values() if isinstance(value, dict) else value)
        value = next((part for part in parts if isinstance(part, (Tensor, tuple, list, dict))), None)
    if not isinstance(value, Tensor) or value.ndim < 2:
        raise UserError("a chosen layer gives no tensor of examples", do="choose another layer")
    rows: Tensor = value.detach().float()
    if rows.ndim == 2:
        return rows.clone()
    if rows.ndim == 3:
        return rows.mean(1)
    channels_last = rows.ndim == 4 and rows.shape[1] == rows.shape[2] != rows.shape[3]
    return rows.mean((1, 2)) if channels_last else rows.flatten(2).mean(2)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts ``model`` into ``eval`` mode for the block and every module back into its own mode afterwards."""
    with Activations(model, []):
        yield


def penultimate(model: Classifier) -> str:
    """Returns the layer name of the penultimate activation: the input of the last linear layer."""
    return f"{model.head()[0]}:input"


def default_layers(model: Classifier, count: int = 5) -> list[str]:
    """Returns the outputs of up to ``count`` stages (or evenly spaced blocks) of the network, and the penultimate.

    Works on any network of named stages or of one long list of blocks, as torchvision's, timm's and ours are.
    """
    net, head = model.net, model.head()[0]
    names = [name for name, _ in net.named_children() if _STAGES.match(name)]
    if len(names) < 2:
        lists = [
            (name, module)
            for name, module in net.named_modules()
            if _CONTAINERS.search(name) and isinstance(module, (nn.Sequential, nn.ModuleList))
        ]
        name, blocks = max(lists, key=lambda item: (-item[0].count("."), len(item[1])), default=("", net))
        names = [f"{name}.{child}".lstrip(".") for child, module in blocks.named_children() if [*module.parameters()]]
    stages = [f"net.{name}" for name in names if not head.startswith(f"net.{name}")]
    if len(stages) > count:
        stages = [stages[round((k + 1) * len(stages) / count) - 1] for k in range(count)]
    return [*stages, penultimate(model)]


def collect(
    model: Classifier, batches: Iterable[tuple[Tensor, Tensor]], layers: Sequence[str]
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Yields (layer -> rows [b, channels], labels [b]) for each batch of images and labels, in order."""
    with Activations(model, layers) as capture:
        for images, labels in batches:
            yield capture(images), labels
