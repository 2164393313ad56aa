import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import nn

from theriac.errors import UserError
from theriac.models.activations import default_layers
from theriac.models.architectures import build, defaults, head, shapes
from theriac.models.classifier import Classifier
from theriac.models.opening import open_model
from theriac.models.recognise import Match, head_axes, names_digest, recognise, shapes_digest, without_prefix
from theriac.models.saving import save_model

INDEX = json.loads(files("theriac.models").joinpath("architectures.json").read_text(encoding="utf-8"))["architectures"]


@pytest.mark.parametrize(
    "architecture",
    [
        "theriac:resnet14",
        "theriac:mlp",
        "theriac:cnn",
        "torchvision:resnet18",
        "torchvision:regnet_y_400mf",
        "torchvision:vit_b_32",
        "timm:resnet18",
        "timm:vit_tiny_patch16_224",
        "timm:mobilenetv3_small_050",
        "timm:deit_tiny_distilled_patch16_224",
    ],
)
def test_the_index_is_what_the_libraries_build(architecture: str) -> None:
    made = shapes(architecture, 5)
    assert INDEX[architecture]["head"] == head(architecture)
    assert INDEX[architecture]["names"] == names_digest(made)
    assert INDEX[architecture]["shapes"] == shapes_digest(made, head(architecture))
    assert Match(architecture, 5) in recognise(made)


def test_the_pickled_class_goes_before_the_order_of_families() -> None:
    made = shapes("torchvision:resnet50", 5)
    assert recognise(made)[0].architecture == "torchvision:resnet50"
    assert recognise(made, "torchvision.models.resnet.ResNet")[0].architecture == "torchvision:resnet50"
    assert recognise(made, "timm.models.resnet.ResNet")[0].architecture == "timm:resnet50"
    tiny = shapes("timm:vit_tiny_patch16_224", 5)
    for name in ("vit_tiny_patch16_224", "deit_tiny_patch16_224"):
        assert (
            recognise(tiny, "timm.models.vision_transformer.VisionTransformer", name)[0].architecture == f"timm:{name}"
        )


def test_other_tensors_are_not_recognised() -> None:
    made = shapes("theriac:resnet14", 5)
    assert recognise({}) == []
    assert recognise(made | {"more": (1,)}) == []
    assert recognise(made | {"conv1.weight": (16, 1, 3, 3)}) == []
    assert recognise(made | {"fc.bias": (6,)}) == []
    assert recognise(made | {"fc.weight": (5,)}) == []


def test_head_axes() -> None:
    assert head_axes({"a": (7, 3), "b": (2,)}, {"a": (11, 3), "b": (2,)}, (7, 11)) == {"a": 0}
    assert head_axes({"a": (7,)}, {"a": (7,)}, (7, 11)) is None
    assert head_axes({"a": (14,)}, {"a": (22,)}, (7, 11)) is None
    assert head_axes({"a": (7,)}, {"b": (11,)}, (7, 11)) is None


def test_prefixes() -> None:
    assert without_prefix({"fc.weight": 0}) == ""
    assert without_prefix({"module.fc.weight": 0, "fc.bias": 0}) == ""
    assert without_prefix({"module.model.net.fc.weight": 0}) == "module.model.net."
    assert without_prefix({}) == ""


def test_defaults() -> None:
    assert defaults("theriac:resnet14_s2")["image_size"] == 64
    assert defaults("torchvision:resnet50")["mean"] == (0.485, 0.456, 0.406)
    assert defaults("timm:vit_base_patch32_224")["std"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "name", ["", "resnet50", "theriac:resnet", "torchvision:fcn_resnet50", "timm:hf-hub:a/b", "os:x"]
)
def test_unknown_names_are_user_errors(name: str) -> None:
    with pytest.raises(UserError):
        build(name, 3)


def test_image_size_reaches_only_networks_that_need_it() -> None:
    assert isinstance(build("torchvision:resnet18", 3, 64), nn.Module)
    assert build("torchvision:vit_b_32", 3, 64).image_size == 64


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("size", [28, 32])
def test_small_networks_come_back_and_can_be_looked_into(name: str, size: int, tmp_path: Path) -> None:
    net = build(f"theriac:{name}", 10, size)
    classes = [str(k) for k in range(10)]
    made = Classifier(net, architecture=f"theriac:{name}", classes=classes, image_size=size).eval()
    save_model(made, tmp_path / "model.safetensors")
    opened, images = open_model(str(tmp_path / "model.safetensors")), torch.rand(2, 3, size, size)
    assert torch.equal(opened(images), made(images))
    assert opened.assumptions == ()
    stages = ["net.layer1", "net.layer2", "net.layer3"][: 2 if name == "mlp" else 3]
    assert default_layers(opened) == [*stages, "net.fc:input"]
    torch.save(net.state_dict(), tmp_path / "model.pt")
    if (name, size) != ("mlp", 32):  # whose first layer is only known for its usual size
        assert open_model(str(tmp_path / "model.pt")).architecture == f"theriac:{name}"
