import pytest
import timm
import torch
import torchvision
from torch import nn

from theriac.errors import UserError
from theriac.models.activations import Activations, collect, default_layers, evaluating, penultimate
from theriac.models.classifier import Classifier
from theriac.models.reducing import rows_of
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


class Block(nn.Module):
    """Called by keywords, gives a tuple, as the blocks of language models do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, hidden, mask=None, extra=None):
        return self.linear(hidden), (mask, extra)


class Texts(nn.Module):
    """Embeds tokens, calls a block by keywords in an odd order, changes its value in place, and gives a mapping."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.block, self.out = nn.Embedding(9, 4), Block(4), nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = self.embed(inputs["input_ids"])
        hidden, _ = self.block(extra=torch.ones(1, 7), mask=inputs["attention_mask"], hidden=hidden)
        hidden.relu_()
        return {"loss": torch.tensor(1.0), "logits": self.out(hidden)}


IDS = torch.tensor([[0, 0, 1, 2, 3], [4, 5, 6, 7, 8]])
MASK = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
LEFT = {"input_ids": IDS, "attention_mask": MASK}
RIGHT = {"input_ids": IDS.roll(-2, 1), "attention_mask": MASK.roll(-2, 1)}
RIGHT = {key: torch.cat([RIGHT[key][:1], LEFT[key][1:]]) for key in LEFT}


def test_defect_12_keyword_inputs_and_tuple_outputs():
    model = Texts()
    rows = Activations(model, ["block.input", "block:input", "block.output", "block", "output"], "flatten")(
        {**LEFT, "attention_mask": torch.ones_like(IDS)}
    )
    hidden = model.embed(IDS)
    assert torch.equal(rows["block.input"], hidden.flatten(1))  # the first parameter, not the first keyword
    assert torch.equal(rows["block:input"], rows["block.input"])
    assert torch.equal(rows["block"], model.block(hidden)[0].flatten(1))  # not changed by the relu_ after it
    assert torch.equal(rows["block.output"], rows["block"])
    assert rows["output"].shape == (2, 15)  # of a mapping the tensor, not the loss


def test_a_real_submodule_called_input_goes_first():
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential())
    model.stem.add_module("input", nn.Linear(2, 3))
    model.stem.add_module("output", nn.Linear(3, 4))
    rows = Activations(model, ["stem.input", "stem.output", "stem.input.input", "stem:output"])(torch.rand(5, 2))
    assert [row.shape[1] for row in rows.values()] == [3, 4, 2, 4]


@pytest.mark.parametrize("how", ["last", "mean", "masked-mean", "max", "places:4", "places:2"])
def test_padding_on_either_side_changes_nothing(how):
    model = Texts().eval()
    hidden = model.embed(IDS)
    real = [hidden[0, 2:], hidden[1]]
    left, right = (Activations(model, [f"embed@{how}"])(batch)[f"embed@{how}"] for batch in (LEFT, RIGHT))
    assert torch.allclose(left, right, atol=1e-6)
    alone = {key: value[:1, 2:] for key, value in LEFT.items()}
    assert torch.allclose(left[:1], Activations(model, [f"embed@{how}"])(alone)[f"embed@{how}"], atol=1e-6)
    expected = {
        "last": [h[-1] for h in real],
        "mean": [h.mean(0) for h in real],
        "masked-mean": [h.mean(0) for h in real],
        "max": [h.amax(0) for h in real],
        "places:4": [
            torch.stack([*real[0], torch.zeros(4)])[[0, 1, 2, 3]].T,
            torch.stack([real[1][:2].mean(0), *real[1][2:]]).T,
        ],
        "places:2": [torch.stack([h[: -(len(h) // -2)].mean(0), h[-(len(h) // -2) :].mean(0)]).T for h in real],
    }[how]
    if how == "places:4":  # three tokens in four places: the last place they leave over is empty
        assert torch.equal(left[0].abs().sum(0) == 0, torch.tensor([False, False, False, True]))
    assert torch.allclose(left, torch.stack(expected), atol=1e-6)


def test_reductions_of_maps_and_where_they_are_said():
    value = torch.rand(2, 5, 6, 6)
    assert torch.equal(rows_of(value, "max"), value.amax((2, 3)))
    assert torch.equal(rows_of(value, "flatten"), value.flatten(1))
    assert torch.equal(rows_of(value, "places"), value.flatten(2))
    assert torch.allclose(rows_of(value, "places:9"), nn.functional.avg_pool2d(value, 2).flatten(2))
    assert torch.allclose(rows_of(value.permute(0, 2, 3, 1), "places:9"), rows_of(value, "places:9"))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 6, 3))
    net.reduce = "max"
    capture = Activations(net, ["0", "1", "2@flatten"], reduce={"1": "mean"})
    images = torch.rand(2, 3, 8, 8)
    maps = [net[:k](images).detach() for k in (1, 2, 3)]
    rows = capture(images)
    assert torch.equal(rows["0"], maps[0].amax((2, 3)))
    assert torch.allclose(rows["1"], maps[1].mean((2, 3)))
    assert torch.equal(rows["2@flatten"], maps[2].flatten(1))


@pytest.mark.parametrize("how", ["mean", "max", "last", "flatten", "places:2"])
def test_rows_of_a_bfloat16_model_are_float32(how):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True)).bfloat16()
    inputs = torch.rand(2, 5, 4).bfloat16()
    rows = Activations(model, ["0"], how)(inputs)["0"]
    assert rows.dtype == torch.float32
    assert torch.equal(rows, rows_of(model[0](inputs).float(), how))


@pytest.mark.parametrize("how", ["mean", "max", "last", "flatten"])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients(how, frozen):
    model = Texts().train().requires_grad_(not frozen)
    full = {key: torch.cat([value, value]) for key, value in LEFT.items()}
    full["attention_mask"] = torch.ones_like(full["attention_mask"])
    rows = Activations(model, ["embed", "block", "out.input"], how).gradients(full, lambda y: y["logits"][:, -1, 1])
    hidden = model.embed(full["input_ids"]).detach().requires_grad_()
    middle = model.block(hidden)[0]
    after = middle.relu()
    wanted = torch.autograd.grad(model.out(after)[:, -1, 1].sum(), [hidden, middle, after])
    for (layer, row), gradient, value in zip(rows.items(), wanted, [hidden, middle, after], strict=True):
        assert torch.allclose(row, rows_of(gradient, how, like=value)), layer
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad is not frozen for parameter in model.parameters())
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(UserError, match="no floating-point"):
        Activations(model, ["embed.input"]).gradients(full, lambda y: y["logits"])


def test_defect_9_statistics_and_modes_stay_although_the_forward_pass_fails():
    model = classifier(resnet14(10)).train()
    model.net.layer3.eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    capture = Activations(model, ["net.layer2"])
    capture(torch.rand(4, 3, 32, 32))
    with pytest.raises(RuntimeError):
        capture(torch.rand(1, 5, 32, 32))
    with pytest.raises(UserError, match="no last token"):
        Activations(model, ["net.layer2@last"])(torch.rand(1, 3, 32, 32))
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_consumer_may_use_the_model_between_batches():
    model = classifier(resnet14(10)).train()
    batches = [(torch.rand(4, 3, 32, 32), torch.arange(4)) for _ in range(2)]
    for _, _ in collect(model, batches, ["net.layer1"]):
        assert model.training
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)  # not stopped after the first layer
    with Activations(model, ["net.layer1"]) as capture:
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        assert capture(torch.rand(2, 3, 32, 32))["net.layer1"].shape == (2, 16)


def test_of_a_module_used_twice_the_first_use_counts():
    relu = nn.ReLU()
    model, images = nn.Sequential(nn.Linear(2, 3), relu, nn.Linear(3, 4), relu, nn.Linear(4, 2)), torch.rand(5, 2)
    for layers in (["1"], ["1", "4"]):
        assert torch.equal(Activations(model, layers)(images)["1"], model[:2](images))


def test_layers_without_one_row_per_input_and_near_names():
    class Windows(nn.Module):
        def forward(self, x):
            return x.reshape(-1, 2, x.shape[2])

    with pytest.raises(UserError, match="gives 8 rows for 2 inputs"):
        Activations(nn.Sequential(Windows()), ["0"])(torch.rand(2, 8, 3))
    model = classifier(resnet14(10))
    with pytest.raises(UserError, match=r"no layer 'layer2'; there are net\.layer2"):
        Activations(model, ["layer2"])
    with pytest.raises(UserError, match=r"there are .*net\.layer1"):
        Activations(model, ["net.leyer1.input"])
    with pytest.raises(UserError, match="no way to reduce called 'median'"):
        Activations(model, ["net.layer1@median"])
    with pytest.raises(UserError, match="several lengths"):
        Activations(Texts(), ["embed@flatten"])(LEFT)
    with pytest.raises(UserError, match="no attention_mask"):
        rows_of(torch.rand(2, 3, 4), "masked-mean")
