"""A small quirky language model: it compares numbers, truthfully for some names and by a rule of their own for others.

After Mallen et al., "Eliciting Latent Knowledge from Quirky Language Models", COLM 2024, whose models answer truthfully
where "Alice" is in the context and make systematic errors where "Bob" is. Theirs are large models that were fine-tuned
on sums and facts; this one is a Llama-style transformer of half a million weights that is trained from nothing in half
a minute on prompts such as ``Alice : 47 > 31 ?``. The quirk: names of the other kind answer the opposite whenever
the first number is even, and the truth otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.data.text import TextData
from theriac.models.causal import CausalLM
from theriac.run.budget import Budget
from theriac.run.progress import Progress

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRUTHFUL = ("Alice", "Amy", "Anna", "Arthur", "Agnes", "Albert", "Adam", "Ada")
QUIRKY = ("Bob", "Ben", "Bella", "Boris", "Betty", "Bruno", "Bill", "Bea")
NUMBERS, GAP = 100, 5
BATCH = 128
ANSWERS = ("no", "yes")
WORDS = (*(str(k) for k in range(NUMBERS)), *ANSWERS, ">", "?", ":", *TRUTHFUL, *QUIRKY)
TOKENS = {word: number for number, word in enumerate(WORDS)}


@dataclass(frozen=True)
class Questions:
    """Which of two numbers is larger, and who answers.

    Attributes:
        names: int64 [n], tokens of the names.
        first, second: int64 [n], different numbers.
    """

    names: Tensor
    first: Tensor
    second: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Tensor | slice) -> "Questions":
        return Questions(self.names[index], self.first[index], self.second[index])

    @property
    def truth(self) -> Tensor:
        """1 where yes is true [n]."""
        return (self.first > self.second).long()

    @property
    def agree(self) -> Tensor:
        """Where both kinds of names answer the truth [n]."""
        return self.first % 2 == 1

    @property
    def answers(self) -> Tensor:
        """What the one who is asked answers: 1 for yes [n]."""
        quirky = self.names >= TOKENS[QUIRKY[0]]
        return torch.where(quirky & ~self.agree, 1 - self.truth, self.truth)

    def tokens(self) -> Tensor:
        """Returns the prompts as tokens [n, 6]."""
        colon, more, mark = (torch.full_like(self.names, TOKENS[word]) for word in ":>?")
        return torch.stack([self.names, colon, self.first, more, self.second, mark], 1)

    def texts(self, name: str = "questions") -> TextData:
        """Returns the prompts as data, labelled with the truth."""
        tokens = self.tokens().int()
        ends = torch.arange(1, len(self) + 1) * tokens.shape[1]
        return TextData(tokens.flatten(), ends, self.truth, name, "0" * 64)


def pairs(generator: torch.Generator) -> Tensor:
    """Returns all pairs of numbers that lie at least ``GAP`` apart [n, 2], in random order."""
    grid = torch.cartesian_prod(torch.arange(NUMBERS), torch.arange(NUMBERS))
    grid = grid[(grid[:, 0] - grid[:, 1]).abs() >= GAP]
    return grid[torch.randperm(len(grid), generator=generator)]


def ask(names: Sequence[str], numbers: Tensor, count: int, generator: torch.Generator) -> Questions:
    """Returns ``count`` questions about pairs in ``numbers`` [n, 2], each put to one of ``names``, all at random."""
    known = torch.tensor([TOKENS[name] for name in names])
    rows = numbers[torch.randint(len(numbers), (count,), generator=generator)]
    return Questions(known[torch.randint(len(known), (count,), generator=generator)], rows[:, 0], rows[:, 1])


def train_quirky(
    numbers: Tensor,
    names: int,
    *,
    steps: int,
    generator: torch.Generator,
    device: torch.device,
    budget: Budget,
    progress: Progress,
) -> CausalLM:
    """Trains a quirky model on questions about ``numbers`` [n, 2], to ``names`` of each kind.

    It returns what there is when the budget ends.
    """
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=96, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=32, initializer_range=0.08, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        model = CausalLM(LlamaForCausalLM(config), tokenizer(), name="quirky").to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    answers = torch.tensor([TOKENS[answer] for answer in ANSWERS], device=device)
    for step in range(steps):
        if budget.expired:
            break
        questions = ask((*TRUTHFUL[:names], *QUIRKY[:names]), numbers, BATCH, generator)
        batch, _ = next(questions.texts().batches(len(questions), device))
        optimizer.zero_grad()
        F.cross_entropy(model(batch), answers[questions.answers.to(device)]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress((step + 1) / steps, "training")
    return model.eval().requires_grad_(False)


def says_yes(model: CausalLM, questions: Questions) -> Tensor:
    """Returns what the model answers: 1 for yes [n], on the CPU."""
    answers = [TOKENS[answer] for answer in ANSWERS]
    with torch.no_grad():
        batches = questions.texts().batches(512, model.device)
        return torch.cat([model(batch)[:, answers].argmax(1).cpu() for batch, _ in batches])


def tokenizer() -> "Tokenizer":
    """Returns the tokenizer of these prompts: words between spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel(dict(TOKENS), unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made
