"""Fitted input detectors on disk: one safetensors file that says what it is and which model it belongs to."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from theriac.errors import Refused, UserError
from theriac.files import replacing
from theriac.models.classifier import Classifier
from theriac.registry import settings_of

FORMAT = "theriac-input-detector/1"


def weights_digest(model: Classifier) -> str:
    """Returns the SHA-256 over names, types, shapes and bytes of the model's tensors, wherever they are."""
    digest = hashlib.sha256()
    for name, value in sorted(model.net.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_fitted(path: Path, detector: Any, model: Classifier, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Writes settings, tensors and ``state`` (anything that JSON holds) of a ``detector`` fitted on ``model``."""
    record = {
        "format": FORMAT,
        "method": detector.name,
        "version": detector.version,
        "settings": settings_of(detector),
        "model": weights_digest(model),
        "state": state,
    }
    with replacing(path) as temporary:
        kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        temporary.write_bytes(save(kept, {"theriac": json.dumps(record, sort_keys=True)}))


def load_fitted(path: Path, method: type[Any], model: Classifier) -> tuple[dict[str, Any], dict[str, Tensor], Any]:
    """Returns settings, tensors (on the model's device) and state of a ``method`` fitted on ``model``.

    Raises:
        Refused: If the file is not a sound detector file.
        UserError: If it is missing, or of another method, version or model.
    """
    if not path.is_file():
        raise UserError("no such file", where=path)
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("theriac", "null"))
            tensors = {name: file.get_tensor(name).to(model.device) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError) as error:
        raise Refused(f"not a sound safetensors file ({error})", where=path) from None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("settings"), dict):
        raise Refused("not a fitted input detector", where=path, do="fit one and save it")
    if (record.get("method"), record.get("version")) != (method.name, method.version):
        raise UserError(f"was fitted by {record.get('method')} version {record.get('version')}", where=path)
    if record.get("model") != weights_digest(model):
        raise UserError("was fitted on another model", where=path, do="fit the detector again on this one")
    if not all(value.isfinite().all() for value in tensors.values()):
        raise Refused("its statistics hold NaN or infinity", where=path)
    return record["settings"], tensors, record.get("state")
