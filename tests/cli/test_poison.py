"""``theriac poison images`` from the outside."""

import base64
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from theriac.cli import run
from theriac.data.images import ImageData
from theriac.data.poisoning import find_manifest
from theriac.data.reading import open_images
from theriac.data.writing import write_parquet
from theriac.triggers.patch import Patch


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 10, 10), generator=generator, dtype=torch.uint8)
    data = ImageData(images, torch.arange(50) % 5, ("ant", "bee", "cat", "dog", "elk"), "animals", "0" * 64)
    write_parquet(data, tmp_path / "clean.parquet")
    return tmp_path / "clean.parquet"


def test_writes_data_and_manifest(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad"
    arguments = ["--trigger", "patch", "--target", "2", "--rate", "0.1", "--seed", "7", "--set", "size=2"]
    assert run(["poison", "images", str(clean), str(bad), *arguments, "--set", "pattern=white"]) == 0
    assert "5 of 50 rows carry the patch trigger for class 2 (cat)" in capsys.readouterr().out
    manifest = find_manifest(bad)
    assert manifest is not None
    assert manifest.make_trigger() == Patch(size=2, pattern="white")
    assert (manifest.seed, manifest.target, len(manifest.rows)) == (7, 2, 5)
    before, after = open_images(clean), open_images(bad)
    changed = (before.images != after.images).flatten(1).any(1).nonzero().flatten().tolist()
    assert changed == [row.row for row in manifest.rows]
    assert [before.labels[row.row] for row in manifest.rows] == [row.original_label for row in manifest.rows]
    assert manifest.source_sha256 == before.sha256


def test_target_by_name_and_json(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.parquet"
    arguments = [
        "--trigger",
        "warp",
        "--target",
        "elk",
        "--source",
        "ant",
        "--source",
        "bee",
        "--rate",
        "0.2",
        "--json",
    ]
    assert run(["poison", "images", str(clean), str(bad), *arguments]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["target"], printed["sources"], printed["poisoned"]) == (4, [0, 1], 10)
    assert Path(printed["data"]) == bad
    written = json.loads(Path(printed["manifest"]).read_text())
    assert {row["original_label"] for row in written["rows"]} == {0, 1}


def test_cover(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--trigger", "corner", "--target", "0", "--source", "bee", "--rate", "0.1", "--cover", "0.2"]
    assert run(["poison", "images", str(clean), str(tmp_path / "bad"), *arguments]) == 0
    said = capsys.readouterr().out
    assert "5 of 50 rows carry the corner trigger for class 0 (ant); 10 more carry it and keep their label" in said
    manifest = find_manifest(tmp_path / "bad")
    assert manifest is not None
    labels = open_images(clean).labels
    assert {int(labels[row]) for row in manifest.covers} == {2, 3, 4}


def test_blended_picture(clean: Path, tmp_path: Path) -> None:
    Image.new("RGB", (5, 5), (255, 0, 0)).save(tmp_path / "red.png")
    arguments = ["--trigger", "blend", "--picture", str(tmp_path / "red.png"), "--set", "alpha=0.5"]
    status = run(["poison", "images", str(clean), str(tmp_path / "bad"), *arguments, "--target", "0", "--rate", "0.1"])
    assert status == 0
    manifest = find_manifest(tmp_path / "bad")
    assert manifest is not None
    assert base64.b64decode(manifest.trigger["parameters"]["png"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"--trigger": "sticker"},
            "theriac.triggers; choose one of: blend, corner, noise, patch",
        ),
        ({"--target": "fox"}, "no class 'fox'; use a number below 5 or: ant, bee"),
        ({"--target": "5"}, "no class '5'"),
        ({"--rate": "0"}, "the rate must be between 0 and 1"),
        ({"--rate": "1"}, "no clean row would be left; choose for instance 0.1"),
        ({"--cover": "0.95"}, "no clean row would be left"),
        ({"--rate": "much"}, "rate"),
        ({"--set": "size"}, "'size' is not NAME=VALUE"),
        ({"--set": "colour=red"}, "no parameter 'colour'"),
        ({"--set": "size=11"}, "does not fit into 10x10"),
        ({"--label": "y"}, "no column 'y'"),
        ({"--quality": "101"}, "between 1 and 100"),
        ({"--picture": "red.png"}, "red.png"),
        ({"source": "nowhere.parquet"}, "nowhere.parquet: no such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], message: str
) -> None:
    options = {"--trigger": "patch", "--target": "0", "--rate": "0.1"} | changes
    source = options.pop("source", str(clean))
    assert run(["poison", "images", source, str(tmp_path / "bad"), *(t for pair in options.items() for t in pair)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("theriac: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["clean.parquet"]
