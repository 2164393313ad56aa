"""Texts as tokens: in memory as one flat tensor, in batches padded on the left with a mask."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from theriac.data.prefetching import moved
from theriac.errors import Refused, UserError
from theriac.files import replacing, sha256_file

LONGEST = 512
_CHUNK = 4096


class Tokenizer(Protocol):
    """What is needed of a tokenizer of the tokenizers library."""

    def encode_batch(self, input: Any, /) -> Sequence[Any]:
        """Returns one encoding per text, with its token numbers as ``ids``."""
        ...


@dataclass(frozen=True)
class TextData:
    """Tokenised texts.

    Attributes:
        tokens: int32 [all tokens], text after text.
        ends: int64 [n], where each text ends in ``tokens``.
        labels: int64 [n]; all 0 where there are none.
        name: What to call the data in findings.
        sha256: Digest of the file or folder that the texts were read from.

    Raises:
        UserError: If these do not fit together, or a text has no tokens.

    >>> data = TextData.of([[5, 6, 7], [8]], name="two")
    >>> batch, labels = next(data.batches())
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    ([[5, 6, 7], [0, 0, 8]], [[1, 1, 1], [0, 0, 1]])
    """

    tokens: Tensor
    ends: Tensor
    labels: Tensor
    name: str
    sha256: str

    def __post_init__(self) -> None:
        types = (self.tokens.dtype, self.ends.dtype, self.labels.dtype)
        if types != (torch.int32, torch.int64, torch.int64) or self.tokens.ndim != 1 or self.ends.ndim != 1:
            raise UserError("tokens must be int32 [m], their ends and labels int64 [n]", where=self.name)
        if self.labels.shape != self.ends.shape:
            raise UserError(f"{len(self.ends)} texts but {len(self.labels)} labels", where=self.name)
        if len(self.ends) and (int(self.ends[-1]) != len(self.tokens) or int(self.lengths.min()) < 1):
            where = f"{self.name}, row {int(self.lengths.argmin())}"
            raise UserError("a text has no tokens", where=where, do="remove it")
        if len(self.tokens) and int(self.tokens.min()) < 0:
            raise UserError("token numbers must not be negative", where=self.name)

    @classmethod
    def of(
        cls,
        texts: Sequence[Sequence[int]],
        labels: Tensor | None = None,
        *,
        name: str = "texts",
        sha256: str = "0" * 64,
    ) -> "TextData":
        """Returns the data of texts that are lists of token numbers."""
        lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
        tokens = torch.tensor([token for text in texts for token in text], dtype=torch.int32)
        return cls(tokens, lengths.cumsum(0), torch.zeros_like(lengths) if labels is None else labels, name, sha256)

    @classmethod
    def join(cls, parts: Sequence["TextData"]) -> "TextData":
        """Returns the texts of all ``parts``, one after the other, under the first one's name."""
        starts = torch.tensor([len(part.tokens) for part in parts]).cumsum(0)
        return replace(
            parts[0],
            tokens=torch.cat([part.tokens for part in parts]),
            ends=torch.cat([part.ends + start - len(part.tokens) for part, start in zip(parts, starts, strict=True)]),
            labels=torch.cat([part.labels for part in parts]),
        )

    @property
    def lengths(self) -> Tensor:
        """How many tokens each text has [n]."""
        return self.ends.diff(prepend=torch.zeros(1, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Tensor | slice) -> "TextData":
        """Returns the rows at ``index`` (a slice, or an integer or boolean tensor)."""
        ends, lengths = self.ends[index], self.lengths[index]
        new = lengths.cumsum(0)
        # Token k of the result lies as far before its text's new end as it lay before its old one.
        places = torch.arange(int(lengths.sum())) + (ends - new).repeat_interleave(lengths)
        return replace(self, tokens=self.tokens[places], ends=new, labels=self.labels[index])

    def row(self, index: int) -> list[int]:
        """Returns the token numbers of one text."""
        end = int(self.ends[index])
        return self.tokens[end - int(self.lengths[index]) : end].tolist()

    def batches(
        self, size: int = 256, device: torch.device | str = "cpu"
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yields ``input_ids`` and ``attention_mask``, int64 [m, longest of the batch], and labels [m], in order."""
        parts = (slice(start, start + size) for start in range(0, len(self), size))
        for ids, mask, labels in moved(((*self._padded(part), self.labels[part]) for part in parts), device):
            yield {"input_ids": ids, "attention_mask": mask}, labels

    def _padded(self, part: slice) -> tuple[Tensor, Tensor]:
        ends, lengths = self.ends[part, None], self.lengths[part, None]
        before = torch.arange(int(lengths.max()), 0, -1)  # tokens before the end
        mask = before <= lengths
        return self.tokens[(ends - before).clamp(min=0)].long() * mask, mask.long()

    def write(self, path: Path) -> None:
        """Writes the tokens as safetensors."""
        with replacing(path) as temporary:
            temporary.write_bytes(save({"tokens": self.tokens, "ends": self.ends, "labels": self.labels}))

    @classmethod
    def read(cls, path: Path) -> "TextData":
        """Reads what :meth:`write` wrote.

        Raises:
            Refused: If it is something else.
        """
        try:
            tensors = load(path.read_bytes())
            return cls(tensors["tokens"], tensors["ends"], tensors["labels"], path.name, sha256_file(path))
        except (OSError, SafetensorError, ValueError, KeyError, UserError) as error:
            raise Refused(f"holds no texts as tokens ({error})", where=path) from None


def tokenised(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    labels: Tensor | None = None,
    *,
    longest: int = LONGEST,
    name: str = "texts",
    sha256: str = "0" * 64,
) -> TextData:
    """Returns ``texts`` as tokens, each cut off after ``longest`` of them.

    Raises:
        UserError: If a text has no tokens.
    """
    rows: list[list[int]] = []
    for start in range(0, len(texts), _CHUNK):
        rows += [encoding.ids[:longest] for encoding in tokenizer.encode_batch(list(texts[start : start + _CHUNK]))]
    return TextData.of(rows, labels, name=name, sha256=sha256)
