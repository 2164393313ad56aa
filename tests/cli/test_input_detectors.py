"""``theriac train detector``, ``eval detector`` and ``scan inputs``: one detector from its fitting to a stream."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from theriac.cli import run
from theriac.tasks.variants import Patch

SMALL = {"rows": 600, "epochs": 3, "classes": 4, "trusted": 200, "untrusted": 100, "test": 100}
FILES = {"detector.json", "detector.safetensors", "eval.json", "scores.parquet", "worst_mistakes.html"}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task, and a detector beside it that was fitted on it."""
    folder = tmp_path_factory.mktemp("kept")
    Patch(**SMALL).make(folder / "task")
    options = ["--detector", "mahalanobis", "--out", str(folder / "detector")]
    assert run(["train", "detector", str(folder / "task"), *options]) == 0
    return folder


def theriac(capsys, *arguments: str | Path) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    status = run([*map(str, arguments), "--json"])
    shown = capsys.readouterr()
    return status, json.loads(shown.out) if shown.out else {"error": shown.err}


def test_training_leaves_figures_scores_and_pictures(kept: Path) -> None:
    folder = kept / "detector"
    names = {path.name for path in folder.iterdir()}
    assert names >= FILES | {"histogram-all.svg", "roc-all.svg", "histogram-net.layer1.svg", "roc-net.layer1.svg"}
    figures = json.loads((folder / "eval.json").read_text())
    scores = pq.read_table(folder / "scores.parquet").to_pydict()
    assert len(scores["row"]) == 200
    assert figures["auroc"] == pytest.approx(roc_auc_score(scores["anomalous"], scores["score"]))
    assert figures["auroc"] > 0.95
    assert (figures["AUC_ROC"], figures["AP"]) == (figures["auroc"], figures["ap"])
    layer = figures["layers"]["net.layer1"]
    assert layer["AUC_ROC"] == pytest.approx(roc_auc_score(scores["anomalous"], scores["layer:net.layer1"]))
    assert [s > figures["threshold"] for s in scores["score"]] == scores["suspected"]
    page = (folder / "worst_mistakes.html").read_text()
    assert page.count("<img") == 48
    worst = max(
        (s, row) for s, row, odd in zip(scores["score"], scores["row"], scores["anomalous"], strict=True) if not odd
    )
    assert page.index(f"row {worst[1]}, score {worst[0]:.2f}") < page.index("Anomalous inputs")


def test_the_saved_detector_finds_its_model_wherever_both_are_moved(kept: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(kept, tmp_path / "moved")
    stream = tmp_path / "moved" / "task" / "test.parquet"
    scores = tmp_path / "scores.parquet"
    options = ("--detector", tmp_path / "moved" / "detector", "--scores", scores)
    status, finding = theriac(capsys, "scan", "inputs", stream, *options)
    assert status == 1
    assert finding["verdict"] == "poisoned"
    before = pq.read_table(kept / "detector" / "scores.parquet")["score"].to_pylist()
    assert pq.read_table(scores)["score"].to_pylist() == pytest.approx(before)
    model = tmp_path / "elsewhere.safetensors"
    (tmp_path / "moved" / "task" / "model.safetensors").rename(model)
    status, said = theriac(capsys, "scan", "inputs", stream, *options)
    assert status == 2
    assert "--model" in said["error"]
    assert theriac(capsys, "scan", "inputs", stream, *options, "--model", model)[0] == 1


def test_a_changed_or_foreign_model_is_refused(kept: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(kept, tmp_path / "moved")
    model = tmp_path / "moved" / "task" / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    stream, detector = kept / "task" / "test.parquet", tmp_path / "moved" / "detector"
    status, said = theriac(capsys, "scan", "inputs", stream, "--detector", detector)
    assert status == 2
    assert "was changed after the detector was fitted" in said["error"]
    status, said = theriac(capsys, "scan", "inputs", stream, "--detector", detector, "--model", model)
    assert status == 2
    assert "another model" in said["error"]


def test_a_method_by_name_is_fitted_on_the_spot(kept: Path, tmp_path: Path, capsys) -> None:
    task, scores = kept / "task", tmp_path / "scores.parquet"
    common = ("--model", task / "model.safetensors", "--trusted", task / "trusted.parquet", "--scores", scores)
    for option in ("--detector", "--method"):
        status, finding = theriac(capsys, "scan", "inputs", task / "test.parquet", option, "mahalanobis", *common)
        assert (status, finding["verdict"]) == (1, "poisoned")
    status, said = theriac(capsys, "scan", "inputs", task / "test.parquet", "--detector", "mahalanobis")
    assert status == 2
    assert "--model and --trusted" in said["error"]
    status, said = theriac(
        capsys, "scan", "inputs", task / "test.parquet", "--detector", kept / "detector", "--set", "shrinkage=0.1"
    )
    assert status == 2
    assert "--set" in said["error"]


def test_evaluating_again_gives_the_same_and_an_ablation_goes_elsewhere(kept: Path, tmp_path: Path, capsys) -> None:
    before = json.loads((kept / "detector" / "eval.json").read_text())
    status, again = theriac(capsys, "eval", "detector", kept / "detector", "--out", tmp_path / "again")
    assert status == 0
    assert again["auroc"] == before["auroc"]
    arguments = ("eval", "detector", kept / "detector", "--trigger", "noise", "--trigger-set", "std=0.000001")
    status, ablation = theriac(capsys, *arguments, "--out", tmp_path / "ablation")
    assert status == 0
    assert ablation["task"] == "patch+noise"
    assert ablation["auroc"] == pytest.approx(0.5, abs=0.01)  # that little noise changes next to nothing
    assert ablation["alarms"] == pytest.approx(before["fpr"], abs=0.011)
    assert json.loads((kept / "detector" / "eval.json").read_text()) == before
    assert (tmp_path / "ablation" / "histogram-all.svg").exists()


def test_a_task_by_name_is_made_below_the_detector(tmp_path: Path, capsys) -> None:
    settings = ["--task-set", "steps=120", "--task-set", "rows=600", "--task-set", "test=100"]
    status, figures = theriac(capsys, "train", "detector", "toy", "--out", tmp_path / "d", "--seed", "3", *settings)
    assert status == 0
    assert figures["seed"] == 3
    note = json.loads((tmp_path / "d" / "detector.json").read_text())["notes"]["origin"]
    assert (note["folder"], note["model"]) == ("task", "model.safetensors")
    scores = ("--scores", tmp_path / "s.parquet")
    inputs = tmp_path / "d" / "task" / "test.safetensors"
    assert theriac(capsys, "scan", "inputs", inputs, "--detector", tmp_path / "d", *scores)[0] == 1
    status, said = theriac(capsys, "train", "detector", tmp_path / "d" / "task", "--out", tmp_path / "e", *settings)
    assert status == 2
    assert "made already" in said["error"]
