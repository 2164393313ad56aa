"""What an input detector sees of a set of inputs: activations by layer and what the model makes of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import Tensor, nn

from theriac.models.activations import Activations

if TYPE_CHECKING:
    from theriac.detect.inputs.caching import ActivationCache


class Inputs(Protocol):
    """Inputs of a model: images, texts, or whatever it takes."""

    @property
    def name(self) -> str:
        """What to call them in findings."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of what they were read from."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Self: ...

    def batches(self, size: int = 256, device: torch.device | str = "cpu") -> Iterator[tuple[Any, Tensor]]:
        """Yields batches as the model takes them, and their labels [b], in order."""
        ...


class Observed(Protocol):
    """A model that can be looked into: it says where its answer is, and what its answers are called."""

    @property
    def name(self) -> str:
        """What to call it in findings."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of its answers; empty for a model that does not classify, whose inputs are all of one kind."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        ...

    def head(self) -> tuple[str, nn.Module]:
        """Returns name and module of the layer whose output is the answer [b, k]."""
        ...

    def __call__(self, inputs: Any) -> Any:
        """Returns its answers."""
        ...


class Seen:
    """One batch of observations.

    Attributes:
        rows: Layer -> float activations [b, width], or [b, channels, places] where the layer's name asks for places.
        predicted: int64 [b], the classes that the model gives the inputs to; all 0 if it does not classify.
        labels: int64 [b], the labels that came with the inputs; most methods must not look at them.
    """

    def __init__(
        self, rows: dict[str, Tensor], predicted: Tensor, labels: Tensor, inputs: Callable[[], Any] | None = None
    ) -> None:
        self.rows, self.predicted, self.labels, self._inputs = rows, predicted, labels, inputs

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def inputs(self) -> Any:
        """The inputs themselves, as the model takes them; for methods that ask the model something else."""
        if self._inputs is None:
            raise AttributeError("these observations were made without their inputs")
        return self._inputs()


class Observations:
    """The observations of a whole set, made batch by batch whenever they are iterated over.

    Each iteration is one forward pass over the data for all layers together; :meth:`kept` makes it the only one.

    Args:
        model: The model that is looked into.
        data: Its inputs.
        layers: Names of layers, as :class:`theriac.models.activations.Activations` takes them.
        batch_size: Inputs per forward pass.
    """

    def __init__(self, model: Any, data: Inputs, layers: Sequence[str], batch_size: int = 256) -> None:
        self.model, self.data, self.layers, self.batch_size = model, data, tuple(layers), batch_size

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Seen]:
        for batch, labels in self.data.batches(self.batch_size, self.model.device):
            yield observe(self.model, batch, self.layers, labels)

    def only(self, layers: Sequence[str]) -> "Observations":
        """Returns the same observations of some of the layers."""
        return _Part(self, tuple(layers))

    def kept(self) -> "Observations":
        """Returns observations made once, now, and kept in memory; the inputs are read again when asked for."""
        return KeptObservations(self, gather(self))

    def cached(self, cache: "ActivationCache") -> "Observations":
        """Returns the same observations, kept on disk from their first iteration on."""
        from theriac.detect.inputs.caching import CachedObservations

        return CachedObservations(self, cache)

    def inputs_at(self, part: slice) -> Any:
        """Reads the inputs of some rows again, as the model takes them."""
        index = torch.arange(part.start, part.stop)
        batch, _ = next(self.data[index].batches(len(index), self.model.device))
        return batch


class _Part(Observations):
    """Some layers of other observations."""

    def __init__(self, whole: Observations, layers: tuple[str, ...]) -> None:
        super().__init__(whole.model, whole.data, layers, whole.batch_size)
        self.whole = whole

    def __iter__(self) -> Iterator[Seen]:
        for seen in self.whole:
            yield Seen({layer: seen.rows[layer] for layer in self.layers}, seen.predicted, seen.labels, seen._inputs)

    def kept(self) -> Observations:
        return self if isinstance(self.whole, KeptObservations) else super().kept()


class KeptObservations(Observations):
    """Observations in memory.

    Args:
        source: Where they come from.
        seen: They themselves.
    """

    def __init__(self, source: Observations, seen: "Gathered") -> None:
        super().__init__(source.model, source.data, source.layers, source.batch_size)
        self._seen = seen

    def kept(self) -> Observations:
        """Returns itself."""
        return self

    def at(self, index: Tensor) -> "KeptObservations":
        """Returns the observations of the inputs at ``index`` (integers)."""
        rows = {layer: rows[index] for layer, rows in self._seen.rows.items()}
        part = KeptObservations(self, Gathered(rows, self._seen.predicted[index], self._seen.labels[index]))
        part.data = self.data[index]
        return part

    def __iter__(self) -> Iterator[Seen]:
        device = self.model.device
        for start in range(0, len(self), self.batch_size):
            part = slice(start, min(start + self.batch_size, len(self)))
            yield Seen(
                {layer: rows[part].to(device) for layer, rows in self._seen.rows.items()},
                self._seen.predicted[part].to(device),
                self._seen.labels[part].to(device),
                lambda part=part: self.inputs_at(part),  # type: ignore[misc]
            )


@dataclass(frozen=True)
class Gathered:
    """Observations of several batches put together, on the CPU.

    Attributes:
        rows: Layer -> [n, width].
        predicted: [n].
        labels: [n].
    """

    rows: dict[str, Tensor]
    predicted: Tensor
    labels: Tensor


def observe(model: Any, batch: Any, layers: Sequence[str], labels: Tensor | None = None) -> Seen:
    """Returns the observations of one batch.

    Raises:
        UserError: If the model has no such layer or never reaches it.
    """
    head = model.head()[0]
    classifies = len(model.classes) > 1
    with Activations(model, [*layers, head] if classifies else list(layers)) as capture:
        rows = capture(batch)
    count = len(next(iter(rows.values())))
    device = model.device
    predicted = rows[head].argmax(1) if classifies else torch.zeros(count, dtype=torch.int64, device=device)
    if labels is None:
        labels = torch.zeros(count, dtype=torch.int64, device=device)
    return Seen({layer: rows[layer] for layer in layers}, predicted, labels, lambda: batch)


def gather(observations: Observations, limit: int | None = None, seed: int = 0) -> Gathered:
    """Returns the observations together: all of them, or ``limit`` drawn at random, in order.

    Only what is drawn is kept in memory.
    """
    total = len(observations)
    picked = torch.ones(total, dtype=torch.bool)
    if limit is not None and limit < total:
        picked = torch.zeros(total, dtype=torch.bool)
        picked[torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:limit]] = True
    rows: dict[str, list[Tensor]] = {layer: [] for layer in observations.layers}
    predicted, labels, start = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)], 0
    for seen in observations:
        take = picked[start : start + len(seen)]
        start += len(seen)
        for layer, parts in rows.items():
            parts.append(seen.rows[layer].cpu()[take])
        predicted.append(seen.predicted.cpu()[take])
        labels.append(seen.labels.cpu()[take])
    return Gathered({layer: torch.cat(parts) for layer, parts in rows.items()}, torch.cat(predicted), torch.cat(labels))
