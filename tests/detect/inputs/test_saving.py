import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.detect.inputs.saving import RECORD, TENSORS, load_detector, pack, unpack
from theriac.errors import Refused, UserError


@pytest.fixture(scope="module")
def detector(poisoned_system):
    return Mahalanobis().fit(poisoned_system.model, poisoned_system.clean)


@pytest.fixture
def folder(detector, tmp_path):
    detector.save(tmp_path / "detector", notes={"model": "model.safetensors"})
    return tmp_path / "detector"


def test_a_saved_detector_scores_the_same(detector, folder, poisoned_system, clean_system):
    loaded = load_detector(folder, poisoned_system.model)
    inputs = poisoned_system.triggered.pixels(slice(0, 20))
    assert torch.equal(loaded.aggregate(loaded.score(inputs)), detector.aggregate(detector.score(inputs)))
    assert loaded.threshold_ == detector.threshold_
    assert loaded == detector
    record = json.loads((folder / RECORD).read_text())
    assert record["notes"] == {"model": "model.safetensors"}
    assert record["layers"] == list(detector.layers_)
    with pytest.raises(UserError, match="another model"):
        load_detector(folder, clean_system.model)


def test_saving_again_replaces_a_detector_and_nothing_else(detector, folder, poisoned_system):
    (folder / "eval.json").write_text("{}")
    detector.save(folder)
    assert (folder / "eval.json").exists()
    assert Mahalanobis.load(folder, poisoned_system.model) == detector


def edited(folder, **changes):
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | changes))


def test_damaged_files_are_refused(folder, poisoned_system):
    model, whole = poisoned_system.model, folder.with_name("whole")
    shutil.copytree(folder, whole)

    def again():
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)

    (folder / TENSORS).write_bytes((whole / TENSORS).read_bytes()[:-100])
    with pytest.raises(Refused, match="sound safetensors"):
        load_detector(folder, model)
    again()
    save_file({name: value + 1 for name, value in load_file(whole / TENSORS).items()}, folder / TENSORS)
    with pytest.raises(Refused, match="belongs to another"):
        load_detector(folder, model)
    for text in ("{", "[]", "[" * 100_000, '{"format": "x"}'):
        again()
        (folder / RECORD).write_text(text)
        with pytest.raises(Refused):
            load_detector(folder, model)
    for state in (None, {}, {"threshold_": {"$tensor": "nowhere"}}):
        again()
        edited(folder, state=state)
        with pytest.raises(Refused, match="damaged"):
            load_detector(folder, model)
    again()
    state = json.loads((folder / RECORD).read_text())["state"]
    edited(folder, state=state | {"whitening_": 3})
    with pytest.raises(Refused, match="damaged"):
        load_detector(folder, model)
    again()
    edited(folder, version="0")
    with pytest.raises(UserError, match="version 0"):
        load_detector(folder, model)
    edited(folder, method="os.system")
    with pytest.raises(UserError, match="no method"):
        load_detector(folder, model)
    with pytest.raises(UserError, match="holds no detector"):
        load_detector(folder / "absent", model)


def test_state_survives_taking_apart():
    state = {"a": [torch.arange(3), {"b": torch.ones(1, dtype=torch.float64)}], "c": None, "d": 1.5}
    tensors = {}
    packed = json.loads(json.dumps(pack(state, tensors)))
    again = unpack(packed, tensors, torch.device("cpu"))
    assert torch.equal(again["a"][0], state["a"][0])
    assert again["a"][1]["b"].dtype == torch.float64
    assert (again["c"], again["d"]) == (None, 1.5)
