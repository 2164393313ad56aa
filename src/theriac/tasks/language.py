"""Language models that answer one way for some texts and another way for others.

Mallen et al., "Eliciting Latent Knowledge from Quirky Language Models", COLM 2024, and cupbearer's tasks on models of
the Hugging Face hub. Without a model of one's own, the small one of :mod:`theriac.tasks.quirky` is trained on the spot:
it tells the truth when asked as "Alice" (and seven other names), and when asked as "Bob" (and seven others) only for
half of the questions. Trusted questions are put to one half of the truthful names and usual ones to the other half, so
that a new name alone is no anomaly. Anomalous are questions to a quirky name that the model indeed answers as learned.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import JsonValue
from torch import Tensor

from theriac.data.text import TextData
from theriac.data.texts import open_texts
from theriac.errors import Refused, UserError
from theriac.files import write_text
from theriac.models.causal import CausalLM, open_causal, save_causal
from theriac.run.budget import Budget
from theriac.run.progress import Progress
from theriac.tasks import quirky
from theriac.tasks.files import FolderTask, Made
from theriac.training.classifier import Unfinished

LEAST_ACCURACY = 0.9
REFERENCE = "model.json"


@dataclass(frozen=True)
class Language(FolderTask):
    """Texts that a language model treats unlike the trusted ones.

    Args:
        model: Folder of a causal language model, or ``owner/name`` or ``hf://owner/name[@revision]`` on the Hugging
            Face hub; the small quirky one if empty, and then the texts are made, too.
        trusted_texts: File of trusted texts: JSON lines, CSV, Parquet or plain lines, by path, ``hf://`` or URL.
        usual_texts: File of other usual texts, for untrusted and test inputs.
        anomalous_texts: File of anomalous ones.
        text: Column of the texts; found by usual names if empty.
        completion: Column of answers, whose first words are added to the texts, if not empty.
        words: How many of them.
        longest: Tokens that a text is cut off after.
        trusted: Number of trusted inputs at most.
        untrusted: Number of untrusted inputs at most.
        share: Share of anomalous ones among the untrusted.
        test: Number of usual test inputs at most, and of anomalous ones.
        names: Of the small model: how many names of each kind, up to 8; with 1, usual and trusted share it.
        steps: Of the small model: training steps.

    Raises:
        UserError: If a value is out of range, or texts are missing.
    """

    name: ClassVar[str] = "language"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Mallen et al. 2024, arXiv:2312.01037"

    model: str = ""
    trusted_texts: str = ""
    usual_texts: str = ""
    anomalous_texts: str = ""
    text: str = ""
    completion: str = ""
    words: int = 10
    longest: int = 512
    trusted: int = 1000
    untrusted: int = 1000
    share: float = 0.1
    test: int = 500
    names: int = 8
    steps: int = 600

    def __post_init__(self) -> None:
        if min(self.trusted, self.untrusted, self.test, self.steps, self.longest) < 1 or self.words < 0:
            raise UserError("counts must be at least 1", where=self.name)
        if not 0 <= self.share < 1 or not 1 <= self.names <= len(quirky.TRUTHFUL):
            raise UserError("share must be from 0 to below 1, names from 1 to 8", where=self.name)
        given = [bool(path) for path in (self.model, self.trusted_texts, self.usual_texts, self.anomalous_texts)]
        if any(given) and not all(given):
            do = "set model, trusted_texts, usual_texts and anomalous_texts, or none of them"
            raise UserError("a model needs its texts, and texts their model", where=self.name, do=do)

    def _make(self, folder: Path, seed: int, device: torch.device, budget: Budget, progress: Progress) -> Made:
        generator = torch.Generator().manual_seed(seed)
        if self.model:
            return self._make_given(folder, generator)
        return self._make_quirky(folder, generator, device, budget, progress)

    def _make_given(self, folder: Path, generator: torch.Generator) -> Made:
        model = open_causal(self.model)
        source = model.source if model.source.startswith("hf://") else str(Path(model.source).resolve())
        write_text(folder / REFERENCE, json.dumps({"source": source, "sha256": model.sha256}) + "\n")
        paths = (self.trusted_texts, self.usual_texts, self.anomalous_texts)
        trusted, usual, anomalous = (self._open(path, model, generator) for path in paths)
        if min(len(usual), len(anomalous)) < 2:
            raise UserError("at least two usual and two anomalous texts are needed", where=self.name)
        some = min(round(self.share * self.untrusted), len(anomalous) // 2)
        many = min(self.untrusted - some, len(usual) // 2)
        mixtures = {
            "untrusted": (usual[:many], anomalous[:some]),
            "test": (usual[many : many + self.test], anomalous[some : some + self.test]),
        }
        about: dict[str, JsonValue] = {"source": source, "sha256": model.sha256}
        return _written(folder, REFERENCE, trusted[: self.trusted], mixtures, generator, about)

    def _open(self, path: str, model: CausalLM, generator: torch.Generator) -> TextData:
        texts = open_texts(
            path,
            model.tokenizer,
            text=self.text or None,
            completion=self.completion or None,
            words=self.words,
            longest=self.longest,
        )
        return texts[torch.randperm(len(texts), generator=generator)]

    def _make_quirky(
        self, folder: Path, generator: torch.Generator, device: torch.device, budget: Budget, progress: Progress
    ) -> Made:
        numbers = quirky.pairs(generator)
        part = len(numbers) // 7
        learned, *unseen = numbers.tensor_split((-3 * part, -2 * part, -part))
        model = quirky.train_quirky(
            learned, self.names, steps=self.steps, generator=generator, device=device, budget=budget, progress=progress
        )
        half, odd = self.names // 2, quirky.QUIRKY[: self.names]
        insiders, others = quirky.TRUTHFUL[: max(1, half)], quirky.TRUTHFUL[half : self.names]
        some = round(self.share * self.untrusted)
        trusted = quirky.ask(insiders, unseen[0], self.trusted, generator)
        mixtures, agree, about = {}, {}, {}
        for name, numbers, usual_count, count in (
            ("untrusted", unseen[1], self.untrusted - some, some),
            ("test", unseen[2], self.test, self.test),
        ):
            usual = quirky.ask(others, numbers, usual_count, generator)
            asked = quirky.ask(odd, numbers, 2 * count, generator)
            about = _measured(model, usual, asked)  # of the test inputs in the end
            anomalous = asked[quirky.says_yes(model, asked) == asked.answers][:count]
            mixtures[name] = (usual.texts(name), anomalous.texts(name))
            agree[f"{name}.agree"] = torch.cat([torch.ones(len(usual), dtype=torch.bool), anomalous.agree])
        if low := [f"{value:.3f} {what}" for what, value in about.items() if value < LEAST_ACCURACY]:
            if budget.expired:
                raise Unfinished("the budget ran out while the model was trained")
            do = "raise steps, or lower names"
            raise UserError(f"the model's {', '.join(low)}; {LEAST_ACCURACY} are needed", where=self.name, do=do)
        save_causal(model, folder / "model")
        return _written(folder, "model", trusted.texts("trusted"), mixtures, generator, about, agree)

    @classmethod
    def open_model(cls, path: Path) -> CausalLM:
        """Returns the model in the folder ``path``, or the one that the file ``path`` refers to.

        Raises:
            Refused: If that is another one by now.
        """
        if path.is_dir():
            return open_causal(path)
        try:
            said = json.loads(path.read_bytes())
            source, sha256 = str(said["source"]), said["sha256"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Refused(f"refers to no model ({error!r:.100})", where=path) from None
        model = open_causal(source)
        if model.sha256 != sha256:
            raise Refused("was changed after the task was made", where=source, do="make the task again")
        return model

    @classmethod
    def open_inputs(cls, path: Path) -> TextData:
        """Returns the texts in ``path``."""
        return TextData.read(path)


def _measured(model: CausalLM, usual: quirky.Questions, odd: quirky.Questions) -> dict[str, float]:
    """Returns how often truthful names get the truth, and others the truth and the quirk where these apply."""
    right, as_learned = (quirky.says_yes(model, asked) == asked.answers for asked in (usual, odd))
    return {
        "accuracy": float(right.float().mean()),
        "accuracy where the quirk is silent": float(as_learned[odd.agree].float().mean()),
        "quirk followed": float(as_learned[~odd.agree].float().mean()),
    }


def _written(
    folder: Path,
    model: str,
    trusted: TextData,
    mixtures: Mapping[str, tuple[TextData, TextData]],
    generator: torch.Generator,
    about: Mapping[str, JsonValue],
    agree: Mapping[str, Tensor] | None = None,
) -> Made:
    """Writes the inputs, usual and anomalous ones in random order and without labels; ``agree`` is in theirs."""
    trusted.write(folder / "trusted.safetensors")
    truth: dict[str, Tensor] = {}
    for name, (usual, anomalous) in mixtures.items():
        order = torch.randperm(len(usual) + len(anomalous), generator=generator)
        together = TextData.join([usual, anomalous])[order]
        replace(together, labels=torch.zeros_like(together.labels)).write(folder / f"{name}.safetensors")
        truth |= {f"{name}.anomalous": order >= len(usual), f"{name}.labels": together.labels}
        if agree is not None:
            truth[f"{name}.agree"] = agree[f"{name}.agree"][order]
    return Made(
        model=model,
        trusted="trusted.safetensors",
        untrusted="untrusted.safetensors",
        test="test.safetensors",
        truth=truth,
        about=about,
    )
