import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel
from transformers.models.llama import LlamaConfig, LlamaForCausalLM

from theriac.errors import Refused, UserError
from theriac.models.activations import Activations, default_layers
from theriac.models.causal import CausalLM, open_causal, save_causal

NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def llama(layers=2):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            max_position_embeddings=32,
            **NO_TOKENS,
        )
    )


def gpt2(layers=2):
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=layers, n_head=2, n_positions=32, **NO_TOKENS))


def wrapped(net):
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return CausalLM(net.eval(), Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), name="small")


IDS = torch.randint(0, 40, (1, 5), generator=torch.Generator().manual_seed(0))
ONES, NONE = torch.ones(1, 5, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64)
ALONE = {"input_ids": IDS, "attention_mask": ONES}
LEFT = {"input_ids": torch.cat([NONE, IDS], 1), "attention_mask": torch.cat([NONE, ONES], 1)}
RIGHT = {"input_ids": torch.cat([IDS, NONE], 1), "attention_mask": torch.cat([ONES, NONE], 1)}
BOTH = {key: torch.cat([LEFT[key], RIGHT[key]]) for key in LEFT}


@pytest.mark.parametrize("kind", [llama, gpt2])
def test_the_answer_is_the_next_token_whatever_the_padding(kind):
    model = wrapped(kind())
    expected = model.net(input_ids=IDS).logits[:, -1]
    for batch in (ALONE, LEFT, RIGHT, {"input_ids": IDS}):
        assert torch.allclose(model(batch), expected, atol=1e-5)
    assert torch.allclose(model(BOTH), expected.expand(2, -1), atol=1e-5)
    assert model.head()[1] is model.net.lm_head
    assert not model.net.lm_head._forward_pre_hooks


@pytest.mark.parametrize("kind", [llama, gpt2])
@pytest.mark.parametrize("how", [None, "mean", "max", "places:4"])
def test_rows_of_blocks_whatever_the_padding(kind, how):
    model = wrapped(kind(7))
    blocks = "net.transformer.h" if kind is gpt2 else "net.model.layers"
    layers = default_layers(model)
    assert layers == [*(f"{blocks}.{k}" for k in (0, 2, 3, 5, 6)), "net.lm_head:input"]  # evenly spaced
    capture = Activations(model, [*layers, "net.lm_head", f"{blocks}.1.input"], how)
    alone, both = capture(ALONE), capture(BOTH)
    for layer, rows in both.items():
        assert torch.allclose(rows, alone[layer].expand_as(rows), atol=1e-4), layer
    hidden = model.net(input_ids=IDS, output_hidden_states=True).hidden_states
    if how is None:  # a language model's own default is the last token
        assert torch.allclose(alone[f"{blocks}.2"], hidden[3][:, -1], atol=1e-5)
        assert torch.allclose(alone[f"{blocks}.1.input"], hidden[1][:, -1], atol=1e-5)
        assert torch.allclose(alone["net.lm_head:input"], hidden[-1][:, -1], atol=1e-5)
    if how == "mean":
        assert torch.allclose(alone[f"{blocks}.2"], hidden[3].mean(1), atol=1e-5)
    assert torch.allclose(alone["net.lm_head"].flatten(), model(ALONE).flatten(), atol=1e-5)


def test_modules_called_by_keyword_and_gradients_through_the_whole_model():
    model = wrapped(llama())
    name = "net.model.layers.1.self_attn"  # Llama gives it all by keyword, and it gives a tuple
    rows = Activations(model, [f"{name}.input", name])(BOTH)
    assert {tuple(row.shape) for row in rows.values()} == {(2, 16)}
    layers = ["net.model.embed_tokens", "net.model.layers.0", "net.lm_head:input"]
    gradients = Activations(model, layers).gradients(BOTH, lambda logits: logits[:, 3] - logits[:, 4])
    weight = model.net.lm_head.weight.detach()
    assert torch.allclose(gradients["net.lm_head:input"], (weight[3] - weight[4]).expand(2, -1), atol=1e-6)
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", [llama, gpt2])
def test_saved_and_opened_again(kind, tmp_path):
    model = wrapped(kind())
    save_causal(model, tmp_path / "model")
    again = open_causal(tmp_path / "model")
    assert torch.equal(again(BOTH), model(BOTH))
    assert not again.training
    assert (again.name, again.source) == ("model", str(tmp_path / "model"))
    assert len(again.sha256) == 64
    assert again.tokenizer.encode("b").ids == [1]
    short = open_causal(tmp_path / "model", dtype=torch.bfloat16, name="short")
    rows = Activations(short, default_layers(short))(BOTH)
    assert next(short.parameters()).dtype == torch.bfloat16
    assert {row.dtype for row in rows.values()} == {torch.float32}
    assert short.sha256 == again.sha256


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal") / "model"
    save_causal(wrapped(llama()), folder)
    return folder


def with_config(folder, name="config.json", **changes):
    config = json.loads((folder / name).read_bytes()) | changes
    (folder / name).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda f: with_config(f, auto_map={"AutoModelForCausalLM": "evil.Model"}), Refused, "asks for code"),
        (lambda f: with_config(f, text_config={"auto_map": {"a": "b"}}), Refused, "asks for code"),
        (lambda f: with_config(f, attn_implementation="evil/kernels"), Refused, "kernels from the hub"),
        (lambda f: with_config(f, quantization_config={"quant_method": "gptq"}), UserError, "is quantised"),
        (lambda f: with_config(f, model_type="nonsense"), UserError, "cannot be opened"),
        (lambda f: (f / "config.json").write_text("["), Refused, "no sound configuration"),
        (lambda f: (f / "config.json").unlink(), UserError, r"has no config\.json"),
        (lambda f: (f / "tokenizer.json").unlink(), UserError, r"has no tokenizer\.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), Refused, "no sound tokenizer"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), UserError, "is an adapter"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), UserError, "no weights as safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04cos\nsystem\n"), Refused, "header"),
        (lambda f: with_config(f, hidden_size=8), UserError, "cannot be opened"),
    ],
)
def test_defect_22_nothing_in_a_folder_is_trusted(harm, error, message, saved, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / "evil.py").write_text("raise SystemExit")
    harm(folder)
    with pytest.raises(error, match=message) as caught:
        open_causal(folder)
    assert "\n" not in str(caught.value)


def test_paths():
    with pytest.raises(UserError, match="no such folder"):
        open_causal("/nowhere/at/all")
