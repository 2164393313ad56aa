"""Fitted input detectors on disk: what a detector is as JSON, its tensors as safetensors, nothing that runs."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from theriac import __version__
from theriac.errors import Refused, UserError
from theriac.files import replacing, write_text
from theriac.registry import configured, settings_of

if TYPE_CHECKING:
    from theriac.detect.inputs.base import LayerDetector

FORMAT = "theriac-input-detector/2"
RECORD, TENSORS = "detector.json", "detector.safetensors"
MAX_RECORD = 64 << 20
_TENSOR = "$tensor"


def weights_digest(model: Any) -> str:
    """Returns the SHA-256 over names, types, shapes and bytes of the model's tensors, wherever they are."""
    net: nn.Module = getattr(model, "net", model)
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_detector(folder: Path, detector: "LayerDetector", notes: Mapping[str, Any]) -> None:
    """Writes a fitted ``detector`` to ``folder``; a detector that is there already is replaced."""
    tensors: dict[str, Tensor] = {}
    record = {
        "format": FORMAT,
        "theriac": __version__,
        "method": detector.name,
        "version": detector.version,
        "mode": detector.mode,
        "settings": settings_of(detector),
        "layers": list(detector.layers_),
        "threshold": detector.threshold_,
        "false_positive_rate": detector.false_positive_rate,
        "calibrated_on": detector.calibration_,
        "model": {"name": detector.model_.name, "weights": weights_digest(detector.model_)},
        "notes": dict(notes),
        "state": pack(detector.state(), tensors),
    }
    stored = save(tensors)
    record["tensors"] = hashlib.sha256(stored).hexdigest()  # that both files are of one fitting is seen when reading
    with replacing(folder / TENSORS) as temporary:
        temporary.write_bytes(stored)
    write_text(folder / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """Returns what ``detector.json`` says, which model it belongs to for instance.

    Raises:
        Refused: If it is not a sound record.
        UserError: If there is none.
    """
    path = folder / RECORD
    if not path.is_file():
        raise UserError("holds no detector", where=folder, do="make one with theriac train detector")
    try:
        if path.stat().st_size > MAX_RECORD:
            raise ValueError("is too large")
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"is not a sound detector ({error})", where=path) from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Refused("is not a fitted input detector of this version", where=path, do="fit one and save it")
    return record


def load_detector(folder: Path, model: Any) -> "LayerDetector":
    """Reads any detector that was fitted on ``model``.

    Raises:
        Refused: If the files are unsound.
        UserError: If they are missing, or of another method, version or model.
    """
    from theriac.detect.inputs import METHODS

    record = read_record(folder)
    method = METHODS[str(record.get("method"))]
    if record.get("version") != method.version:
        raise UserError(f"was fitted by {method.name} version {record.get('version')}", where=folder, do="fit it again")
    belongs = record.get("model")
    if not isinstance(belongs, dict) or belongs.get("weights") != weights_digest(model):
        raise UserError("was fitted on another model", where=folder, do="fit the detector again on this one")
    try:
        stored = (folder / TENSORS).read_bytes()
        tensors = load(stored)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise Refused(f"not a sound safetensors file ({error})", where=folder / TENSORS) from None
    if hashlib.sha256(stored).hexdigest() != record.get("tensors"):
        raise Refused(f"belongs to another {RECORD}", where=folder / TENSORS, do="fit the detector again")
    if not all(value.isfinite().all() for value in tensors.values() if value.is_floating_point()):
        raise Refused("its statistics hold NaN or infinity", where=folder / TENSORS)
    settings = record.get("settings")
    if not isinstance(settings, dict):
        raise Refused("says nothing about settings", where=folder / RECORD)
    detector: LayerDetector = configured(method, [f"{name}={json.dumps(value)}" for name, value in settings.items()])
    try:
        detector.restore(unpack(record.get("state"), tensors, model.device), model)
        detector.try_out()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise Refused(
            f"what it learned is damaged ({error!r:.200})", where=folder, do="fit the detector again"
        ) from None
    return detector


def pack(value: Any, tensors: dict[str, Tensor], path: str = "state") -> Any:
    """Returns ``value`` with its tensors moved to ``tensors``; the rest is ready for JSON.

    >>> tensors = {}
    >>> pack({"mean": torch.zeros(2), "count": 3}, tensors), list(tensors)
    ({'mean': {'$tensor': 'state/mean'}, 'count': 3}, ['state/mean'])
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        return {str(key): pack(part, tensors, f"{path}/{key}") for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(part, tensors, f"{path}/{k}") for k, part in enumerate(value)]
    return value


def unpack(value: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """Returns what :func:`pack` took apart, tensors on ``device``.

    Raises:
        KeyError: If a tensor is missing.
    """
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]].to(device)
        return {key: unpack(part, tensors, device) for key, part in value.items()}
    if isinstance(value, list):
        return [unpack(part, tensors, device) for part in value]
    return value
