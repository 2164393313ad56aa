"""Defect 10 of cupbearer: a cache keyed by every pixel as a Python object, unsafe across models, unreadable later."""

import contextlib
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from theriac.data.images import ImageData
from theriac.detect.inputs.caching import ActivationCache, content_digest, model_digest
from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.detect.inputs.observing import Observations
from theriac.models.classifier import Classifier
from theriac.models.resnet import resnet14

LAYERS = ("net.layer1", "net.layer2@places:4", "net.fc:input")


def classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(resnet14(3), architecture="any:any", classes="abc", image_size=16, name="m").eval()


def passes(model: Classifier) -> list[int]:
    """Returns a list that grows with every forward pass."""
    counter: list[int] = []
    model.register_forward_pre_hook(lambda *_: counter.append(1))
    return counter


@pytest.fixture
def data() -> ImageData:
    images = torch.randint(0, 256, (50, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageData(images, torch.arange(50) % 3, ("a", "b", "c"), "data", "0" * 64)


@pytest.fixture
def cache(tmp_path: Path) -> ActivationCache:
    return ActivationCache(tmp_path / "cache")


def everything(observations: Observations) -> list[torch.Tensor]:
    return [
        tensor for seen in observations for tensor in (*seen.rows.values(), seen.predicted, seen.labels, seen.inputs)
    ]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_first_iteration_writes_and_later_ones_read_the_same(data, cache):
    model = classifier()
    plain = Observations(model, data, LAYERS, 16)
    expected = everything(plain)
    count = passes(model)
    assert same(expected, everything(plain.cached(cache)))
    assert len(count) == 4
    again = ActivationCache(cache.folder)
    assert same(expected, everything(plain.cached(again)))
    assert len(count) == 4
    files = sorted(cache.folder.iterdir())
    assert len(files) == len(cache) == len(LAYERS) + 2
    shapes = sorted(tuple(load_file(file)["rows"].shape) for file in files)  # plain safetensors
    assert shapes == sorted([(50,), (50,), (50, 16), (50, 32, 4), (50, 128)])


def test_only_missing_layers_are_computed_and_some_can_be_asked_for(data, cache):
    model = classifier()
    list(Observations(model, data, LAYERS[:2], 16).cached(cache))
    reached = []
    model.net.layer1.register_forward_hook(lambda *_: reached.append(1))
    whole = Observations(model, data, LAYERS, 16)
    assert same(everything(whole), everything(whole.cached(cache)))
    assert len(cache) == len(LAYERS) + 2
    reached.clear()
    part = Observations(model, data, LAYERS[::2], 16)
    assert same(everything(part), everything(part.cached(cache)))
    assert len(reached) == 4  # the plain ones
    assert [set(seen.rows) for seen in whole.cached(cache).only(LAYERS[:1])] == [set(LAYERS[:1])] * 4


@pytest.mark.parametrize(
    "change",
    [
        lambda m, d: (classifier(1), d),
        lambda m, d: (m, d[torch.arange(50).flip(0)]),
        lambda m, d: (m, replace(d, images=d.images.roll(1, 0))),
        lambda m, d: (replaced(m, "image_size", 20), d),
        lambda m, d: (replaced(m, "mean", m.mean + 0.1), d),
        lambda m, d: (replaced(m, "reduce", "max"), d),
    ],
    ids=["weights", "order", "pixels", "image size", "mean", "reduction"],
)
def test_another_model_or_selection_of_rows_is_never_taken_for_this_one(change, data, cache):
    model = classifier()
    list(Observations(model, data, LAYERS[:1], 16).cached(cache))
    other, rows = change(model, data)
    plain = Observations(other, rows, LAYERS[:1], 16)
    assert same(everything(plain), everything(plain.cached(cache)))
    assert len(cache) == 6


def replaced(model, name, value):
    setattr(model, name, value)
    return model


def test_a_model_changed_between_two_iterations_is_seen_again(data, cache):
    model = classifier()
    observations = Observations(model, data, LAYERS[:1], 16).cached(cache)
    before = everything(observations)
    with torch.no_grad():
        model.net.layer1[0].conv1.weight.mul_(1.1)
    after = everything(observations)
    assert not same(before, after)
    assert same(after, everything(Observations(model, data, LAYERS[:1], 16)))


def test_names_do_not_matter_and_contents_do(data):
    assert content_digest(data) == content_digest(replace(data, name="other"))
    assert content_digest(data) != content_digest(replace(data, labels=data.labels.flip(0)))
    one, other = classifier(), classifier()
    other.name, other.sha256 = "other", "1" * 64
    assert model_digest(one) == model_digest(other)
    other.net.layer1[0].bn1.running_mean[0] += 1
    assert model_digest(one) != model_digest(other)


@pytest.mark.parametrize("damage", ["flipped bit", "cut off", "empty", "no safetensors"])
def test_a_damaged_entry_is_made_anew(damage, data, cache):
    observations = Observations(classifier(), data, LAYERS[:1], 16)
    expected = everything(observations.cached(cache))
    for file in cache.folder.iterdir():
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        cut = {"cut off": content[:-4], "empty": b"", "no safetensors": b"x" * len(content)}
        file.write_bytes(cut.get(damage, content))
    again = ActivationCache(cache.folder)
    assert same(expected, everything(observations.cached(again)))
    assert same(expected, everything(observations.cached(again)))
    assert len(again) == 3


def test_what_was_used_least_recently_goes_first(tmp_path):
    cache = ActivationCache(tmp_path, max_bytes=2600)

    def put(key: str) -> None:
        with cache.writer(key, 10) as writer:
            writer.write(torch.full((10, 25), 1.0))

    put("a"), put("b")
    for name, age in (("a", 200), ("b", 100)):
        path = tmp_path / f"{name}.safetensors"
        os.utime(path, (path.stat().st_mtime - age, path.stat().st_mtime))
    assert cache.find("a", 10) is not None
    mapped = cache.find("a", 10)
    put("c")
    assert cache.nbytes <= cache.max_bytes
    assert cache.find("b", 10) is None
    assert cache.find("a", 10) is not None
    put("d"), put("e")
    assert cache.find("a", 10) is None
    assert torch.equal(mapped, torch.ones(10, 25))  # still mapped
    with cache.writer("large", 1000) as writer:
        writer.write(torch.zeros(10, 25))
    assert cache.find("large", 1000) is None


def test_what_stopped_half_way_leaves_nothing(data, cache):
    observations = Observations(classifier(), data, LAYERS[:1], 16).cached(cache)
    for _ in observations:
        break
    with contextlib.suppress(RuntimeError), cache.writer("x", 4) as writer:
        writer.write(torch.zeros(4, 2))
        raise RuntimeError
    with cache.writer("y", 4) as writer:  # rows of changing shape
        writer.write(torch.zeros(2, 2))
        writer.write(torch.zeros(2, 3))
    assert list(cache.folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_stops_nothing(data, tmp_path):
    (tmp_path / "file").write_text("")
    cache = ActivationCache(tmp_path / "file" / "below")
    observations = Observations(classifier(), data, LAYERS[:1], 16)
    assert same(everything(observations), everything(observations.cached(cache)))


def test_rows_stay_on_disk(tmp_path):
    cache = ActivationCache(tmp_path)
    with cache.writer("a", 4000) as writer:
        for _ in range(4):
            writer.write(torch.rand(1000, 1000))

    def anonymous() -> int:
        return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])

    before = anonymous()
    mapped = ActivationCache(tmp_path).find("a", 4000)
    assert float(mapped.sum()) > 0
    assert anonymous() - before < 8000  # kB, of 16,000


def fill(folder: str, start: int) -> None:
    cache = ActivationCache(Path(folder), max_bytes=50_000)
    for k in range(60):
        key = f"key{(start + k) % 20}"
        rows = cache.find(key, 100)
        if rows is not None and not bool((rows == (start + k) % 20).all()):
            raise AssertionError(key)
        with cache.writer(key, 100) as writer:
            writer.write(torch.full((100, 10), float((start + k) % 20)))


def test_several_processes_share_a_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(str(tmp_path), start)) for start in (0, 7)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    cache = ActivationCache(tmp_path, 50_000)
    assert cache.nbytes <= 50_000 + 2 * 4100  # the last of each may have come at once
    assert len(cache) == len(list(tmp_path.iterdir()))


def test_a_detector_learns_the_same_from_a_cache(data, cache):
    model, rows = classifier(), data[torch.arange(40)]
    layers = Mahalanobis().chosen_layers(model)
    learn, held = (Observations(model, rows[part], layers, 16) for part in (slice(0, 20), slice(20, 40)))
    plain = Mahalanobis().fit_observed(learn, held)
    for _ in range(2):
        detector = Mahalanobis().fit_observed(learn.cached(cache), held.cached(cache))
        assert detector.threshold_ == plain.threshold_
    assert np.isfinite(plain.threshold_)
