"""``theriac bench`` as a user meets it: lines, tables, pictures, going on after a kill."""

import json
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.tasks.benchmark import pairs_of
from theriac.tasks.running import run_here, run_in_processes

TOY = ["--set", "toy.trusted=200", "--set", "toy.untrusted=100", "--set", "toy.test=100"]
TOY += ["--set", "toy.steps=120", "--set", "toy.rows=600"]


def bench(out: Path, *options: str | Path, detector: str = "mahalanobis") -> int:
    return run(["bench", "--tasks", "toy", "--detectors", detector, "--out", str(out), *TOY, *map(str, options)])


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def without_seconds(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if not name.endswith("_seconds")}


def test_one_line_each_and_what_is_there_is_not_measured_again(tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert bench(out, "--seeds", "2", "--json") == 0
    printed = lines(capsys.readouterr().out)
    assert [(line["task"], line["detector"], line["seed"]) for line in printed] == [
        ("toy", "mahalanobis", 0),
        ("toy", "mahalanobis", 1),
    ]
    for line in printed:
        assert 0.8 < line["auroc"] <= 1
        for name in ("ap", "tpr_at_1pct_fpr", "fit_seconds", "score_seconds", "forward_seconds"):
            assert isinstance(line[name], float)
    stored = out / "results.jsonl"
    assert lines(stored.read_text()) == printed
    stored.write_bytes(stored.read_bytes()[:-9])  # as a kill in the middle of the second line leaves it
    assert bench(out, "--seeds", "2", "--json") == 0
    again = lines(capsys.readouterr().out)
    assert again[0] == printed[0]
    assert without_seconds(again[1]) == without_seconds(printed[1])
    text = stored.read_text()
    assert bench(out, "--seeds", "2", "--set", "mahalanobis.batch_size=256") == 0  # which it is by itself
    assert stored.read_text() == text
    shown = capsys.readouterr()
    assert "2/2 toy 1 mahalanobis: AUROC" in shown.err
    assert "(known)" in shown.err
    assert "TPR at 1 % FPR" in shown.out
    assert "| mahalanobis |" in (out / "table.md").read_text()
    assert (out / "auroc.svg").read_text().startswith("<svg")


def test_what_fails_is_a_line_and_exit_3(tmp_path: Path, capsys) -> None:
    assert bench(tmp_path, "--seeds", "1", "--json", "--set", 'mahalanobis.layers=["nowhere"]') == 3
    [line] = lines(capsys.readouterr().out)
    assert "no layer 'nowhere'" in line["error"]
    assert line["auroc"] is None
    assert "Without figures" in (tmp_path / "table.md").read_text()


def test_a_detector_that_is_not_for_a_task_is_no_failure(tmp_path: Path, capsys) -> None:
    for _ in range(2):  # nor is it tried again
        assert bench(tmp_path, "--seeds", "1", "--json", detector="strip") == 0
        [line] = lines(capsys.readouterr().out)
        assert line["error"]
        assert not line["applicable"]
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_another_process_measures_the_same(tmp_path: Path) -> None:
    settings = {"toy": [option.removeprefix("toy.") for option in TOY[1::2]]}
    here, there = (pairs_of(["toy"], ["mahalanobis"], [0], tmp_path / name, settings, quick=True) for name in "ab")
    [alone], [away] = run_here(here), run_in_processes(there, 1)
    assert away.error is None
    assert (away.key, away.auroc) == (alone.key, pytest.approx(alone.auroc, abs=1e-6))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tasks", "nothing"], "no method 'nothing'"),
        (["--detectors", "mahalanobis,nothing"], "no method 'nothing'"),
        (["--detectors", "mahalanobis,,"], "names nothing between two commas"),
        (["--set", "toy.colour=red"], "no hyper-parameter 'colour=red'"),
        (["--set", "corner.rate=0.2"], "no task or detector that takes part"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_bad_usage_is_told_before_anything_runs(options: list[str], words: str, tmp_path: Path, capsys) -> None:
    usual = {"--tasks": "toy", "--detectors": "mahalanobis"} | dict([options])
    flat = [part for pair in usual.items() for part in pair]
    assert run(["bench", "--out", str(tmp_path / "out"), *flat]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_ray_the_option_says_how_to_get_it(tmp_path: Path, capsys) -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        assert bench(tmp_path, "--seeds", "1", "--ray") == 2
        assert "pip install 'theriac[ray]'" in capsys.readouterr().err
    else:
        assert bench(tmp_path, "--seeds", "2", "--ray", "--json") == 0
        assert {line["seed"] for line in lines(capsys.readouterr().out)} == {0, 1}
