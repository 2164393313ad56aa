"""Lines of results: read back, added to, cut short."""

import json
from pathlib import Path

from theriac.tasks.results import Result, Results
from theriac.tasks.tables import draw, markdown, tables


def result(detector: str, task: str = "corner", seed: int = 0, **figures: object) -> Result:
    return Result(task=task, detector=detector, seed=seed, key=f"{detector} {task} {seed}", **figures)


def test_a_line_has_the_names_that_others_rely_on() -> None:
    line = json.loads(result("mahalanobis", auroc=0.5).line())
    names = "task detector seed auroc ap tpr_at_1pct_fpr fit_seconds score_seconds forward_seconds"
    assert set(names.split()) <= set(line)


def test_a_line_cut_short_is_dropped_and_the_next_one_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    results.put(result("a", auroc=0.9))
    results.put(result("b", auroc=0.8))
    path.write_bytes(path.read_bytes()[:-20])  # killed in the middle of a line
    again = Results(path)
    assert again.get("a corner 0") == result("a", auroc=0.9)
    assert again.get("b corner 0") is None
    again.put(result("c", auroc=0.7))
    assert Results(path).get("c corner 0") == result("c", auroc=0.7)


def test_what_failed_counts_as_not_there(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    results.put(result("a", error="no such luck"))
    assert results.get("a corner 0") is None
    results.put(result("a", auroc=0.9))
    assert Results(results.path).get("a corner 0") == result("a", auroc=0.9)


def test_tables_average_seeds_and_keep_ablations_and_failures_apart(tmp_path: Path) -> None:
    results = [
        result("weak", auroc=0.6, fpr=0.01),
        result("good", auroc=1.0, fpr=0.0),
        result("good", seed=1, auroc=0.8, fpr=0.02),
        result("good", task="warp", auroc=0.7, fpr=0.03),
        result("good", task="ablation", auroc=0.99, fpr=0.01, alarms=0.5, ablation=True),
        result("bad|one", error="broke"),
        result("bad|one", task="warp", seed=1, error="broke"),
    ]
    by_title = {table.title.split(" (")[0]: table for table in tables(results)}
    auroc = by_title["AUROC"]
    assert auroc.columns == ["detector", "corner", "warp", "mean", "worst"]
    assert auroc.rows == [["good", 0.9, 0.7, 0.8, 0.7], ["weak", 0.6, None, 0.6, 0.6]]
    assert by_title["Realised false positive rate"].rows[-1][-1] == 0.03
    [alarms] = [table for title, table in by_title.items() if "ablations" in title]
    assert alarms.rows == [["good", 0.5, 0.5, 0.5]]
    assert by_title["Without figures"].rows == [["bad|one", "broke", "corner 0, warp 1"]]
    assert "| good | 0.9000 | 0.7000 | 0.8000 | 0.7000 |" in markdown(results)
    assert r"bad\|one" in markdown(results)
    [picture] = draw(results, tmp_path)
    assert ">0.900<" in picture.read_text()
    assert "ablation" not in picture.read_text()
