import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from theriac.errors import Refused, UserError
from theriac.models.architectures import build
from theriac.models.classifier import Classifier
from theriac.models.inspection import inspect_model
from theriac.models.opening import open_model
from theriac.models.saving import save_model

CLASSES = ("stop", "yield", "größte")


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """A small network whose batch statistics are not the initial ones."""
    torch.manual_seed(0)
    net = build("theriac:resnet14", 3)
    net(torch.randn(8, 3, 32, 32))
    return net.eval()


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in theirs
    )


def test_our_own_files_come_back_bit_equal(small: nn.Module, tmp_path: Path) -> None:
    made = Classifier(
        small, architecture="theriac:resnet14", classes=CLASSES, image_size=32, mean=(0.1, 0.2, 0.3)
    ).eval()
    save_model(made, tmp_path / "a.safetensors")
    save_model(made, tmp_path / "b.safetensors")
    opened = open_model(str(tmp_path / "a.safetensors"))
    x = torch.rand(2, 3, 32, 32)
    assert equal(opened.state_dict(), made.state_dict())
    assert torch.equal(opened(x), made(x))
    assert torch.equal(opened.mean, made.mean)
    assert (opened.classes, opened.image_size, opened.name) == (CLASSES, 32, "a.safetensors")
    assert opened.assumptions == ()
    assert opened.sha256 == inspect_model(str(tmp_path / "a.safetensors")).sha256
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert not opened.training


@pytest.mark.parametrize(
    ("architecture", "make"),
    [
        ("torchvision:resnet50", lambda: __import__("torchvision").models.resnet50()),
        ("torchvision:mobilenet_v2", lambda: __import__("torchvision").models.mobilenet_v2()),
        ("timm:vit_base_patch32_224", lambda: __import__("timm").create_model("vit_base_patch32_224")),
    ],
)
def test_whole_pickled_modules_open_bit_equal(architecture: str, make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = make().eval()
    torch.save(net, tmp_path / "model.pt")
    opened = open_model(str(tmp_path / "model.pt"))
    assert opened.architecture == architecture
    assert equal(opened.net.state_dict(), net.state_dict())
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(opened.net(x), net(x))
    assert len(opened.classes) == 1000
    assert sum("assumed" in line or "recognised" in line for line in opened.assumptions) == 5


@pytest.mark.parametrize("name", ["mnasnet0_5", "regnet_y_400mf", "vit_b_32"])
def test_networks_that_need_care(name: str, tmp_path: Path) -> None:
    """MNASNet wants the version of its state dict, RegNet cannot be built without weights, ViT pickles a partial."""
    from torchvision import models

    net = models.get_model(name, weights=None, num_classes=3)
    torch.save(net, tmp_path / "model.pt")
    opened = open_model(str(tmp_path / "model.pt"))
    assert (opened.architecture, len(opened.classes)) == (f"torchvision:{name}", 3)
    assert equal(opened.net.state_dict(), net.state_dict())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(protocol: int, small: nn.Module, tmp_path: Path) -> None:
    for saved in (small, small.state_dict()):
        torch.save(saved, tmp_path / "model", pickle_protocol=protocol)
        assert equal(open_model(str(tmp_path / "model")).net.state_dict(), small.state_dict())


def test_wrapped_state_dicts(small: nn.Module, tmp_path: Path) -> None:
    state = small.state_dict()
    wrapped = {
        "plain.bin": state,
        "dict.pth": dict(state),
        "lightning.ckpt": {"state_dict": {f"model.{k}": v for k, v in state.items()}, "epoch": 3, "lr": [0.1, None]},
        "parallel.pth": {f"module.{k}": v for k, v in state.items()},
        "both.pth": {"model": {f"module._orig_mod.{k}": v for k, v in state.items()}, "args": {"lr": (0.1, True)}},
        "optimizer.pth": {"net": state, "optimizer": torch.optim.Adam(small.parameters()).state_dict()},
        "parallel module.pt": nn.DataParallel(small),
        "module in a dictionary.pt": {"model": small, "step": 1},
        "classifier.pt": Classifier(small, architecture="theriac:resnet14", classes=CLASSES, image_size=32),
    }
    for name, content in wrapped.items():
        torch.save(content, tmp_path / name)
        opened = open_model(str(tmp_path / name), classes=CLASSES, image_size=32, name="m")
        assert equal(opened.net.state_dict(), state), name
        assert (opened.classes, opened.name) == (CLASSES, "m")


def test_the_suffix_does_not_matter(small: nn.Module, tmp_path: Path) -> None:
    torch.save(small, tmp_path / "pickled.safetensors")
    made = Classifier(small, architecture="theriac:resnet14", classes=CLASSES, image_size=32)
    save_model(made, tmp_path / "safe.pt")
    assert equal(open_model(str(tmp_path / "pickled.safetensors")).net.state_dict(), small.state_dict())
    assert equal(open_model(str(tmp_path / "safe.pt")).net.state_dict(), small.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_become_float32_and_are_noted(dtype: torch.dtype, small: nn.Module, tmp_path: Path) -> None:
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in small.state_dict().items()}
    torch.save(state, tmp_path / "half.pt")
    opened = open_model(str(tmp_path / "half.pt"))
    assert equal(opened.net.state_dict(), {n: t.float() if t.is_floating_point() else t for n, t in state.items()})
    assert opened.net.bn1.num_batches_tracked.dtype == torch.int64
    assert any(str(dtype) in line for line in opened.assumptions)


def test_memory_layouts_and_shared_storages(small: nn.Module, tmp_path: Path) -> None:
    flat = torch.cat([t.flatten() for t in small.state_dict().values() if t.is_floating_point()])
    state, position = {}, 0
    for name, tensor in small.state_dict().items():
        if tensor.is_floating_point():
            state[name] = flat[position : position + tensor.numel()].view(tensor.shape)
            position += tensor.numel()
        else:
            state[name] = tensor
    torch.save(state, tmp_path / "one storage.pt")
    last = {name: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for name, t in state.items()}
    last["fc.weight"] = state["fc.weight"].t().contiguous().t()
    torch.save(last, tmp_path / "strided.pt")
    for name in ("one storage.pt", "strided.pt"):
        assert equal(open_model(str(tmp_path / name)).net.state_dict(), small.state_dict()), name


def test_tied_weights(tmp_path: Path) -> None:
    net = build("theriac:resnet14", 3)
    net.layer3[1].conv1.weight = net.layer3[1].conv2.weight
    torch.save(net, tmp_path / "tied.pt")
    torch.save(net.state_dict(), tmp_path / "tied.pth")
    for name in ("tied.pt", "tied.pth"):
        assert equal(open_model(str(tmp_path / name)).net.state_dict(), net.state_dict())
    made = Classifier(net, architecture="theriac:resnet14", classes=CLASSES, image_size=32)
    save_model(made, tmp_path / "tied.safetensors")
    assert equal(open_model(str(tmp_path / "tied.safetensors")).net.state_dict(), net.state_dict())


def test_settings_choose_between_architectures_of_the_same_tensors(tmp_path: Path) -> None:
    torch.save(build("theriac:resnet14_s2", 3), tmp_path / "model.pt")
    opened = open_model(str(tmp_path / "model.pt"))
    assert (opened.architecture, opened.image_size) == ("theriac:resnet14_s2", 64)


def test_a_module_that_computes_something_else_is_not_passed_off(small: nn.Module, tmp_path: Path) -> None:
    changed = build("theriac:resnet14", 3)
    changed.layer2[0].conv2.dilation = (2, 2)
    changed.layer2[0].conv2.padding = (2, 2)
    torch.save(changed, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"layer2\.0\.conv2\.\w+ is \(2, 2\) in the file"):
        open_model(str(tmp_path / "model.pt"), architecture="theriac:resnet14")


@pytest.mark.parametrize("other", [nn.Hardswish(), nn.Identity()])
def test_an_exchanged_activation_is_not_passed_off(other: nn.Module, tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v2

    net = mobilenet_v2(num_classes=3)
    net.features[0][2] = other
    torch.save(net, tmp_path / "model.pt")
    with pytest.raises(UserError, match=rf"features\.0\.2 is {type(other).__name__} in the file and ReLU6"):
        open_model(str(tmp_path / "model.pt"))


def test_another_number_of_heads_is_not_passed_off(tmp_path: Path) -> None:
    import timm

    net = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    net.blocks[1].attn.num_heads = 6
    torch.save(net, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"blocks\.1\.attn\.num_heads is 6 in the file and 3"):
        open_model(str(tmp_path / "model.pt"))


def test_disagreements_are_clear_errors(small: nn.Module, tmp_path: Path) -> None:
    path = str(tmp_path / "model.pt")
    torch.save(small.state_dict(), path)
    with pytest.raises(UserError, match="3 classes apart, but 2 are named"):
        open_model(path, classes=("a", "b"))
    with pytest.raises(UserError, match=r"does not fit torchvision:resnet18|no head"):
        open_model(path, architecture="torchvision:resnet18")
    with pytest.raises(UserError, match="no architecture 'resnet14'"):
        open_model(path, architecture="resnet14")
    torch.save(nn.Linear(3, 2).state_dict(), path)
    with pytest.raises(UserError, match="fit no architecture"):
        open_model(path)
    with pytest.raises(UserError, match="no such file"):
        open_model(path + "x")


def test_classes_in_another_order_are_not_mixed_up(small: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(Classifier(small, architecture="theriac:resnet14", classes=CLASSES, image_size=32), path)
    with pytest.raises(UserError, match="in another order: stop, yield, größte"):
        open_model(str(path), classes=sorted(CLASSES))
    assert "not those in the file" in open_model(str(path), classes=("0", "1", "2")).assumptions[0]


def test_nan_weights_are_refused(small: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    state["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(Refused, match=r"layer2\.0\.conv1\.weight' holds NaN"):
        open_model(str(tmp_path / "nan.pt"))


def test_a_vision_transformer_of_another_size(tmp_path: Path) -> None:
    net = build("timm:vit_tiny_patch16_224", 3, 64)
    torch.save(net.state_dict(), tmp_path / "vit.pt")
    opened = open_model(str(tmp_path / "vit.pt"), architecture="timm:vit_tiny_patch16_224", image_size=64)
    assert equal(opened.net.state_dict(), net.state_dict())
    assert opened(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


def test_the_record_of_an_inspection_is_json(small: nn.Module, tmp_path: Path) -> None:
    torch.save(small, tmp_path / "model.pt")
    found = json.loads(inspect_model(str(tmp_path / "model.pt")).model_dump_json())
    assert found["safe"] is True
    assert found["pickled_class"] == "theriac.models.resnet.ResNet"
    assert found["architectures"] == {"theriac:resnet14": 3, "theriac:resnet14_s2": 3}
    assert "torch.nn.modules.conv.Conv2d" in found["globals"]
    assert set(found["protections"]) == {"network", "parent", "privileges", "limits", "files", "system calls"}
