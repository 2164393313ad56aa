"""What input detectors cost: beside the bare forward pass, and beside cupbearer's, on one model, data and layers.

    python benchmarks/detector_speed.py [--cupbearer FOLDER --libraries FOLDER] [--device cuda]

The model is torchvision's ResNet-18 on 64-pixel images with random weights: a matrix product takes as long whatever it
holds. The forward pass over the same inputs is timed in turns with fitting and scoring; medians are shown. How well the
detectors detect is measured by ``detectors.py``. Memory is the peak of a process of its own that streams activations
through the covariance-type statistics.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import cupbearer_peer
import recording
from theriac.data.images import ImageData
from theriac.detect.inputs import METHODS
from theriac.detect.inputs.base import split
from theriac.detect.inputs.observing import Observations
from theriac.detect.statistics import ClassMoments
from theriac.models.activations import default_layers
from theriac.models.architectures import build
from theriac.models.classifier import Classifier
from theriac.registry import configured

COVARIANCE = ("mahalanobis", "quantum-entropy", "likelihood-ratio", "spectral-signature")
PEERS = ("mahalanobis", "beatrix", "ted")
STREAMED = (10_000, 1_000_000)


def main() -> None:
    """Measures, and writes ``results/detector_speed_DEVICE.json``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--inputs", type=int, default=1000, help="trusted, and as many untrusted and test inputs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    cupbearer_peer.add_options(parser)
    options = parser.parse_args()
    if options.stream is not None:
        print(stream(options.stream))
        return
    torch.manual_seed(options.seed)
    net = build("torchvision:resnet18", 10, 64)
    model = Classifier(net, architecture="torchvision:resnet18", classes=[str(k) for k in range(10)], image_size=64)
    model = model.to(options.device).eval()
    sets = [noise(options.inputs, seed) for seed in range(3)]
    rows, figures = cost(model, sets, options.repeats)
    peers = against(model, sets, options)
    memory = {str(count): streamed(count) for count in STREAMED}
    grown = memory[str(STREAMED[1])] / memory[str(STREAMED[0])]
    tables = [
        recording.table(
            f"Fitting and scoring {options.inputs} inputs each, beside the bare forward pass over them",
            ["detector", "forward s", "fit and score s", "times", "bound", "holds"],
            rows,
        ),
        recording.table(
            "Beside cupbearer's, fit and evaluation; the forward pass, which both need, is most of ours",
            [
                "detector",
                "bare forward s",
                "theriac s",
                "cupbearer s",
                "times",
                "theriac without forward s",
                "cupbearer without forward s",
                "times",
            ],
            peers,
        ),
        recording.table(
            "Peak memory while streaming activations of width 512",
            ["activations", "MiB"],
            [[f"{int(count):,}", round(value / 2**20, 1)] for count, value in memory.items()],
        ),
    ]
    figures |= {"peak_memory": memory, "memory_grown": grown, "peers": {row[0]: row[1:] for row in peers}}
    recording.write(
        f"detector_speed_{options.device}",
        "What input detectors cost",
        seed=options.seed,
        tables=tables,
        figures=figures,
    )


def noise(count: int, seed: int) -> ImageData:
    """Returns random pictures."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return ImageData(images, labels, tuple(map(str, range(10))), f"noise {seed}", f"{seed:064}")


def seconds(way: Callable[[], object]) -> float:
    """Returns how long ``way`` takes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def forward(model: Classifier, data: ImageData) -> None:
    """Runs the bare model over ``data``."""
    with torch.inference_mode():
        for pixels, _ in data.batches(256, model.device):
            model(pixels)


def fit_and_score(name: str, model: Classifier, trusted: ImageData, untrusted: ImageData, test: ImageData) -> Any:
    """Fits a detector and scores every test input."""
    detector = configured(METHODS[name])
    detector.fit(model, trusted, untrusted if "untrusted" in METHODS[name].needs else None)
    for pixels, _ in test.batches(256, model.device):
        detector.aggregate(detector.score(pixels))
    return detector


def cost(model: Classifier, sets: list[ImageData], repeats: int) -> tuple[list[list[Any]], dict[str, Any]]:
    """Returns rows of the first table, and all times."""
    trusted, untrusted, test = sets
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COVARIANCE}
    for turn in range(repeats + 1):
        for name in COVARIANCE:
            used = [trusted, test] + [untrusted] * ("untrusted" in METHODS[name].needs)
            bare = seconds(lambda used=used: [forward(model, data) for data in used])
            whole = seconds(lambda name=name: fit_and_score(name, model, *sets))
            if turn:
                times[name].append((bare, whole))
                print(name, round(bare, 2), round(whole, 2), flush=True)
    rows = []
    for name, pairs in times.items():
        ratio = statistics.median(whole / bare for bare, whole in pairs)
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
        rows.append([name, *medians, ratio, 1.15, ratio <= 1.15])
    return rows, {"times": times}


def against(model: Classifier, sets: list[ImageData], options: argparse.Namespace) -> list[list[Any]]:
    """Returns rows of the second table; none without cupbearer."""
    cupbearer = cupbearer_peer.load(options)
    if cupbearer is None:
        return []
    rows = []
    layers = [*default_layers(model), model.head()[0]]
    bare = statistics.median(seconds(lambda: [forward(model, sets[k]) for k in (0, 2)]) for _ in range(3))
    for name in PEERS:
        ours = statistics.median(seconds(lambda name=name: fit_and_score(name, model, *sets)) for _ in range(3))
        own = own_seconds(name, model, sets)
        theirs = cupbearer_peer.run(cupbearer, name, model, layers, sets[0], sets[1], sets[2].pixels())
        total = theirs.fit_seconds + theirs.score_seconds
        rows.append([name, bare, ours, total, total / ours, own, total - bare, (total - bare) / own])
        print(rows[-1], flush=True)
    return rows


def own_seconds(name: str, model: Classifier, sets: list[ImageData]) -> float:
    """Returns how long fitting and scoring take when the activations are there."""
    learn, held = split(sets[0], configured(METHODS[name]).held_out)
    chosen = configured(METHODS[name]).chosen_layers(model)
    trusted, aside, test = (Observations(model, part, chosen).kept() for part in (learn, held, sets[2]))

    def work() -> None:
        detector = configured(METHODS[name]).fit_observed(trusted, aside)
        for seen in test:
            detector.aggregate(detector.score_observed(seen))

    return statistics.median(seconds(work) for _ in range(3))


def stream(count: int) -> int:
    """Streams ``count`` activations through moments; returns the peak memory of this process in bytes."""
    moments, generator = ClassMoments(10, 512), torch.Generator().manual_seed(0)
    for start in range(0, count, 1000):
        size = min(1000, count - start)
        moments.update(torch.randn(size, 512, generator=generator), torch.randint(0, 10, (size,), generator=generator))
    moments.covariance()
    # not getrusage: what it gives starts from the peak of the process that started this one
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1024


def streamed(count: int) -> int:
    """Returns the peak memory of a new process that streams ``count`` activations."""
    command = [sys.executable, __file__, "--stream", str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
