"""What a benchmark plans, and that what fails costs no more than itself."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.errors import UserError
from theriac.tasks.benchmark import QUICK_INPUTS, lessened, opened, pairs_of, pending, run_pair
from theriac.tasks.results import Results
from theriac.tasks.toy import Toy

SMALL = {"toy": ["trusted=200", "untrusted=100", "test=100", "steps=120", "rows=600"]}


def plan(out: Path, **changes: object):
    given = {"tasks": ["toy"], "detectors": ["mahalanobis"], "seeds": [0, 1], "out": out, "settings": SMALL}
    return pairs_of(**(given | changes))


def keys(pairs) -> list[str]:
    return [contender.key for pair in pairs for contender in pair.detectors]


def test_every_setting_has_a_key_of_its_own(tmp_path: Path) -> None:
    plans = [
        plan(tmp_path),
        plan(tmp_path, settings=SMALL | {"mahalanobis": ["shrinkage=0.1"]}),
        plan(tmp_path, settings={"toy": ["noise=0.2"]}),
        plan(tmp_path, quick=True),
    ]
    every = [key for one in plans for key in keys(one)]
    assert len(set(every)) == len(every) == 8
    assert keys(plan(tmp_path / "elsewhere", settings=SMALL)) == keys(plans[0])
    assert plans[0][0].folder != plans[2][0].folder


def test_a_detector_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [pair] = plan(tmp_path, seeds=[0], detectors=["mahalanobis"], settings=SMALL | {"mahalanobis": ["layers=null"]})
    wrong = replace(pair.detectors[0], settings=('layers=["net.nowhere"]',), key="wrong")
    buggy = replace(pair.detectors[0], settings=("shrinkage=0",), key="buggy")  # a singular covariance
    results = list(run_pair(replace(pair, detectors=(wrong, buggy, *pair.detectors))))
    assert [r.key for r in results] == ["wrong", "buggy", pair.detectors[0].key]
    assert "no layer 'net.nowhere'" in results[0].error
    assert results[2].error is None
    assert results[2].auroc > 0.9
    journal = Results(tmp_path / "results.jsonl")
    for result in results:
        journal.put(result)
    assert pending([pair], journal) == []


def test_a_task_that_cannot_be_made_is_told_for_each_detector(tmp_path: Path) -> None:
    [pair] = plan(tmp_path, seeds=[0], settings={"toy": [*SMALL["toy"], "noise=100"]})
    [result] = run_pair(pair)
    assert "the network is right on" in result.error
    assert result.auroc is None


def test_unknown_names_and_settings_are_told_before_anything_runs(tmp_path: Path) -> None:
    for changes in ({"tasks": ["nothing"]}, {"detectors": ["nothing"]}, {"settings": {"toy": ["colour=red"]}}):
        with pytest.raises(UserError):
            plan(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_a_finished_task_is_taken_by_its_folder(tmp_path: Path) -> None:
    made = Toy(trusted=60, untrusted=40, test=40, steps=120, rows=600).make(tmp_path / "mine", seed=5)
    [pair] = plan(tmp_path, tasks=[str(tmp_path / "mine")], settings={})
    assert (pair.task, pair.seed, pair.made) == ("toy", 5, True)
    assert torch.equal(opened(pair).test.anomalous, made.test.anomalous)


def test_a_quick_look_keeps_both_kinds_in_proportion(tmp_path: Path) -> None:
    task = Toy(trusted=1000, untrusted=1000, share=0.1, test=400, steps=120, rows=600).make(tmp_path / "toy")
    small = lessened(task, QUICK_INPUTS)
    assert (len(small.trusted), len(small.untrusted.inputs), len(small.test.inputs)) == (400, 400, 400)
    assert (int(small.untrusted.anomalous.sum()), int(small.test.anomalous.sum())) == (40, 200)
    values, truth = task.test.inputs.values, task.test.anomalous
    for row, odd in zip(small.test.inputs.values, small.test.anomalous, strict=True):
        assert bool(truth[(values == row).all(1)][0]) == bool(odd)
    again = lessened(task, QUICK_INPUTS)
    assert torch.equal(small.trusted.values, again.trusted.values)
    assert Mahalanobis().fit(small.model, small.trusted).calibration_ == 200
