import io

import pyarrow.parquet as pq
import pytest
import torch

from theriac.detect.data.activation_ranking import ActivationRanking
from theriac.detect.data.scores_file import write_scores
from theriac.detect.data.split import best_split
from theriac.detect.data.verdict import class_probabilities
from theriac.errors import UserError
from theriac.finding import RankedExamples, SuspectedClasses, Table
from theriac.metrics import auroc
from theriac.run.budget import Budget

EYE = torch.eye(6, dtype=torch.float64)


def scan(system, **settings):
    generator = torch.Generator().manual_seed(0)
    return ActivationRanking(**settings).scan(system.model, system.train, budget=Budget(), generator=generator)


@pytest.fixture(scope="module")
def found(poisoned_system):
    return scan(poisoned_system)


def test_poisoned_rows_rank_first_and_are_counted(found, poisoned_system):
    poisoned = torch.zeros(len(poisoned_system.train), dtype=torch.bool)
    poisoned[poisoned_system.rows] = True
    assert float(auroc(found.scores.values, poisoned)) >= 0.99
    assert int(found.scores.suspected.sum()) == pytest.approx(int(poisoned.sum()), rel=0.05)
    assert (found.scores.suspected & poisoned).sum() >= 0.95 * poisoned.sum()


def test_the_finding_shows_what_was_found(found, poisoned_system):
    finding = found.finding
    assert finding.verdict == "poisoned"
    [suspected] = [e for e in finding.evidence if isinstance(e, SuspectedClasses)]
    assert suspected.target == poisoned_system.target
    [ranked] = [e for e in finding.evidence if isinstance(e, RankedExamples)]
    assert ranked.estimated_poisoned == int(found.scores.suspected.sum())
    assert len(ranked.examples) == 24
    assert all(example.png and example.reason for example in ranked.examples)
    assert {example.row for example in ranked.examples} <= set(poisoned_system.rows.tolist())


def test_clean_data_raise_no_alarm(clean_system):
    result = scan(clean_system)
    assert result.finding.verdict == "clean"
    assert not result.scores.suspected.any()
    assert not any(result.scores.reasons)
    [table] = [e for e in result.finding.evidence if isinstance(e, Table)]
    assert len(table.rows) == len(clean_system.train.classes)


def test_every_row_gets_into_the_file(found, poisoned_system, tmp_path):
    finding = write_scores(tmp_path / "scores.parquet", poisoned_system.train, found)
    table = pq.read_table(io.BytesIO((tmp_path / "scores.parquet").read_bytes()))
    assert table.column("row").to_pylist() == list(range(len(poisoned_system.train)))
    assert table.column("score").to_pylist() == found.scores.values.tolist()
    assert table.column("suspected").to_pylist() == found.scores.suspected.tolist()
    [ranked] = [e for e in finding.evidence if isinstance(e, RankedExamples)]
    assert ranked.scores_file == str(tmp_path / "scores.parquet")


def test_small_classes_and_a_missing_model_are_told(poisoned_system):
    limits = {"budget": Budget(), "generator": torch.Generator()}
    with pytest.raises(UserError, match="name the model"):
        ActivationRanking().scan(None, poisoned_system.train, **limits)
    few = ActivationRanking().scan(poisoned_system.model, poisoned_system.train[:50], **limits)
    assert "fewer than 40 rows" in few.finding.not_checked[0]
    assert few.finding.verdict == "inconclusive"


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_two_groups_are_split_at_any_share(share):
    rows = torch.randn(400, 6, generator=torch.Generator().manual_seed(1)).double()
    second = torch.arange(400) < share * 400
    rows[second, 2] += 7
    split = best_split(rows, EYE, components=6, shrinkage=1e-3)
    assert bool(((split.log_odds > 0) == second).float().mean() > 0.99) or share == 0.5
    assert split.separation == pytest.approx(7, rel=0.15)
    assert class_probabilities({0: split})[0] > 0.9


@pytest.mark.parametrize("kind", ["normal", "heavy tail", "skewed"])
def test_one_group_of_any_shape_is_not_called_two(kind):
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(2000, 6, generator=generator).double()
    if kind == "heavy tail":
        rows[:, 0] *= 1 + 3 * torch.rand(2000, generator=generator).double() ** 4
    if kind == "skewed":
        rows[:, 0] = -4 * torch.rand(2000, generator=generator).double().log()
    split = best_split(rows, EYE, components=6, shrinkage=1e-3)
    assert class_probabilities({0: split})[0] < 0.2
