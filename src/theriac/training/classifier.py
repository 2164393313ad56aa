"""Training image classifiers: seeded, resumable, on one device or on several.

The recipe is the usual one for small residual networks: SGD with Nesterov momentum and one cycle of the learning rate
(Smith and Topin, "Super-convergence", 2017), random crops, and bfloat16 where the hardware multiplies it natively.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from theriac.data.images import ImageData
from theriac.errors import TheriacError, UserError
from theriac.models.architectures import build
from theriac.models.classifier import Classifier
from theriac.run.budget import Budget
from theriac.run.device import multiplies_bfloat16
from theriac.run.progress import Progress, silent
from theriac.training.augment import random_crop
from theriac.training.checkpoint import Checkpoint
from theriac.training.settings import Settings

MOMENTUM = 0.9
WARM_UP = 0.25
"""Share of the steps in which the learning rate rises."""


class Unfinished(TheriacError):
    """The budget ran out before the last epoch; what was trained is in the checkpoint, if there is one."""


def train_classifier(
    data: ImageData,
    settings: Settings | None = None,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    progress: Progress = silent,
) -> Classifier:
    """Trains a classifier on ``data`` from random weights.

    The same data, settings and seed give the same weights on the same machine, whether or not the training was
    interrupted. Started by ``accelerate launch`` or ``torchrun``, it shares every batch among the processes; batch
    normalisation then sees each process's part alone.

    Args:
        data: Labelled images; other than square ones are resized to a square.
        settings: How to train.
        seed: Seed of the first weights, the order of the rows and the crops.
        checkpoint: File that holds the state after each epoch; the training goes on from it when it exists. It stays
            when the training is done.
        device: Where to train, unless several processes share the work.
        budget: Wall-clock limit.
        progress: Told after each step.

    Returns:
        The model in evaluation mode, on ``device``.

    Raises:
        UserError: If the data cannot be learned from, the training diverges, or the checkpoint belongs to another one.
        Unfinished: If the budget ran out.
    """
    settings = settings or Settings()
    _check(data, settings)
    training = _Training(data, settings, seed, checkpoint, torch.device(device))
    with _repeatable():
        return training.run(budget or Budget(), progress)


class _Training:
    """One training: everything that its epochs share."""

    def __init__(
        self, data: ImageData, settings: Settings, seed: int, checkpoint: Path | None, device: torch.device
    ) -> None:
        self.data, self.settings, self.checkpoint = data, settings, checkpoint
        self.accelerator = Accelerator(cpu=device.type == "cpu")
        self.device = self.accelerator.device if self.accelerator.num_processes > 1 else device
        self.batch = min(settings.batch_size, len(data))
        self.steps = len(data) // self.batch  # a last, smaller batch would weigh its rows more
        self.seeds = torch.randint(2**62, (settings.epochs + 1,), generator=torch.Generator().manual_seed(seed))
        self.config = settings.digest(data, seed)

    def run(self, budget: Budget, progress: Progress) -> Classifier:
        torch.manual_seed(int(self.seeds[0]))
        model = _new_model(self.data, self.settings.architecture)
        model.to(self.device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            model.parameters(), self.settings.lr, MOMENTUM, weight_decay=self.settings.weight_decay, nesterov=True
        )
        done, seconds = self._resume(model, optimizer)
        self._save(model, optimizer, done, seconds)  # a place that cannot be written is found out before the work
        wrapped = self.accelerator.prepare_model(model, device_placement=False)
        for epoch in range(done, self.settings.epochs):
            start = time.monotonic()
            self._epoch(epoch, wrapped, optimizer, budget, progress)
            seconds += time.monotonic() - start
            self._save(model, optimizer, epoch + 1, seconds)
        self.accelerator.wait_for_everyone()
        self.accelerator.free_memory()
        model.to(memory_format=torch.contiguous_format)
        return model.eval()

    def _resume(self, model: Classifier, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
        if self.checkpoint is None or not self.checkpoint.exists():
            return 0, 0.0
        state = Checkpoint.load(self.checkpoint)
        if state.config != self.config:
            raise UserError(
                "belongs to a training with other data, settings or seed",
                where=self.checkpoint,
                do="repeat the command it came from, or remove it",
            )
        state.restore(model, optimizer)
        return state.epochs, state.seconds

    def _save(self, model: Classifier, optimizer: torch.optim.Optimizer, epochs: int, seconds: float) -> None:
        if self.checkpoint is not None and self.accelerator.is_main_process:
            state = Checkpoint.of(model, optimizer, config=self.config, epochs=epochs, seconds=seconds)
            state.save(self.checkpoint)

    def _epoch(
        self, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer, budget: Budget, progress: Progress
    ) -> None:
        model.train()
        generator = torch.Generator().manual_seed(int(self.seeds[epoch + 1]))
        torch.manual_seed(int(self.seeds[epoch + 1]))  # dropout inside the network draws from the global one
        order = torch.randperm(len(self.data), generator=generator)[: self.steps * self.batch]
        total, summed = self.settings.epochs * self.steps, torch.zeros((), device=self.device)
        for step, index in enumerate(torch.split(order, self.batch), start=epoch * self.steps):
            if _out_of_time(self.accelerator, budget):
                raise Unfinished(f"the budget ran out in epoch {epoch + 1} of {self.settings.epochs}")
            images, labels = self._batch(index, generator)
            for group in optimizer.param_groups:
                group["lr"] = self.settings.lr * one_cycle(step / total)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=multiplies_bfloat16(self.device)):
                loss = F.cross_entropy(model(images), labels)
            self.accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            summed += loss.detach()
            progress((step + 1) / total, f"epoch {epoch + 1} of {self.settings.epochs}")
        if not summed.isfinite():
            if self.checkpoint is not None and self.accelerator.is_main_process:
                self.checkpoint.unlink(missing_ok=True)  # nothing good would come of going on from it
            raise UserError(
                f"training diverged: the loss is {summed:f} in epoch {epoch + 1}", where=self.data.name, do="lower --lr"
            )

    def _batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns this process's share of the rows at ``index``, cropped, as pixels in [0, 1]."""
        images = self.data.images[index]
        images = random_crop(images, self.settings.crop, flip=self.settings.flip, generator=generator)
        mine = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        pixels = images[mine].to(self.device).float() / 255
        return pixels.contiguous(memory_format=torch.channels_last), self.data.labels[index[mine]].to(self.device)


def one_cycle(share: float) -> float:
    """Returns the learning rate as a share of its maximum, ``share`` in [0, 1] of the way through the training.

    >>> [round(one_cycle(share), 2) for share in (0, 0.25, 0.625, 1)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if share < WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * share / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP))) / 2


def _check(data: ImageData, settings: Settings) -> None:
    present, side = len(torch.unique(data.labels)), min(data.images.shape[-2:])
    if present < 2:
        raise UserError(f"holds {present} classes, training needs at least 2", where=data.name)
    if len(data) < 2 * len(data.classes):
        raise UserError(f"{len(data)} rows are too few for {len(data.classes)} classes", where=data.name)
    if settings.crop >= side:
        raise UserError(f"a crop of {settings.crop} pixels does not fit into images of {side}", where=data.name)


def _new_model(data: ImageData, architecture: str) -> Classifier:
    size = max(data.images.shape[-2:])
    if architecture == "auto":
        small = "theriac:resnet14" if size <= 48 else "theriac:resnet14_s2"
        architecture = small if size <= 96 else "torchvision:resnet18"
    net = build(architecture, len(data.classes), size)
    return Classifier(net, architecture=architecture, classes=data.classes, image_size=size)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Leaves the global random state as it was, and lets cuDNN choose only kernels that repeat their result."""
    with torch.random.fork_rng(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def _out_of_time(accelerator: Accelerator, budget: Budget) -> bool:
    """Returns whether the budget of any of the processes ran out: they must stop together."""
    if budget.seconds is None:
        return False
    if budget.expired:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())
