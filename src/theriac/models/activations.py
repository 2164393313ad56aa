"""Activations of a model by layer name: one forward pass serves any number of layers.

A layer is named by its module path: ``"net.layer2"`` or ``"net.layer2.output"`` stand for the module's output,
``"net.fc.input"`` or ``"net.fc:input"`` for its first input, positional or by keyword. A real submodule called
``input`` or ``output`` goes before these suffixes. Whatever shape a layer has, it is reduced to one row per example at
once, as :mod:`theriac.models.reducing` describes; ``"net.layer2@max"`` says how for one layer.
"""

import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, Self

import torch
from torch import Tensor, nn

from theriac.errors import UserError
from theriac.models.reducing import check_reduction, find_tensor, rows_of

_STAGES = re.compile(r"^(layer|stage|block|denseblock)_?\d+$|^(inception|Mixed_)\w+$")
_CONTAINERS = re.compile(r"(^|\.)(features|stages|blocks|layers|trunk|h)$")  # GPT-2's blocks are called h
_SUFFIXES = (".output", ":output", ".input", ":input")

VERSION = 2
"""Of what rows mean; raised whenever the same layer of the same model would give other rows."""


class _Stop(BaseException):
    """Ends a forward pass whose later part nobody needs; no model's own ``except Exception`` may catch it."""


@dataclass(frozen=True)
class _Tap:
    """Where a layer is read and how it is reduced."""

    module: nn.Module
    side: str
    how: str


class Activations:
    """Captures layers of ``model``: call it on inputs as the model takes them.

    During a call the model is in ``eval`` mode; afterwards every module's mode is as before and no hook is left, also
    when the forward pass fails. Used as a context manager, the model stays in ``eval`` mode for the block. Whatever
    else is done with the model between calls, or in other threads, sees none of this. The forward pass ends at the last
    of the layers. Of a module that is used several times the first use counts.

    Args:
        model: Any module that takes one tensor, or one mapping such as a tokenizer makes; an ``attention_mask`` in the
            mapping says which tokens are real.
        layers: Names as in the module's docstring.
        reduce: How places are reduced, for all layers or by layer; ``@`` in a name goes before. Where nothing is said,
            as the model's own attribute ``reduce`` says, else ``mean``.

    Raises:
        UserError: If there is no such layer or reduction.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    >>> rows = Activations(net, ["0", "1@places:9", "3.input"])(torch.zeros(5, 3, 8, 8))
    >>> [list(row.shape) for row in rows.values()]
    [[5, 4], [5, 4, 9], [5, 144]]
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], reduce: str | Mapping[str, str] | None = None) -> None:
        modules = dict(model.named_modules())
        self.model, self.layers = model, tuple(dict.fromkeys(layers))
        self._taps = {layer: _tap(layer, modules, _reduction(layer, model, reduce)) for layer in self.layers}
        self._block = ExitStack()

    def __enter__(self) -> Self:
        self._block.enter_context(evaluating(self.model))
        return self

    def __exit__(self, *_: object) -> None:
        self._block.close()

    def __call__(self, inputs: Any) -> dict[str, Tensor]:
        """Returns layer -> float32 rows [b, width] ([b, channels, places] where places are kept), without gradients.

        Raises:
            UserError: If the model does not use one of the layers, or a layer cannot be reduced as asked.
        """
        rows: dict[str, Tensor] = {}
        mask, count = _mask(inputs), _count(inputs)

        def keep(layer: str, value: Any) -> None:
            rows[layer] = self._reduced(layer, value, mask, count)
            if len(rows) == len(self.layers):
                raise _Stop

        try:
            with torch.no_grad(), self._hooked(keep, rows):
                self.model(inputs)
        except _Stop:
            pass
        return self._complete(rows)

    def gradients(self, inputs: Any, of: Callable[[Any], Tensor]) -> dict[str, Tensor]:
        """Returns layer -> float32 rows: the derivative of ``of(answers)`` by the layer's activation, reduced as it is.

        ``max`` takes the derivative where the activation is largest. Weights get no ``grad``.

        Args:
            inputs: As the model takes them.
            of: From the model's answers to one number per input [b], or to the sum of these.

        Raises:
            UserError: If a layer is not used, holds no floating-point numbers, or cannot be reduced as asked.

        >>> linear = nn.Linear(3, 2, bias=False)
        >>> rows = Activations(linear, [":input"]).gradients(torch.ones(4, 3), of=lambda answers: answers[:, 1])
        >>> torch.equal(rows[":input"], linear.weight[1].detach().expand(4, 3))
        True
        """
        tapped: dict[str, Tensor] = {}
        mask, count = _mask(inputs), _count(inputs)

        def keep(layer: str, value: Any) -> Any:
            found = find_tensor(value)
            if found is None or not found.is_floating_point():
                raise UserError("holds no floating-point numbers", where=layer, do="choose another layer")
            tapped[layer] = found if found.requires_grad else found.detach().requires_grad_()
            return _exchanged(value, found, tapped[layer].clone())  # a clone, as the model may change it in place

        with torch.enable_grad(), self._hooked(keep, tapped):
            total = of(self.model(inputs)).sum()
            self._complete(tapped)
            found = torch.autograd.grad(total, list(tapped.values()), allow_unused=True, materialize_grads=True)
        gradients = dict(zip(tapped, found, strict=True))
        return {layer: self._reduced(layer, gradients[layer], mask, count, like=tapped[layer]) for layer in self.layers}

    @contextmanager
    def _hooked(self, keep: Callable[[str, Any], Any], seen: Mapping[str, Tensor]) -> Iterator[None]:
        """Calls ``keep`` with each layer's value, once, in this thread; what it returns takes the value's place."""
        thread = threading.get_ident()

        def awaited(layer: str) -> bool:
            return layer not in seen and threading.get_ident() == thread

        def on_input(layer: str) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if not awaited(layer):
                    return None
                name, value = _first_input(module, args, kwargs)
                changed = keep(layer, value)
                if changed is None:
                    return None
                if isinstance(name, str):
                    return args, kwargs | {name: changed}
                return (*args[:name], changed, *args[name + 1 :]), kwargs

            return hook

        def on_output(layer: str) -> Callable[..., Any]:
            return lambda module, args, output: keep(layer, output) if awaited(layer) else None

        with ExitStack() as undo:
            undo.enter_context(evaluating(self.model))
            for layer, tap in self._taps.items():
                if tap.side == "input":
                    handle = tap.module.register_forward_pre_hook(on_input(layer), with_kwargs=True)
                else:
                    handle = tap.module.register_forward_hook(on_output(layer))
                undo.callback(handle.remove)
            yield

    def _reduced(
        self, layer: str, value: Any, mask: Tensor | None, count: int | None, like: Tensor | None = None
    ) -> Tensor:
        try:
            rows = rows_of(value, self._taps[layer].how, mask, like=like)
        except UserError as error:
            raise UserError(error.what, where=layer, do=error.do) from None
        if count is not None and len(rows) != count:
            what = f"gives {len(rows)} rows for {count} inputs"
            raise UserError(what, where=layer, do="choose a layer with one row per input")
        return rows

    def _complete(self, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
        missing = [layer for layer in self.layers if layer not in rows]
        if missing:
            raise UserError(f"the forward pass never reaches layer {missing[0]!r}", do="choose another layer")
        return {layer: rows[layer] for layer in self.layers}


def _tap(layer: str, modules: Mapping[str, nn.Module], how: str) -> _Tap:
    path = layer if layer in modules else layer.partition("@")[0]
    if path in modules:
        return _Tap(modules[path], "output", how)
    for suffix in _SUFFIXES:
        whole = path.removesuffix(suffix) if path.endswith(suffix) else None
        if path == suffix[1:]:
            whole = ""  # the model itself
        if whole is not None and whole in modules:
            return _Tap(modules[whole], suffix[1:], how)
    base = re.sub(r"[.:](input|output)$", "", path)
    ends = [name for name in modules if base and name.endswith(f".{base}")]
    near = [*ends, *get_close_matches(base, [name for name in modules if name not in ends], 4, 0.5)][:4]
    do = f"there are {', '.join(near)}" if near else "name a module path such as net.layer1"
    raise UserError(f"the model has no layer {layer!r}", do=do)


def _reduction(layer: str, model: nn.Module, reduce: str | Mapping[str, str] | None) -> str:
    usual = getattr(model, "reduce", None)
    said = reduce.get(layer) if isinstance(reduce, Mapping) else reduce
    how = said or (usual if isinstance(usual, str) else "mean")
    return check_reduction(layer.partition("@")[2] or how, layer)


def _mask(inputs: Any) -> Tensor | None:
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return mask if isinstance(mask, Tensor) and mask.ndim == 2 else None


def _count(inputs: Any) -> int | None:
    if isinstance(inputs, Mapping):
        inputs = next((value for value in inputs.values() if isinstance(value, Tensor) and value.ndim), None)
    return len(inputs) if isinstance(inputs, Tensor) and inputs.ndim else None


def _first_input(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int | str, Any]:
    """Returns place and value of the first input that holds a tensor, in the order of the module's own signature."""
    for place, value in enumerate(args):
        if find_tensor(value) is not None:
            return place, value
    order = list(inspect.signature(module.forward).parameters)
    for name in sorted(kwargs, key=lambda name: order.index(name) if name in order else len(order)):
        if find_tensor(kwargs[name]) is not None:
            return name, kwargs[name]
    return 0, None


def _exchanged(value: Any, old: Tensor, new: Tensor) -> Any:
    """Returns ``value`` with the tensor ``old`` exchanged for ``new``, wherever it is in it."""
    if value is old:
        return new
    if isinstance(value, Mapping):
        changed = {key: _exchanged(part, old, new) for key, part in value.items()}
        return type(value)(**changed) if is_dataclass(value) else type(value)(changed)  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_exchanged(part, old, new) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_exchanged(part, old, new) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _exchanged(getattr(value, f.name), old, new) for f in fields(value)})
    return value


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts ``model`` into ``eval`` mode for the block and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def penultimate(model: Any) -> str:
    """Returns the layer name of the penultimate activation: the input of the layer that gives the answer."""
    return f"{model.head()[0]}:input"


def default_layers(model: Any, count: int = 5) -> list[str]:
    """Returns the outputs of up to ``count`` stages (or evenly spaced blocks) of the network, and the penultimate.

    Works on any network of named stages or of one long list of blocks, as torchvision's, timm's, ours and language
    models are.

    Args:
        model: Has its network as ``net``, and ``head()``: name and module of the layer that gives the answer.
        count: How many stages at most.
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
    model: nn.Module, batches: Iterable[tuple[Any, Tensor]], layers: Sequence[str]
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Yields (layer -> rows [b, width], labels [b]) for each batch of inputs and labels, in order.

    Between batches the model is the consumer's, in the mode that it left it in.
    """
    capture = Activations(model, layers)
    for inputs, labels in batches:
        yield capture(inputs), labels
