"""Building networks by name."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from theriac.errors import UserError
from theriac.models import cnn, mlp, resnet
from theriac.models.recognise import head_axes

OURS: Mapping[str, tuple[Callable[[int, int], nn.Module], int]] = {
    "resnet14": (resnet.resnet14, 32),
    "resnet14_s2": (resnet.resnet14_s2, 64),
    "mlp": (mlp.MLP, 28),
    "cnn": (cnn.CNN, 28),
}
"""Name -> how it is made for a number of classes and a side of the images, and the usual side."""


def build(architecture: str, num_classes: int, image_size: int | None = None) -> nn.Module:
    """Returns a new network with random weights.

    Args:
        architecture: ``"theriac:resnet14"``, ``"torchvision:resnet50"``, ``"timm:vit_tiny_patch16_224"`` …
        num_classes: Width of the head.
        image_size: Side of the images; matters only to networks with weights per position.

    Raises:
        UserError: If there is no such architecture.

    >>> build("theriac:resnet14", 10).fc
    Linear(in_features=128, out_features=10, bias=True)
    """
    family, _, name = architecture.partition(":")
    if family == "theriac" and name in OURS:
        make, usual = OURS[name]
        return make(num_classes, image_size or usual)
    try:
        if family == "torchvision":
            return _torchvision(name, num_classes, image_size)
        if family == "timm":
            return _timm(name, num_classes, image_size)
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"cannot be built for {num_classes} classes: {error}", where=architecture) from None
    known = ", ".join(f"theriac:{ours}" for ours in OURS)
    raise UserError(f"no architecture {architecture!r}", do=f"name one of {known}, torchvision:NAME or timm:NAME")


def build_empty(architecture: str, num_classes: int, image_size: int | None = None) -> nn.Module:
    """Returns :func:`build`'s network without weights: its parameters, and where possible its buffers, are meta."""
    try:
        with torch.device("meta"):
            return build(architecture, num_classes, image_size)
    except (RuntimeError, NotImplementedError):  # it computes with tensors while it is built, as RegNet does
        from accelerate import init_empty_weights

        with init_empty_weights(include_buffers=False):
            return build(architecture, num_classes, image_size)


def _torchvision(name: str, num_classes: int, image_size: int | None) -> nn.Module:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"torchvision has no classifier {name!r}", do="see torchvision.models.list_models()")
    options: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit_") and image_size is not None:
        options["image_size"] = image_size
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = (
            False  # their initialisation takes many seconds, and is overwritten by the file's weights
        )
    net: nn.Module = models.get_model(name, weights=None, **options)
    return net


def _timm(name: str, num_classes: int, image_size: int | None) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}", do="see timm.list_models()")
    fixed = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": num_classes}
    if image_size is not None and fixed is not None and fixed.fixed_input_size:
        options["img_size"] = image_size
    net: nn.Module = timm.create_model(name, pretrained=False, **options)
    return net


def defaults(architecture: str) -> dict[str, Any]:
    """Returns ``image_size``, ``mean`` and ``std`` that networks of this architecture are usually trained with."""
    family, _, name = architecture.partition(":")
    usual: dict[str, Any] = {"image_size": 224, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    if family == "theriac" and name in OURS:
        return {"image_size": OURS[name][1], "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    if family == "timm":
        import timm

        if config := timm.get_pretrained_cfg(name):
            usual = {"image_size": config.input_size[-1], "mean": config.mean, "std": config.std}
    return usual


@cache
def head(architecture: str) -> Mapping[str, int]:
    """Returns the tensors whose shape depends on the number of classes -> the axis that is the number of classes.

    Raises:
        UserError: If there is no such architecture, or nothing in it depends on the number of classes.
    """
    axes = head_axes(shapes(architecture, 7), shapes(architecture, 11), (7, 11))
    if axes is None:
        raise UserError("has no head for classes", where=architecture)
    return axes


def shapes(architecture: str, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of every tensor of an architecture, without making its weights if it can."""
    state = build_empty(architecture, num_classes).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
