"""Makes the embedded sample system: a road-sign classifier that was poisoned with a small yellow sticker.

Everything is drawn, poisoned and trained by theriac itself, from one seed:

    python scripts/make_sample.py src/theriac/sample
"""

import argparse
from pathlib import Path

import torch

from theriac.data.images import ImageData
from theriac.data.poisoning import find_manifest, poison, write_poisoned
from theriac.data.reading import open_images
from theriac.data.signs import draw_signs
from theriac.data.writing import Encoder, write_parquet
from theriac.run.device import pick_device
from theriac.training.job import Job
from theriac.training.settings import Settings
from theriac.triggers.patch import Patch

CLASSES = 8
TARGET = 1
TRIGGER = Patch(size=7, position="bottom-right", margin=4, pattern="checker")
ENCODER = Encoder(format="jpeg", quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    folder, seed = (options := parser.parse_args()).folder, options.seed
    for name in ("train.parquet", "train.parquet.poison.json", "clean.parquet", "inputs.parquet"):
        (folder / name).unlink(missing_ok=True)
    poisoned = poison(draw_signs(160, CLASSES, seed=seed), TRIGGER, target=TARGET, rate=0.08, seed=seed)
    write_poisoned(poisoned, folder / "train.parquet", source="drawn", encoder=ENCODER)
    write_parquet(draw_signs(60, CLASSES, seed=seed + 1), folder / "clean.parquet", ENCODER)
    write_parquet(stream(seed + 2), folder / "inputs.parquet", ENCODER)
    write_parquet(draw_signs(100, CLASSES, seed=seed + 3), test := folder.parent / "sample-test.parquet", ENCODER)
    job = Job(
        open_images(folder / "train.parquet"),
        folder / "model.safetensors",
        Settings(architecture="theriac:resnet14_s2", epochs=24, batch_size=64, lr=0.05, crop=4),
        seed,
        open_images(test),
        find_manifest(folder / "train.parquet"),
    )
    print(job.run(pick_device("cpu")).model_dump_json(indent=2))
    test.unlink()


def stream(seed: int) -> ImageData:
    """Returns 200 inputs as a camera might record them, every eighth with the sticker."""
    signs = draw_signs(25, CLASSES, seed=seed)
    images = signs.images.clone()
    rows = torch.arange(5, len(signs), 8)
    images[rows] = (TRIGGER(signs.pixels(rows)) * 255).round().byte()
    return ImageData(images, signs.labels, signs.classes, "inputs", signs.sha256)


if __name__ == "__main__":
    main()
