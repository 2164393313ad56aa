import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

from theriac import metrics
from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.errors import Refused, UserError
from theriac.models.causal import CausalLM, save_causal
from theriac.run.budget import Budget
from theriac.tasks import TASKS, quirky
from theriac.tasks.files import open_task
from theriac.tasks.language import Language
from theriac.training.classifier import Unfinished

SMALL = Language(names=1, steps=350, trusted=300, untrusted=200, test=100)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language") / "task"
    return SMALL.make(folder, seed=0), folder


def words(task, inputs):
    return [task.model.tokenizer.decode(inputs.row(k)) for k in range(len(inputs))]


def test_the_questions_know_their_answers():
    numbers = torch.tensor([[12, 7], [13, 7], [7, 12], [7, 13]])
    alice, bob = torch.full((4,), quirky.TOKENS["Alice"]), torch.full((4,), quirky.TOKENS["Bob"])
    assert quirky.Questions(alice, *numbers.T).answers.tolist() == [1, 1, 0, 0]
    assert quirky.Questions(bob, *numbers.T).answers.tolist() == [0, 1, 0, 0]  # 12 is even: Bob says the opposite
    assert quirky.Questions(bob, *numbers.T).agree.tolist() == [False, True, True, True]
    text = quirky.tokenizer().decode(quirky.Questions(bob, *numbers.T).tokens()[0].tolist())
    assert text == "Bob : 12 > 7 ?"
    assert quirky.tokenizer().encode(text).ids == quirky.Questions(bob, *numbers.T).tokens()[0].tolist()


def test_the_small_model_is_quirky_and_the_task_knows_when(made):
    task, _ = made
    assert TASKS["language"] is Language
    assert min(v for k, v in task.about.items() if k in ("accuracy", "quirk followed")) >= 0.9
    assert (len(task.trusted), len(task.untrusted.inputs), len(task.test.inputs)) == (300, 200, 200)
    assert task.untrusted.anomalous.sum() == 20
    assert task.test.anomalous.sum() == 100
    assert all(text.startswith("Alice :") for text in words(task, task.trusted))
    test = words(task, task.test.inputs)
    assert [text.startswith("Bob :") for text in test] == task.test.anomalous.tolist()
    assert task.test.agree[~task.test.anomalous].all()
    assert 0.2 < task.test.agree[task.test.anomalous].float().mean() < 0.8
    for text, odd, agree in zip(test, task.test.anomalous, task.test.agree, strict=True):
        first, second = int(text.split()[2]), int(text.split()[4])
        answer = [quirky.TOKENS[word] for word in quirky.ANSWERS]
        ids = torch.tensor([task.model.tokenizer.encode(text).ids])
        says = int(task.model({"input_ids": ids})[0, answer].argmax())
        if odd:
            assert bool(agree) == (first % 2 == 1)
            assert says == (first > second) ^ (not agree)
    assert not task.test.inputs.labels.any()
    unseen = {text.partition(":")[2] for text in test}
    assert not unseen & {text.partition(":")[2] for text in words(task, task.trusted)}


def test_a_detector_finds_the_quirk(made):
    task, _ = made
    detector = Mahalanobis().fit(task.model, task.trusted)
    assert detector.layers_ == (*(f"net.model.layers.{k}" for k in range(4)), "net.lm_head:input")
    batch, _ = next(task.test.inputs.batches(1000))
    scores = detector.aggregate(detector.score(batch))
    assert metrics.auroc(scores, task.test.anomalous) > 0.8
    scan = detector.scan(task.test.inputs, budget=Budget(), generator=torch.Generator().manual_seed(0))
    assert scan.finding.verdict == "poisoned"


def test_a_finished_task_opens_again(made):
    task, folder = made
    again = open_task(folder)
    assert torch.equal(again.test.inputs.tokens, task.test.inputs.tokens)
    assert torch.equal(again.test.agree, task.test.agree)
    batch, _ = next(again.test.inputs.batches(8))
    assert torch.equal(again.model(batch), task.model(batch))
    with pytest.raises(UserError, match="was made with names=1"):
        Language(names=2, steps=350, trusted=300, untrusted=200, test=100).make(folder)


def test_a_model_that_learned_nothing_is_no_task(tmp_path):
    with pytest.raises(UserError, match=r"quirk followed.*are needed; raise steps"):
        Language(steps=2, untrusted=20, test=20).make(tmp_path / "a")
    with pytest.raises(Unfinished, match="budget"):
        Language(steps=2, untrusted=20, test=20).make(tmp_path / "b", budget=Budget(1e-6))


@pytest.fixture
def given(tmp_path):
    """A random GPT-2 and texts, as a user might bring them."""
    torch.manual_seed(0)
    known = {word: number for number, word in enumerate(["the", "cat", "dog", "sat", "ran", "off", "on", "mat", "?"])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    config = GPT2Config(
        vocab_size=10, n_embd=16, n_layer=7, n_head=2, n_positions=32, bos_token_id=None, eos_token_id=None
    )
    save_causal(CausalLM(GPT2LMHeadModel(config), tokenizer), tmp_path / "gpt")
    for name, word, count in (("trusted", "cat", 60), ("usual", "cat", 30), ("odd", "dog", 20)):
        rows = [{"question": f"the {word} sat" + " on the mat" * (k % 3), "answer": "ran off"} for k in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = {f"{key}_texts": str(tmp_path / f"{key}.jsonl") for key in ("trusted", "usual")}
    return Language(
        model=str(tmp_path / "gpt"),
        anomalous_texts=str(tmp_path / "odd.jsonl"),
        completion="answer",
        words=1,
        untrusted=20,
        share=0.2,
        test=500,
        **texts,
    )


def test_any_model_and_texts(given, tmp_path):
    task = given.make(tmp_path / "task")
    assert (len(task.trusted), len(task.untrusted.inputs), len(task.test.inputs)) == (60, 19, 31)
    assert task.untrusted.anomalous.sum() == 4
    assert task.test.anomalous.sum() == 16
    assert task.test.agree is None
    assert task.about["source"] == given.model
    for text, odd in zip(words(task, task.test.inputs), task.test.anomalous, strict=True):
        assert ("dog" in text) == odd
        assert text.endswith("ran")  # one word of the completion
    layers = Mahalanobis().fit(task.model, task.trusted).layers_
    assert layers == (*(f"net.transformer.h.{k}" for k in (0, 2, 3, 5, 6)), "net.lm_head:input")
    shutil.copytree(given.model, tmp_path / "backup")
    (tmp_path / "gpt" / "extra.json").write_text("{}")
    with pytest.raises(Refused, match="was changed after the task was made"):
        open_task(tmp_path / "task")


def test_a_model_needs_texts():
    with pytest.raises(UserError, match="a model needs its texts"):
        Language(model="somewhere")
    with pytest.raises(UserError, match="names from 1 to 8"):
        Language(names=9)
