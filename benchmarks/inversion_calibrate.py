"""Calibrates the trigger inversion detector on small models that no test and no other benchmark uses.

    python benchmarks/inversion_calibrate.py --models build/calibration

Trains models of made-up road signs, half of them poisoned, scans each, and writes what it found to
``benchmarks/results/inversion_calibration.json``, and the coefficients to the package. Per kind of search, the centre
and spread are the median and the scaled MAD of clean models' largest shortfalls, the spread no smaller than
``SPREAD_FLOOR``; the logistic map is fitted with a ridge, because the two groups may be separable.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import theriac.detect.models
from inversion_models import Spec, make, make_trigger
from theriac.detect.inversion_victim import Victim
from theriac.detect.models.trigger_inversion import TriggerInversion
from theriac.run.budget import Budget
from theriac.run.device import pick_device
from theriac.run.progress import silent

SPREAD_FLOOR = 0.2
RIDGE = 0.02
KINDS = ("patch", "blend", "sinusoid", "warp")
SIZES = (32,) * 8 + (64,) * 4
CLEAN = [
    Spec((400 + 26 * i, k), size, None, 0, 1000 + 20 * i)
    for i, (size, k) in enumerate(zip(SIZES, (4, 6, 8, 10, 5, 12, 7, 9, 4, 6, 8, 5), strict=True))
]
POISONED = [
    Spec((400 + 17 * i, k), s, make_trigger(KINDS[i % 4], s, 31 + 5 * i), (3 * i + 1) % k, 2000 + 10 * i, rate=0.15)
    for i, (s, k) in enumerate(zip(SIZES, (6, 5, 8, 7, 9, 10, 6, 8, 8, 6, 5, 7), strict=True))
]


def observe(spec: Spec, folder: Path, device: torch.device) -> dict[str, Any]:
    """Returns each kind of search's largest shortfall on one model, and the model's measured rates."""
    made = make(spec, folder)
    detector, generator = TriggerInversion(), torch.Generator().manual_seed(spec.seed)
    victim = Victim(made.model.to(device), made.clean, generator)
    readings = detector.all_sources(victim, Budget(), generator, silent)
    if not made.poisoned:
        readings += detector.single_sources(victim, Budget(), generator, [], silent)
    row: dict[str, Any] = {
        "model": spec.name,
        "trigger": spec.trigger.to_dict() if spec.trigger else None,
        "accuracy": made.accuracy,
        "asr": made.asr,
        "base_rate": made.base_rate,
        "poisoned": made.poisoned,
    }
    for reading in readings:
        row[reading.kind] = {
            "shortfall": float(reading.shortfalls[reading.best]),
            "class": reading.target,
            "right": spec.trigger is not None and reading.target == spec.target,
            "sizes": [round(size, 3) for size in sorted(reading.triggers.sizes.tolist())],
        }
    return row


def fit(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the package's coefficients."""
    kinds: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(
        key for row in rows for key, value in row.items() if isinstance(value, dict) and "shortfall" in value
    ):
        clean = torch.tensor([row[kind]["shortfall"] for row in rows if not row["poisoned"] and kind in row])
        centre = float(clean.median())
        spread = max(SPREAD_FLOOR, 1.4826 * float((clean - centre).abs().median()))
        kinds[kind] = {"centre": round(centre, 4), "spread": round(spread, 4)}
    index = torch.tensor(
        [max((row[k]["shortfall"] - v["centre"]) / v["spread"] for k, v in kinds.items() if k in row) for row in rows]
    )
    truth = torch.tensor([float(row["poisoned"]) for row in rows])
    slope, intercept = logistic(index, truth)
    return {"kinds": kinds, "slope": round(slope, 4), "intercept": round(intercept, 4)}


def logistic(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Returns slope and intercept of the ridge-penalised logistic regression of ``y`` on ``x``."""
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(weights[0] * x.double() + weights[1], y.double())
        value = value + RIDGE * weights[0].square() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return float(weights[0]), float(weights[1])


def main() -> None:
    """Trains or opens the models, scans them and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder that keeps the trained models")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    log = arguments.models / "observed.jsonl"
    known = {row["model"]: row for row in map(json.loads, log.read_text().splitlines())} if log.exists() else {}
    for spec in [s for pair in zip(POISONED, CLEAN, strict=True) for s in pair]:
        if spec.name not in known:
            known[spec.name] = observe(spec, arguments.models, device)
            with log.open("a") as file:
                file.write(json.dumps(known[spec.name]) + "\n")
            print(json.dumps(known[spec.name]), flush=True)
    tried = list(known.values())
    rows = [row for row in tried if row["poisoned"] or row["trigger"] is None]  # failed attacks are neither
    coefficients = fit(rows)
    target = Path(theriac.detect.models.__path__[0]) / "inversion_calibration.json"
    target.write_text(json.dumps(coefficients, indent=2) + "\n")
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": str(device),
        "attacks_that_failed": [row["model"] for row in tried if row["trigger"] and not row["poisoned"]],
        "coefficients": coefficients,
        "threshold_index": -coefficients["intercept"] / coefficients["slope"],
        "models": tried,
    }
    out = Path(__file__).parent / "results" / "inversion_calibration.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(coefficients))


if __name__ == "__main__":
    main()
