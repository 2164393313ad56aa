"""What an AI system consists of: reading ``system.toml``."""

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from theriac.data.images import ImageData
from theriac.data.reading import open_images
from theriac.errors import UserError
from theriac.finding import Record
from theriac.models.classifier import Classifier
from theriac.models.opening import open_model

TEMPLATE = """\
# A system for `theriac audit`. Paths are relative to this file, or hf://… or any fsspec URL.
name = "My image classifier"

[model]
path = "model.safetensors"            # .safetensors, or .pt/.pth: opened without running anything in it
# architecture = "torchvision:resnet50"  # recognised from the tensors when left out
# image_size = 224
# mean = [0.485, 0.456, 0.406]        # how pixels in [0, 1] are normalised
# std = [0.229, 0.224, 0.225]

[clean_examples]                      # labelled examples that you trust; a few hundred are enough
path = "clean.parquet"                # Parquet, .npz, CSV + files, or a folder with one folder per class
# image = "image"                     # column of the pictures
# label = "label"                     # column of the labels

[training_data]                       # leave out what you do not have: the report says what was not checked
path = "train.parquet"

[inputs]                              # a recorded stream of inputs; labels are not needed
path = "inputs.parquet"
"""


class ModelSource(Record):
    """Where the model is, and what its file may not say."""

    path: str
    architecture: str | None = None
    classes: list[str] | None = None
    image_size: int | None = Field(default=None, ge=8, le=2048)
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    revision: str | None = None


class DataSource(Record):
    """Where a set of images is, and which columns to read."""

    path: str
    image: str | None = None
    label: str | None = None
    limit: int | None = Field(default=None, ge=1)
    revision: str | None = None


class System(Record):
    """An AI system as its owner describes it.

    Attributes:
        name: What to call the system.
        model: The classifier.
        clean_examples: Trusted labelled examples; without them little can be said about the model.
        training_data: What the model was trained on, if known.
        inputs: A recorded stream of inputs, if any.
    """

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
    model: ModelSource
    clean_examples: DataSource | None = None
    training_data: DataSource | None = None
    inputs: DataSource | None = None


def read_system(path: Path) -> System:
    """Reads a ``system.toml``; its relative paths become relative to its own folder.

    Raises:
        UserError: If the file is missing, is not TOML, or has unknown or wrong fields.
    """
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path, do="theriac audit --init writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is not TOML: {error}", where=path) from None
    try:
        system = System.model_validate(fields)
    except ValidationError as error:
        found = error.errors()
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])  # a typo explains what is missing
        what = "is not a field" if first["type"] == "extra_forbidden" else first["msg"]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(what, where=f"{path}: {field}", do="theriac audit --init shows every field") from None
    parts = {
        name: source.model_copy(update={"path": _resolved(source.path, path.parent)})
        for name in ("model", "clean_examples", "training_data", "inputs")
        if (source := getattr(system, name)) is not None
    }
    return system.model_copy(update=parts)


def _resolved(path: str, folder: Path) -> str:
    return path if "://" in path or Path(path).is_absolute() else str(folder / path)


def open_classifier(source: ModelSource, classes: tuple[str, ...] | None = None) -> Classifier:
    """Opens the model safely; ``classes`` of the data name its answers when neither file nor source does."""
    return open_model(
        source.path,
        architecture=source.architecture,
        classes=source.classes or classes,
        image_size=source.image_size,
        mean=source.mean,
        std=source.std,
    )


def open_data(source: DataSource, *, unlabelled_ok: bool = False) -> ImageData:
    """Opens a set of images; ``unlabelled_ok`` accepts one without labels."""
    return open_images(
        source.path,
        image=source.image,
        label=source.label,
        limit=source.limit,
        revision=source.revision,
        unlabelled_ok=unlabelled_ok,
    )
