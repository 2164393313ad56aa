"""What tasks with image classifiers share: where images come from, how models are trained, how inputs are kept."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from theriac.data.images import ImageData
from theriac.data.poisoning import PoisonManifest
from theriac.data.reading import open_images
from theriac.data.signs import draw_signs
from theriac.data.writing import write_parquet
from theriac.errors import UserError
from theriac.models.classifier import Classifier
from theriac.models.opening import open_model
from theriac.run.budget import Budget
from theriac.run.progress import Progress
from theriac.tasks.files import FolderTask
from theriac.training.job import Job
from theriac.training.record import Gate, TrainingRecord
from theriac.training.settings import Settings

SIGNS = "signs"


@dataclass(frozen=True)
class ImageTask(FolderTask):
    """A task about an image classifier.

    Args:
        data: ``signs``, made-up road signs that are drawn on the spot, or labelled images: a path or hf://.
        test_data: Labelled images to draw trusted, untrusted and test inputs from; a part of ``data`` if left out.
        size: Side of the images; None leaves them as they are (signs: 32).
        classes: Number of classes of signs.
        rows: Number of rows to train on, drawn at random; None takes all (signs: 4000).
        architecture: Network, see ``theriac train classifier``.
        epochs: Passes over the data.
        batch_size: Rows of one step.
        lr: Largest learning rate.
        crop: Largest random shift in training, in pixels; 0, as shifts would move a trigger away from its place.
        trusted: Number of trusted inputs.
        untrusted: Number of untrusted inputs.
        share: Share of anomalous ones among the untrusted.
        test: Number of usual test inputs; there are as many anomalous ones.
        min_accuracy: Clean accuracy that the model must reach.

    Raises:
        UserError: If a value is out of range.
    """

    data: str = SIGNS
    test_data: str | None = None
    size: int | None = None
    classes: int = 10
    rows: int | None = 4000
    architecture: str = "theriac:cnn"
    epochs: int = 6
    batch_size: int = 64
    lr: float = 0.1
    crop: int = 0
    trusted: int = 1000
    untrusted: int = 1000
    share: float = 0.1
    test: int = 500
    min_accuracy: float = 0.8

    def __post_init__(self) -> None:
        for ok, what in (
            (min(self.trusted, self.untrusted, self.test) >= 1, "numbers of inputs must be at least 1"),
            (self.rows is None or self.rows >= 2, f"rows must be at least 2, got {self.rows}"),
            (self.size is None or self.size >= 8, f"size must be at least 8, got {self.size}"),
            (self.classes >= 2, f"classes must be at least 2, got {self.classes}"),
            (0 <= self.share < 1, f"share must be from 0 to below 1, got {self.share}"),
            (0 <= self.min_accuracy <= 1, f"min_accuracy must be from 0 to 1, got {self.min_accuracy}"),
        ):
            if not ok:
                raise UserError(what, where=self.name)

    @property
    def anomalies(self) -> int:
        """How many anomalous inputs are needed, test and untrusted ones together."""
        return self.test + round(self.share * self.untrusted)

    @property
    def usual(self) -> int:
        """How many usual inputs are needed, trusted ones included."""
        return self.trusted + self.untrusted - round(self.share * self.untrusted) + self.test

    def images(self, seed: int, spare: float) -> tuple[ImageData, ImageData]:
        """Returns what to train on, and other images for everything else, in random order.

        Args:
            seed: Seed of what is drawn.
            spare: Images that an anomalous input costs, on average: more than one where not each becomes anomalous.

        Raises:
            UserError: If there are too few.
        """
        needed = self.usual + int(spare * self.anomalies) + 50
        if self.data == SIGNS:
            train = self._signs(self.rows or 4000, 2 * seed)
            return train, _shuffled(self._signs(needed, 2 * seed + 1), seed)
        train = _shuffled(open_images(self.data, size=self.size), seed)
        if self.test_data is not None:
            rest = _shuffled(open_images(self.test_data, size=self.size or train.images.shape[-1]), seed)
            if rest.classes != train.classes or rest.sha256 == train.sha256:
                what = "are those to train on" if rest.sha256 == train.sha256 else "have other classes"
                raise UserError(f"the test images {what}", where=self.test_data, do="name others, or none")
        else:
            rest, train = train[:needed], train[needed:]
        if len(rest) < self.usual + self.anomalies or len(train) < 2 * len(train.classes):
            what = f"{len(train)} rows to train on and {len(rest)} others: about {needed} others are needed"
            raise UserError(what, where=self.name, do="ask for fewer trusted, untrusted or test inputs, or give more")
        return train[: self.rows], rest

    def _signs(self, rows: int, seed: int) -> ImageData:
        drawn = draw_signs(-(-rows // self.classes), self.classes, self.size or 32, seed)
        return replace(drawn, sha256=digest(drawn))

    def train(
        self,
        out: Path,
        data: ImageData,
        rest: ImageData,
        poison: PoisonManifest | None,
        *,
        seed: int,
        epochs: int,
        device: torch.device,
        budget: Budget,
        progress: Progress,
    ) -> tuple[Classifier, TrainingRecord]:
        """Trains the model, or opens it if it is trained already, and measures it on ``rest``.

        Raises:
            Unfinished: If the budget ran out.
        """
        settings = Settings(
            architecture=self.architecture, epochs=epochs, batch_size=self.batch_size, lr=self.lr, crop=self.crop
        )
        job = Job(data, out, settings, seed, rest, poison, Gate(min_accuracy=self.min_accuracy))
        record = job.run(device, budget, progress)
        return open_model(str(out)).to(device), record


def digest(data: ImageData) -> str:
    """Returns the SHA-256 of pixels, labels and class names: of data that no file holds."""
    made = hashlib.sha256(repr((tuple(data.images.shape), data.classes)).encode())
    made.update(data.images.contiguous().numpy().data)
    made.update(data.labels.contiguous().numpy().data)
    return made.hexdigest()


def mixed(usual: ImageData, anomalous: ImageData, seed: int) -> tuple[ImageData, Tensor]:
    """Returns usual and anomalous inputs in one random order, with their true labels, and which are anomalous."""
    order = torch.randperm(len(usual) + len(anomalous), generator=torch.Generator().manual_seed(seed))
    images = torch.cat([usual.images, anomalous.images])[order]
    together = replace(usual, images=images, labels=torch.cat([usual.labels, anomalous.labels])[order])
    return together, order >= len(usual)


def write_unlabelled(data: ImageData, path: Path) -> None:
    """Writes images as Parquet without their labels, which would give the anomalous ones away."""
    write_parquet(replace(data, labels=torch.zeros_like(data.labels), classes=("unlabelled",)), path)


def _shuffled(data: ImageData, seed: int) -> ImageData:
    return data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))]
