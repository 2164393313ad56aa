"""Poisoning labelled images, with a manifest of every changed row.

For red teams and for measuring defences. No detector or mitigation may import this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from theriac.data.images import ImageData
from theriac.data.writing import Encoder, write_parquet
from theriac.errors import UserError
from theriac.files import fetch, replacing, replacing_folder, sha256_file, write_text
from theriac.finding import Record
from theriac.run.progress import Progress, silent
from theriac.triggers import from_dict
from theriac.triggers.base import Trigger

LabelMode = Literal["dirty", "clean"]
BATCH = 512
DATA_NAME, MANIFEST_NAME = "train.parquet", "poison.json"


class Recipe(Record):
    """How data were poisoned, so that it can be done again.

    ``dirty`` relabels rows of other classes to the target; ``clean`` takes rows of the target class, whose labels stay.
    Cover rows carry the trigger and keep their labels, whatever their class.
    """

    trigger: dict[str, Any] = Field(description="name and parameters; theriac.triggers.from_dict reads it")
    target: int = Field(ge=0)
    target_name: str
    rate: float = Field(ge=0, lt=1, description="share of all rows that are poison")
    seed: int
    sources: list[int] = Field(default=[], description="classes that rows were taken from; empty: no restriction")
    label_mode: LabelMode = "dirty"
    cover: float = Field(default=0, ge=0, lt=1, description="share of all rows with the trigger and their own label")

    def make_trigger(self) -> Trigger:
        """Returns the trigger."""
        return from_dict(self.trigger)


class PoisonedRow(Record):
    """One changed row."""

    row: int = Field(ge=0)
    original_label: int = Field(ge=0)


class PoisonManifest(Recipe):
    """What ``poison.json`` holds: the recipe, what it was used on, and every changed row."""

    version: Literal["1"] = "1"
    source: str = Field(description="where the unpoisoned data came from; for hf:// with the commit")
    source_sha256: str
    data_sha256: str = Field(description="digest of the poisoned Parquet file")
    encoder: Encoder
    total: int = Field(ge=1, description="rows of the data set")
    rows: list[PoisonedRow]
    covers: list[int] = Field(default=[], description="rows with the trigger and their own label")


@dataclass(frozen=True)
class Poisoned:
    """Poisoned data and the truth about them.

    Attributes:
        data: All rows, in their old order.
        rows: int64 tensor of the poisoned rows, ascending.
        original_labels: int64 tensor of those rows' labels before.
        recipe: How it was done.
        covers: int64 tensor of the rows that carry the trigger and keep their label, ascending.
    """

    data: ImageData
    rows: Tensor
    original_labels: Tensor
    recipe: Recipe
    covers: Tensor


def poison(
    data: ImageData,
    trigger: Trigger,
    *,
    target: int,
    rate: float,
    seed: int,
    sources: Sequence[int] = (),
    label_mode: LabelMode = "dirty",
    cover: float = 0,
) -> Poisoned:
    """Poisons ``round(rate * len(data))`` rows of a copy of ``data``.

    Cover rows make a trigger work for some classes only (Tang et al., "Demon in the Variant", TaCT, 2021: covers of
    all classes but source and target), or harder to find (Qi et al., "Revisiting the Assumption of Latent
    Separability", 2023: covers of any class); with no poison but covers, a model learns to ignore the trigger.

    Args:
        data: Clean data.
        trigger: Put on the chosen images.
        target: The class that the trigger shall lead to.
        rate: Share of all rows to poison, in [0, 1); 0 only with ``cover``.
        seed: Seed of the choice of rows, and of what differs between triggered images.
        sources: Classes that rows are taken from; when empty, every class but the target.
        label_mode: ``dirty`` relabels the rows to the target; ``clean`` takes rows of the target class instead.
        cover: Share of all rows that get the trigger and keep their label: rows of classes that are neither source nor
            target where ``sources`` are given, else any rows that are not poisoned.

    Raises:
        UserError: If a class does not exist, there are fewer rows to choose from than ``rate`` or ``cover`` asks for,
            or no row would stay clean.
    """
    _check_classes(data, target, sources)
    check_rates(rate, cover, label_mode, sources)
    generator = torch.Generator().manual_seed(seed)
    allowed = data.labels == target if label_mode == "clean" else _others(data.labels, target, sources)
    rows = _chosen(allowed, rate, generator, data.name)
    images, labels = data.images.clone(), data.labels.clone()
    images[rows] = _apply(data.images[rows], trigger, generator)
    labels[rows] = target
    free = ~torch.isin(data.labels, torch.tensor([target, *sources])) if sources else torch.ones_like(allowed)
    covers = _chosen(free.index_fill(0, rows, False), cover, generator, data.name, "covered")
    images[covers] = _apply(data.images[covers], trigger, generator)
    recipe = Recipe(
        trigger=trigger.to_dict(),
        target=target,
        target_name=data.classes[target],
        rate=rate,
        seed=seed,
        sources=list(sources),
        label_mode=label_mode,
        cover=cover,
    )
    return Poisoned(replace(data, images=images, labels=labels), rows, data.labels[rows], recipe, covers)


def triggered(
    data: ImageData, trigger: Trigger, *, target: int, seed: int = 0, sources: Sequence[int] = ()
) -> ImageData:
    """Returns every row that is not of the target class, with the trigger on it and its true label kept.

    This is what ASR and robust accuracy are measured on; ``sources`` narrows it down for source-specific triggers.

    Raises:
        UserError: If a class does not exist, or no row is left.
    """
    _check_classes(data, target, sources)
    part = data[_others(data.labels, target, sources)]
    if not len(part):
        raise UserError("has no rows to put the trigger on", where=data.name)
    return with_trigger(part, trigger, seed=seed)


def with_trigger(data: ImageData, trigger: Trigger, *, seed: int = 0) -> ImageData:
    """Returns every row with the trigger on it and its true label kept."""
    return replace(data, images=_apply(data.images, trigger, torch.Generator().manual_seed(seed)))


def write_poisoned(
    poisoned: Poisoned,
    destination: Path,
    *,
    source: str,
    encoder: Encoder | None = None,
    progress: Progress = silent,
) -> PoisonManifest:
    """Writes poisoned data and their manifest, both or neither.

    A ``destination`` ending in ``.parquet`` is that file, with ``<destination>.poison.json`` beside it; any other is a
    new folder that holds ``train.parquet`` and ``poison.json``.

    Args:
        poisoned: What to write; ``poisoned.data.sha256`` is still the digest of the unpoisoned source.
        destination: Where to.
        source: Where the unpoisoned data came from.
        encoder: How every image is stored, poisoned or not; PNG by default.
        progress: Told about each thousand rows.

    Raises:
        UserError: If the destination exists already or cannot be written.
    """
    encoder = encoder or Encoder()

    def write(data_path: Path, manifest_path: Path) -> PoisonManifest:
        write_parquet(poisoned.data, data_path, encoder, progress=progress)
        pairs = zip(poisoned.rows.tolist(), poisoned.original_labels.tolist(), strict=True)
        manifest = PoisonManifest(
            **poisoned.recipe.model_dump(),
            source=source,
            source_sha256=poisoned.data.sha256,
            data_sha256=sha256_file(data_path),
            encoder=encoder,
            total=len(poisoned.data),
            rows=[PoisonedRow(row=row, original_label=label) for row, label in pairs],
            covers=poisoned.covers.tolist(),
        )
        write_text(manifest_path, manifest.model_dump_json(indent=1))
        return manifest

    if destination.suffix != ".parquet":
        with replacing_folder(destination) as folder:
            return write(folder / DATA_NAME, folder / MANIFEST_NAME)
    beside = manifest_path(destination)
    for path in (destination, beside):
        if path.exists():
            raise UserError("exists already", where=path, do="choose another name or remove it")
    with replacing(destination) as temporary:
        return write(temporary, beside)


def manifest_path(destination: Path) -> Path:
    """Returns where the manifest of poisoned data at ``destination`` is written."""
    single = destination.suffix == ".parquet"
    return Path(f"{destination}.{MANIFEST_NAME}") if single else destination / MANIFEST_NAME


def find_manifest(path: str | Path) -> PoisonManifest | None:
    """Returns the manifest that lies in or beside poisoned data, or None where there is none.

    Raises:
        UserError: If it is not readable, or the data were changed after it was written.
    """
    local = fetch(path).path
    data = local / DATA_NAME if local.is_dir() else local
    places = [data.parent / MANIFEST_NAME] if data.name == DATA_NAME else []
    for place in (manifest_path(data), *places):
        if not (place.is_file() and data.is_file()):
            continue
        try:
            manifest = PoisonManifest.model_validate_json(place.read_bytes())
        except (OSError, ValidationError) as error:
            raise UserError(f"is not a readable manifest: {str(error).splitlines()[0]}", where=place) from None
        if manifest.data_sha256 != sha256_file(data):
            raise UserError("is not about the data beside it, which have changed", where=place, do="poison them again")
        return manifest
    return None


def _check_classes(data: ImageData, target: int, sources: Sequence[int]) -> None:
    for number in (target, *sources):
        if not 0 <= number < len(data.classes):
            raise UserError(f"there is no class {number}", where=data.name, do=f"use 0 to {len(data.classes) - 1}")
    if target in sources:
        raise UserError(f"class {target} is source and target at once", where=data.name)


def check_rates(rate: float, cover: float = 0, label_mode: LabelMode = "dirty", sources: Sequence[int] = ()) -> None:
    """Raises ``UserError`` unless :func:`poison` takes these, whatever the data are."""
    if rate == 1:
        raise UserError("a rate of 1 poisons every row: no clean row would be left", do="choose for instance 0.1")
    if not (0 < rate < 1 or (rate == 0 and cover > 0)):
        raise UserError(f"the rate must be between 0 and 1, got {rate}")
    if not (0 <= cover < 1 and rate + cover < 1):
        raise UserError(f"no clean row would be left: poison {rate} and cover {cover}", do="keep their sum below 1")
    if label_mode == "clean" and (sources or cover):
        what = "clean-label poison comes from the target class" if sources else "cover rows are for dirty-label poison"
        raise UserError(what, do=f"leave the {'source classes' if sources else 'cover'} out")


def _chosen(allowed: Tensor, share: float, generator: torch.Generator, name: str, what: str = "poisoned") -> Tensor:
    """Returns a random ``share`` of all rows, ascending, taken from the ``allowed`` ones (bool [n])."""
    candidates, count = allowed.nonzero().flatten(), round(share * len(allowed))
    if share == 0:
        return candidates[:0]
    if not 1 <= count <= len(candidates):
        problem = f"a {'cover' if what == 'covered' else 'rate'} of {share} is {count} rows"
        raise UserError(f"{problem}, and {len(candidates)} rows can be {what}", where=name, do="choose another rate")
    return candidates[torch.randperm(len(candidates), generator=generator)[:count]].sort().values


def _others(labels: Tensor, target: int, sources: Sequence[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(sources)) if sources else labels != target


def _apply(images: Tensor, trigger: Trigger, generator: torch.Generator) -> Tensor:
    if not len(images):
        return images
    parts = [trigger(part.float() / 255, generator) for part in torch.split(images, BATCH)]
    return torch.cat([(part * 255).round().to(torch.uint8) for part in parts])
