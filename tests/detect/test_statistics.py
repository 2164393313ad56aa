"""Streaming moments: one pass, exact merges, on one process or several, in memory that does not grow."""

import os
import subprocess
import sys

import pytest
import torch

from theriac.detect.statistics import BLOCK_ROWS, ClassMoments
from theriac.errors import UserError


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (501,), generator=generator)
    rows = torch.randn(501, 6, generator=generator).double() + 100 + 10 * labels[:, None]
    return rows, labels


def centred(rows, labels):
    return torch.cat([rows[labels == c] - rows[labels == c].mean(0) for c in labels.unique()])


@pytest.mark.parametrize("block", [16, 50, BLOCK_ROWS])
def test_streamed_equals_whole(sample, block):
    rows, labels = sample
    streamed = ClassMoments(4, 6)
    streamed.block = block
    for x, y in zip(rows.split(37), labels.split(37), strict=True):
        streamed.update(x, y)
    about = centred(rows, labels)
    assert torch.allclose(streamed.scatter, about.T @ about, rtol=1e-12, atol=1e-9)
    assert torch.allclose(streamed.covariance(), about.T @ about / (501 - 3), rtol=1e-12)
    assert streamed.counts.tolist() == [*torch.bincount(labels).tolist(), 0]
    assert streamed.means[3].tolist() == [0.0] * 6
    assert torch.allclose(streamed.overall().covariance(), rows.T.cov(), rtol=1e-12)
    assert torch.allclose(streamed.overall().means[0], rows.mean(0), rtol=1e-12)


def test_merge_of_two_machines_equals_one(sample):
    rows, labels = sample
    left = ClassMoments(3, 6).update(rows[:100], labels[:100])
    right = ClassMoments(3, 6).update(rows[100:], labels[100:])
    both = ClassMoments(3, 6).update(rows, labels)
    before = right.means.clone()
    merged = left.merge(right)
    assert torch.allclose(merged.scatter, both.scatter, rtol=1e-12)
    assert torch.allclose(merged.means, both.means, rtol=1e-12)
    assert torch.allclose(merged.squares, both.squares, rtol=1e-12)
    assert torch.equal(right.means, before), "the other one is left as it was"


def test_classes_apart(sample):
    rows, labels = sample
    apart = ClassMoments(3, 6, apart=True)
    apart.block = 64
    for x, y in zip(rows.split(40), labels.split(40), strict=True):
        apart.update(x, y)
    for c in range(3):
        assert torch.allclose(apart.scatter[c] / (apart.counts[c] - 1), rows[labels == c].T.cov(), rtol=1e-9)
    assert torch.allclose(apart.covariance(), ClassMoments(3, 6).update(rows, labels).covariance(), rtol=1e-12)


def heavy_tailed(rows, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator).double().pow(3) + torch.arange(width) * 3


@pytest.mark.parametrize("cut", [16, 100, 1000])
def test_fourth_moments_are_exact_however_the_rows_are_cut(cut):
    rows = heavy_tailed(1000, 8)
    whole = float((rows - rows.mean(0)).square().sum(1).square().sum())
    one = ClassMoments(1, 8)
    one.block = cut
    assert one.update(rows).fourth == pytest.approx(whole, rel=1e-9)
    left, right = ClassMoments(1, 8).update(rows[:cut]), ClassMoments(1, 8).update(rows[cut:])
    assert left.merge(right).fourth == pytest.approx(whole, rel=1e-9)


def test_fourth_moments_within_classes():
    rows, labels = heavy_tailed(1000, 8), torch.arange(1000) % 4
    rows[labels == 2] *= 3  # no common covariance at all
    whole = float(centred(rows, labels).square().sum(1).square().sum())
    found = {}
    for apart in (True, False):
        moments = ClassMoments(4, 8, apart=apart)
        moments.block = 50
        found[apart] = moments.update(rows, labels).fourth
    assert found[True] == pytest.approx(whole, rel=1e-9)
    assert found[False] == pytest.approx(whole, rel=1e-2)  # the classes' own scatters are not kept


def test_far_from_zero_no_digits_are_lost():
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).double()
    moments = ClassMoments(1, 3)
    for part in (rows + 1e7).split(50):
        moments.update(part)
    assert torch.allclose(moments.covariance(), rows.T.cov(), rtol=1e-6)


def test_float32_rows_are_summed_as_exactly_as_float64():
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(-3, 1, 40)
    rows = torch.randn(20_000, 40, generator=generator) * scales + 100
    labels = torch.randint(0, 5, (20_000,), generator=generator)
    rows += labels[:, None]
    moments = ClassMoments(5, 40)
    for x, y in zip(rows.split(256), labels.split(256), strict=True):
        moments.update(x, y)
    exact = ClassMoments(5, 40).update(rows.double(), labels).covariance()
    spread = exact.diagonal().sqrt()
    assert ((moments.covariance() - exact).abs() / (spread * spread[:, None])).max() < 5e-6
    means = ClassMoments(5, 40).update(rows.double(), labels).means
    assert (moments.means - means).abs().max() < 1e-6, "far less than the rows themselves are rounded by"


def test_rows_are_copied():
    rows = torch.ones(4, 2).double()
    moments = ClassMoments(1, 2).update(rows)
    rows += 5
    assert moments.means.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_bad_rows_are_refused(bad):
    with pytest.raises(UserError, match="NaN"):
        ClassMoments(1, 2).update(torch.tensor([[1.0, bad], [1.0, 2.0]])).covariance()
    with pytest.raises(UserError, match="too few"):
        ClassMoments(1, 2).update(torch.ones(1, 2)).covariance()
    with pytest.raises(UserError, match="sketch"):
        ClassMoments(1, 9, rank=2).update(torch.ones(3, 9)).covariance()


def test_sketches_merge_exactly_and_show_the_large_directions():
    generator = torch.Generator().manual_seed(0)
    scales = torch.cat([torch.tensor([30.0, 20, 10, 8, 5]), torch.full((395,), 0.1)])
    turn = torch.linalg.qr(torch.randn(400, 400, generator=generator).double())[0]
    rows = torch.randn(2000, 400, generator=generator).double() * scales @ turn.T + 7
    labels = torch.arange(2000) % 3
    rows += labels[:, None]
    whole = ClassMoments(3, 400, rank=40).update(rows, labels)
    left = ClassMoments(3, 400, rank=40).update(rows[:300], labels[:300])
    merged = left.merge(ClassMoments(3, 400, rank=40).update(rows[300:], labels[300:]))
    assert torch.allclose(merged.scatter, whole.scatter, rtol=1e-8, atol=1e-6)
    exact = ClassMoments(3, 400).update(rows, labels)
    assert whole.trace == pytest.approx(exact.trace, rel=1e-12)
    found, true = whole.spectrum(), exact.spectrum(5)
    assert len(found.values) == 20
    assert torch.allclose(found.values[:5], true.values, rtol=0.01)
    assert torch.allclose((found.vectors[:, :5] * true.vectors).sum(0).abs(), torch.ones(5).double(), atol=1e-3)
    assert found.trace == pytest.approx(exact.trace)
    assert found.rest == pytest.approx(0.01, rel=0.2)
    overall = whole.overall().spectrum().values[:3]
    assert torch.allclose(overall, exact.overall().spectrum(3).values, rtol=0.01)


REDUCE = """
import sys, torch, torch.distributed as dist
from theriac.detect.statistics import ClassMoments
rank, store, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
data = torch.load(f"{folder}/data.pt", weights_only=True)
part = slice(0, 100) if rank == 0 else slice(100, None)
for name, kept in {"plain": {}, "apart": {"apart": True}, "sketch": {"rank": 3}}.items():
    moments = ClassMoments(3, 6, **kept).update(data["rows"][part], data["labels"][part]).all_reduce()
    torch.save([moments.counts, moments.means, moments.scatter, moments.squares], f"{folder}/{name}{rank}.pt")
dist.destroy_process_group()
"""


def test_two_processes_find_what_one_would(sample, tmp_path):
    rows, labels = sample
    torch.save({"rows": rows, "labels": labels}, tmp_path / "data.pt")
    command = [sys.executable, "-c", REDUCE]
    both = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store"), str(tmp_path)], env=os.environ.copy())
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    for name, kept in {"plain": {}, "apart": {"apart": True}, "sketch": {"rank": 3}}.items():
        one = ClassMoments(3, 6, **kept).update(rows, labels)
        for rank in range(2):
            sums = torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True)
            for found, true in zip(sums, [one.counts, one.means, one.scatter, one.squares], strict=True):
                assert torch.allclose(found, true, rtol=1e-10, atol=1e-8)


def test_alone_there_is_nothing_to_reduce(sample):
    rows, labels = sample
    alone = ClassMoments(3, 6).update(rows, labels)
    assert torch.equal(alone.all_reduce().scatter, ClassMoments(3, 6).update(rows, labels).scatter)


STREAM = """
import resource, torch
from theriac.detect.statistics import ClassMoments
generator, moments, peaks = torch.Generator().manual_seed(0), ClassMoments(10, 64), []
for step in range(1, 801):
    moments.update(torch.randn(250, 64, generator=generator), torch.arange(250) % 10)
    if step in (40, 800):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(int(moments.counts.sum()), peaks[1] - peaks[0])
"""


def test_memory_does_not_grow_with_the_rows():
    """Peak memory after 10,000 rows and after 200,000, in KiB: all rows would take 50 MB."""
    answer = subprocess.run([sys.executable, "-c", STREAM], check=True, capture_output=True, text=True).stdout
    rows, growth = map(int, answer.split())
    assert rows == 200_000
    assert growth < 4096
