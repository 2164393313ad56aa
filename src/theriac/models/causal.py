"""Causal language models from Hugging Face folders or repositories, opened without trusting them.

Weights must be safetensors and the tokenizer a ``tokenizer.json``, which the tokenizers library reads as data. Nothing
in a folder is run: no remote code, no pickles, no kernels or quantisers that a configuration asks for.
"""

import inspect
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from theriac.errors import Refused, UserError
from theriac.files import fetch
from theriac.manifest import sha256_of
from theriac.models import weights
from theriac.models.reducing import last_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
SUFFIXES = (".json", ".safetensors")
_MAX_CONFIG = 1 << 20
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class CausalLM(nn.Module):
    """A causal language model together with its tokenizer, in the form that detectors look into.

    Its answer is the logits of the token that follows a text. ``classes`` is empty: it does not classify. Layers are
    reduced to the last real token unless one asks for something else.

    Args:
        net: A model for causal language modelling of the transformers library.
        tokenizer: What its texts are read with.
        name: What to call the model in findings.
        sha256: Digest of the folder that it was read from; 64 zeros for a model that was never saved.
        source: Where it came from, with the commit of a repository.
    """

    classes: tuple[str, ...] = ()
    reduce = "last"

    def __init__(
        self,
        net: nn.Module,
        tokenizer: "Tokenizer",
        *,
        name: str = "model",
        sha256: str = "0" * 64,
        source: str = "",
    ) -> None:
        super().__init__()
        self.net, self.tokenizer = net, tokenizer
        self.name, self.sha256, self.source = name, sha256, source
        self._takes = frozenset(inspect.signature(net.forward).parameters)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns the logits [b, vocabulary] of the next token of each text.

        Args:
            inputs: ``input_ids`` int [b, tokens] and ``attention_mask`` [b, tokens], padded on either side; positions
                are counted from the first real token, so that padding changes nothing.
        """
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask", torch.ones_like(ids))
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if "position_ids" in self._takes:
            given["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
        if "use_cache" in self._takes:
            given["use_cache"] = False
        with self._last_only(last_tokens(mask)):
            logits: Tensor = self.net(**given).logits
        return logits[:, -1]

    @contextmanager
    def _last_only(self, last: Tensor) -> Iterator[None]:
        """Lets the head see one token per text: vocabularies are large, and other tokens' logits are not asked for.

        Who captures the head's input still sees all tokens.
        """
        thread, rows = threading.get_ident(), torch.arange(len(last), device=last.device)

        def pick(module: nn.Module, args: tuple[Any, ...]) -> Any:
            return (args[0][rows, last][:, None], *args[1:]) if threading.get_ident() == thread else None

        hook = self.head()[1].register_forward_pre_hook(pick)
        try:
            yield
        finally:
            hook.remove()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    def head(self) -> tuple[str, nn.Module]:
        """Returns name and module of the layer from hidden states to logits.

        Raises:
            UserError: If there is none.
        """
        found = self.net.get_output_embeddings()  # type: ignore[operator]
        for name, module in self.net.named_modules():
            if module is found:
                return f"net.{name}", module
        raise UserError("has no layer that gives logits", where=self.name)


@dataclass(frozen=True)
class _Folder:
    """A model's folder on this machine, and where it came from."""

    path: Path
    source: str


def open_causal(
    path: str | Path,
    *,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    name: str | None = None,
) -> CausalLM:
    """Opens a causal language model, without running anything that comes with it.

    Args:
        path: A local folder with ``config.json``, ``*.safetensors`` and ``tokenizer.json``, or a repository of the
            Hugging Face hub: ``owner/name`` or ``hf://owner/name[@revision]``. Only these kinds of files are fetched.
        revision: Branch, tag or commit of a repository; the commit that it stands for is kept in ``source``.
        device: Where to put it.
        dtype: Type of its weights; as stored if None.
        name: What to call it in findings; the folder's or repository's name if None.

    Returns:
        The model in evaluation mode.

    Raises:
        Refused: If it would run code, or a file is unsound.
        UserError: If something is missing or is not a causal language model that the transformers library knows.
    """
    folder = _fetched(str(path), revision)
    check_folder(folder.path)
    tokenizer, net = _tokenizer(folder.path), _network(folder.path, dtype)
    model = CausalLM(net, tokenizer, name=name or _name(str(path)), sha256=sha256_of(folder.path), source=folder.source)
    model.head()
    return model.to(device).eval()


def _tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises plain Exception
        raise Refused(f"is no sound tokenizer: {_line(error)}", where=folder / TOKENIZER) from None
    tokenizer.no_padding()
    return tokenizer


def _network(folder: Path, dtype: torch.dtype | None) -> nn.Module:
    from transformers import AutoModelForCausalLM

    problem: Exception | None = None
    for attention in ("sdpa", "eager"):  # by name, whatever the configuration asks for; older kinds have only eager
        try:
            with _quiet():
                net: nn.Module = AutoModelForCausalLM.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    attn_implementation=attention,
                    dtype=dtype or "auto",
                )
            return net
        except (ValueError, OSError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
            problem = error
            if "scaled_dot_product_attention" not in str(error):
                break
    raise UserError(f"cannot be opened as a causal language model: {_line(problem)}", where=folder) from None


def save_causal(model: CausalLM, folder: Path) -> None:
    """Writes a model and its tokenizer to ``folder``, as :func:`open_causal` reads them; no pickles."""
    with _quiet():
        model.net.save_pretrained(folder)  # type: ignore[operator]
    model.tokenizer.save(str(folder / TOKENIZER))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the transformers library's own progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def check_folder(folder: Path) -> None:
    """Looks into a model's folder before any library does.

    Raises:
        Refused: If its configuration asks for code of others, or a weight file is unsound.
        UserError: If a file is missing, or the model is of a kind that cannot be opened safely.
    """
    for needed in (CONFIG, TOKENIZER):
        if not (folder / needed).is_file():
            raise UserError(f"has no {needed}", where=folder, do="give the folder of a Hugging Face language model")
    if (folder / "adapter_config.json").exists():
        raise UserError("is an adapter of another model", where=folder, do="merge it into its model and save that")
    for file in (CONFIG, "generation_config.json"):
        if (folder / file).exists():
            _check_config(folder / file)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError("has no weights as safetensors", where=folder, do="save the model with safetensors")
    for file_ in files:
        try:
            weights.read_header(file_)
        except Refused as error:
            raise Refused(error.what, where=file_) from None


def _check_config(path: Path) -> None:
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise ValueError("it is too large")
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("it is not an object")
        _check_values(config, path)
    except (ValueError, RecursionError) as error:
        raise Refused(f"is no sound configuration: {_line(error)}", where=path) from None


def _check_values(config: Mapping[str, Any], path: Path) -> None:
    for key, value in config.items():
        if key == "auto_map" and value:
            raise Refused("asks for code that comes with the model (auto_map)", where=path)
        if key == "quantization_config" and value:
            raise UserError("the model is quantised", where=path, do="save it in bfloat16 or float32")
        if key.endswith("_implementation") and isinstance(value, str) and "/" in value:
            raise Refused(f"asks for kernels from the hub ({key})", where=path)
        if isinstance(value, dict):
            _check_values(value, path)


def _fetched(path: str, revision: str | None) -> _Folder:
    local = Path(path).expanduser()
    if not path.startswith("hf://") and (local.exists() or not _REPOSITORY.fullmatch(path)):
        if not local.is_dir():
            raise UserError("no such folder", where=path, do="give a model's folder, or owner/name on the hub")
        if revision is not None:
            raise UserError("a local folder has no revisions", where=path, do="leave the revision out")
        return _Folder(local, path)
    found = fetch(path if path.startswith("hf://") else f"hf://{path}", revision, suffixes=SUFFIXES)
    return _Folder(found.path, found.source)


def _name(path: str) -> str:
    return Path(path.removeprefix("hf://").partition("@")[0]).name or "model"


def _line(error: BaseException | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
