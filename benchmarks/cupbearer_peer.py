"""cupbearer's own detectors on our models and data, for comparisons in one run; used by ``detectors_*.py``.

cupbearer (MIT licence, github.com/ejnnr/cupbearer, last commit cf98385) is given by its folder and that of the
libraries it wants: lightning, loguru, torchattacks, einops, datasets, matplotlib, pyod, transformers. Its evaluation
calls ``.item()`` on floats and fails with current scikit-learn, so scores are taken from ``compute_scores`` and
measured by us. The same activations are used: one row of channel means per input and layer.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from theriac.data.images import ImageData
from theriac.models.activations import rows_of
from theriac.models.classifier import Classifier
from theriac.tasks.task import Task

NAMES = {
    "mahalanobis": "MahalanobisDetector",
    "spectral-signature": "SpectralSignatureDetector",
    "quantum-entropy": "QuantumEntropyDetector",
    "beatrix": "BeatrixDetector",
    "ted": "TEDDetector",
    "vae": "VAEDetector",
    "finetuning": "FinetuningAnomalyDetector",
    "probe": "SupervisedLinearProbe",
}
"""Our names of the methods that cupbearer has -> its classes.

Its locally consistent abstraction is left out: the abstract network has to be written by hand for each model.
"""


@dataclass(frozen=True)
class Peer:
    """What a detector of cupbearer came to.

    Attributes:
        scores: [n] of the test inputs.
        fit_seconds: Of ``train``.
        score_seconds: Of ``compute_scores`` over all batches.
    """

    scores: Tensor
    fit_seconds: float
    score_seconds: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the two folders to a benchmark's options."""
    parser.add_argument("--cupbearer", type=Path, help="a clone of cupbearer; left out without it")
    parser.add_argument("--libraries", type=Path, help="folder of the libraries that it wants")


def load(options: argparse.Namespace) -> Any:
    """Returns the module ``cupbearer``, or None if no folder was given."""
    if options.cupbearer is None:
        return None
    sys.path.insert(0, str(options.cupbearer / "src"))
    if options.libraries is not None:
        sys.path.append(str(options.libraries))
    import cupbearer
    from loguru import logger

    logger.remove()
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return cupbearer


def run(
    cupbearer: Any,
    name: str,
    model: Classifier,
    layers: Sequence[str],
    trusted: ImageData,
    untrusted: ImageData,
    test: Tensor,
    *,
    anomalous: Tensor | None = None,
    train_batch: int = 32,
    test_batch: int = 1024,
    widths: dict[str, int] | None = None,
) -> Peer:
    """Trains cupbearer's detector ``name`` and scores ``test`` [n, 3, h, w]; batch sizes are cupbearer's defaults."""
    names = [f"{layer.removesuffix(':input')}.{'input' if layer.endswith(':input') else 'output'}" for layer in layers]
    detector, options = _make(cupbearer, name, names, model, widths or {})
    data = {key: TensorDataset(part.pixels(), part.labels) for key, part in (("t", trusted), ("u", untrusted))}
    if name == "probe":
        assert anomalous is not None
        pixels = untrusted.pixels()
        mixed = cupbearer.data.MixedData(
            TensorDataset(pixels[~anomalous], untrusted.labels[~anomalous]),
            TensorDataset(pixels[anomalous], untrusted.labels[anomalous]),
            normal_weight=None,
        )
        data["u"] = mixed
    start = time.perf_counter()
    detector.train(trusted_data=data["t"], untrusted_data=data["u"], model=model, batch_size=train_batch, **options)
    fitted = time.perf_counter()
    with torch.no_grad():
        scores = [torch.as_tensor(detector.compute_scores(part)) for part in test.split(test_batch)]
    return Peer(torch.cat(scores).double().cpu(), fitted - start, time.perf_counter() - fitted)


def scores_of(cupbearer: Any, name: str, task: Task, layers: Sequence[str], widths: dict[str, int]) -> Peer:
    """Returns what cupbearer's detector ``name`` makes of a task's test inputs."""
    untrusted, anomalous = task.untrusted.inputs, task.untrusted.anomalous
    test = task.test.inputs.pixels()  # type: ignore[attr-defined]
    return run(
        cupbearer,
        name,
        task.model,
        layers,
        task.trusted,
        untrusted,
        test,
        anomalous=anomalous,
        widths=widths,  # type: ignore[arg-type]
    )


def _make(
    cupbearer: Any, name: str, names: list[str], model: Classifier, widths: dict[str, int]
) -> tuple[Any, dict[str, Any]]:
    detectors = cupbearer.detectors
    capture: dict[str, Any] = {"activation_names": names, "individual_processing_fn": _rows}
    quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    if name == "vae":
        vaes = {
            key: detectors.VAE(width, max(2, width // 4)) for key, width in zip(names, widths.values(), strict=True)
        }
        return detectors.VAEDetector(vaes=vaes, individual_processing_fn=_rows), {"max_epochs": 3, **quiet}
    if name == "finetuning":
        options = {"num_classes": len(model.classes), "max_epochs": 1, "save_path": tempfile.gettempdir()}
        return detectors.FinetuningAnomalyDetector(), options | quiet
    if name == "probe":
        capture["activation_names"] = names[-2:-1]  # it takes one layer only: the penultimate
        return detectors.SupervisedLinearProbe(**capture), {}
    return getattr(detectors, NAMES[name])(**capture), {"pbar": False}


def _rows(activation: Any, inputs: Any, name: str) -> Tensor:
    return rows_of(activation)
