import pytest
import timm
import torch
import torchvision
from torch import nn

from theriac.errors import UserError
from theriac.models.activations import Activations, collect, default_layers, evaluating, penultimate, rows_of
from theriac.models.classifier import Classifier
from theriac.models.resnet import resnet14


def classifier(net: nn.Module, size: int = 32, classes: int = 10) -> Classifier:
    return Classifier(net, architecture="any:any", classes=[str(k) for k in range(classes)], image_size=size)


def test_penultimate_times_head_gives_the_logits():
    model, images = classifier(resnet14(10)).eval(), torch.rand(3, 3, 32, 32)
    with Activations(model, [penultimate(model), "net.fc"]) as capture:
        rows = capture(images)
    assert torch.equal(model.net.fc(rows["net.fc:input"]), model(images))
    assert torch.equal(rows["net.fc"], model(images))


def test_rows_are_spatial_means_and_modes_and_hooks_are_restored():
    model = classifier(resnet14(10)).train()
    model.net.bn1.eval()
    images, kept = torch.rand(3, 3, 32, 32), []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with Activations(model, ["net.layer2"]) as capture:
        assert not model.training
        rows = capture(images)["net.layer2"]
    assert model.training
    assert not model.net.bn1.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    handle = model.net.layer2.register_forward_hook(lambda module, args, output: kept.append(output))
    with evaluating(model):
        model(images)
    handle.remove()
    assert torch.allclose(rows, kept[0].mean((2, 3)))


def test_the_forward_pass_stops_after_the_last_layer():
    model, reached = classifier(resnet14(10)), []
    model.net.layer3.register_forward_hook(lambda *_: reached.append(1))
    with Activations(model, ["net.layer1", "net.layer2"]) as capture:
        assert list(capture(torch.rand(1, 3, 32, 32))) == ["net.layer1", "net.layer2"]
    assert not reached


def test_hooks_go_even_when_the_forward_pass_fails():
    model = classifier(resnet14(10))
    with pytest.raises(RuntimeError), Activations(model, ["net.layer4"]) as capture:
        capture(torch.rand(1, 5, 32, 32))
    assert not model.net.layer4._forward_hooks


@pytest.mark.parametrize(
    ("value", "channels"),
    [
        (torch.rand(2, 7), 7),
        (torch.rand(2, 50, 7), 7),
        (torch.rand(2, 7, 4, 4), 7),
        (torch.rand(2, 4, 4, 7), 7),
        ((None, (torch.rand(2, 7), torch.rand(2, 9))), 7),
        ({"last": torch.rand(2, 3, 7)}, 7),
    ],
)
def test_rows_of_any_shape(value, channels):
    assert rows_of(value).shape == (2, channels)


def test_bad_layers_are_named():
    model = classifier(resnet14(10))
    with pytest.raises(UserError, match=r"no layer 'net\.layer9'"):
        Activations(model, ["net.layer9"])
    with pytest.raises(UserError, match="no tensor"):
        rows_of(3)
    model.net.unused = nn.Linear(2, 2)
    with pytest.raises(UserError, match="never reaches"), Activations(model, ["net.unused"]) as capture:
        capture(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("net", "size", "layers"),
    [
        (lambda: resnet14(10), 32, ["net.layer1", "net.layer2", "net.layer3", "net.layer4", "net.fc:input"]),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=10), 64, 6),
        (lambda: torchvision.models.densenet121(num_classes=10), 64, 6),
        (lambda: torchvision.models.squeezenet1_1(num_classes=10), 64, None),
        (lambda: torchvision.models.vit_b_32(num_classes=10, image_size=64), 64, 6),
        (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=64), 64, 6),
        (lambda: timm.create_model("convnext_atto", num_classes=10), 64, 5),
        (lambda: timm.create_model("resnet18", num_classes=10), 64, 5),
    ],
)
def test_default_layers_exist_and_end_in_the_penultimate(net, size, layers):
    model = classifier(net(), size)
    if layers is None:
        with pytest.raises(UserError, match="no linear layer"):
            default_layers(model)
        return
    names = default_layers(model)
    assert names == layers or len(names) == layers
    with Activations(model, names) as capture:
        rows = capture(torch.rand(2, 3, size, size))
    assert all(row.ndim == 2 and len(row) == 2 for row in rows.values())
    assert rows[penultimate(model)].shape[1] == model.head()[1].in_features


def test_collect_keeps_order():
    model = classifier(resnet14(10))
    batches = [(torch.rand(4, 3, 32, 32), torch.arange(4) + 4 * k) for k in range(2)]
    seen = [(rows["net.layer1"], labels) for rows, labels in collect(model, batches, ["net.layer1"])]
    assert torch.equal(torch.cat([labels for _, labels in seen]), torch.arange(8))
    assert [len(rows) for rows, _ in seen] == [4, 4]
