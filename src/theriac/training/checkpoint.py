"""Where a training is: one safetensors file, whole or absent, that holds numbers and JSON and nothing else."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from theriac.errors import UserError
from theriac.files import replacing

_KEY = "theriac.training"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training between two epochs.

    Random numbers need no state: every epoch draws its own from the seed.

    Attributes:
        config: SHA-256 of everything that decides the result; see ``Settings.digest``.
        epochs: How many epochs are done.
        seconds: How long they took, over all runs.
        model: State dict of the model.
        momenta: Momentum of each parameter, by the parameter's position.
    """

    config: str
    epochs: int
    seconds: float
    model: dict[str, Tensor]
    momenta: dict[int, Tensor]

    @classmethod
    def of(
        cls, model: nn.Module, optimizer: torch.optim.Optimizer, *, config: str, epochs: int, seconds: float
    ) -> "Checkpoint":
        """Returns the present state of a model that ``optimizer``, an SGD with momentum, trains."""
        momenta = {i: s["momentum_buffer"] for i, s in optimizer.state_dict()["state"].items()}
        return cls(config, epochs, seconds, model.state_dict(), momenta)

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Puts the state back into a model and optimiser of the same shape."""
        model.load_state_dict(self.model)
        state = {i: {"momentum_buffer": momentum} for i, momentum in self.momenta.items()}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    def save(self, path: Path) -> None:
        """Writes the state to ``path``, replacing an earlier one."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.items()}
        tensors |= {f"momentum.{i}": tensor for i, tensor in self.momenta.items()}
        about = json.dumps({"config": self.config, "epochs": self.epochs, "seconds": self.seconds})
        with replacing(path) as temporary:
            temporary.write_bytes(save({name: t.cpu().contiguous() for name, t in tensors.items()}, {_KEY: about}))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Reads what ``save`` wrote.

        Raises:
            UserError: If the file is not a checkpoint of ours.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — no mapping
            model = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
            momenta = {int(n.removeprefix("momentum.")): t for n, t in tensors.items() if n.startswith("momentum.")}
            return cls(str(about["config"]), int(about["epochs"]), float(about["seconds"]), model, momenta)
        except (SafetensorError, KeyError, ValueError, TypeError):
            raise UserError(
                "is not a checkpoint of theriac's trainer", where=path, do="remove it to train from the start"
            ) from None
