"""Does the model detector tell four poisoned models from four clean ones, none of which it was calibrated on?

    python benchmarks/models8.py --models build/models8

Writes ``benchmarks/results/models8.json``.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from inversion_models import Spec, make, make_trigger
from theriac import metrics
from theriac.detect.models.trigger_inversion import TriggerInversion
from theriac.run.budget import Budget
from theriac.run.device import pick_device

SPECS = [
    Spec((0, 8), 64, None, 0, 101),
    Spec((30, 6), 64, None, 0, 202),
    Spec((60, 10), 64, None, 0, 303),
    Spec((90, 8), 64, None, 0, 404),
    Spec((120, 8), 64, make_trigger("patch", 64, 505), 2, 505, rate=0.15),
    Spec((150, 6), 64, make_trigger("blend", 64, 606), 5, 606, rate=0.15),
    Spec((180, 10), 64, make_trigger("sinusoid", 64, 707), 7, 707, rate=0.15),
    Spec((210, 8), 64, make_trigger("warp", 64, 808), 1, 808, rate=0.15),
]


def main() -> None:
    """Trains or opens the models, scans each, and writes what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder that keeps the trained models")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "models8.json")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    device, rows = pick_device(arguments.device), []
    for spec in SPECS:
        made = make(spec, arguments.models)
        finding = TriggerInversion().scan(
            made.model.to(device), made.clean, budget=Budget(), generator=torch.Generator().manual_seed(arguments.seed)
        )
        suspects = [e.target for e in finding.evidence if e.kind == "suspected_classes"]
        row = {
            "model": spec.name,
            "trigger": spec.trigger.to_dict() if spec.trigger else None,
            "target": spec.target if spec.trigger else None,
            "accuracy": made.accuracy,
            "asr": made.asr,
            "base_rate": made.base_rate,
            "poisoned": made.poisoned,
            "probability": finding.probability,
            "verdict": finding.verdict,
            "suspected_target": suspects[0] if suspects else None,
            "seconds": round(finding.seconds, 1),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    truth = [row["poisoned"] for row in rows]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "seed": arguments.seed,
        "attacks_that_worked": sum(truth),
        "attacks_tried": sum(spec.trigger is not None for spec in SPECS),
        "auroc": metrics.auroc([row["probability"] for row in rows], truth),
        "clean_called_poisoned": sum(row["verdict"] == "poisoned" and not row["poisoned"] for row in rows),
        "targets_right": sum(row["poisoned"] and row["suspected_target"] == row["target"] for row in rows),
        "models": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print({key: value for key, value in result.items() if key != "models"})


if __name__ == "__main__":
    main()
