"""The detector that one should just use: several that miss different things, on one scale.

Each member is fitted on the same observations, one forward pass for all, and its score is turned into surprise: minus
the logarithm of the share of trusted inputs that score higher (Fisher, "Statistical Methods for Research Workers",
1925, adds such values up to join tests). Members were chosen so that they look at different things:
activations that are unlike those of the predicted class, and the behaviour under superposition, which a model that
was trained to hide its activations does not hide. Where untrusted inputs are given, members that compare them as a
whole with the trusted ones are added: only ones that keep their false-positive rate on the untrusted inputs that
they were fitted on, as one does not have others when a stream is to be judged.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Need
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.inputs.surprise import Surprise
from theriac.errors import UserError
from theriac.registry import configured, settings_of

SETTINGS = {"strip": ("count=4",)}
"""Where a member differs from its defaults: a quarter of STRIP's forward passes."""


@dataclass
class Auto(LayerDetector):
    """Joins detectors of different kinds: the one to use if in doubt.

    Learned state: ``members_``, the fitted detectors by name, ``surprise_``, the scale of each one's scores, and
    ``left_out_``, members that this kind of model or input is not for, and why.

    Args:
        online: Members that judge each input by itself.
        offline: Members that join them where untrusted inputs are given.
    """

    online: tuple[str, ...] = ("mahalanobis", "ted", "strip")
    offline: tuple[str, ...] = ("likelihood-ratio",)

    name: ClassVar[str] = "auto"
    version: ClassVar[str] = "2"
    paper: ClassVar[str] = "Lee et al. 2018; Mo et al. 2024; Gao et al. 2019; joined after Fisher 1925"
    welcomes: ClassVar[frozenset[Need]] = frozenset({"untrusted"})
    keeps_rate: ClassVar[bool] = True
    positive: ClassVar[bool] = False

    def chosen_layers(self, model: Any) -> tuple[str, ...]:
        """Returns the layers that any member looks at."""
        layers: dict[str, None] = {}
        for name in (*self.online, *self.offline):
            layers |= dict.fromkeys(self._member(name).chosen_layers(model))
        return tuple(layers)

    def _member(self, name: str) -> LayerDetector:
        from theriac.detect.inputs import METHODS

        if name == self.name:
            raise UserError("cannot be a member of itself", where=self.name)
        member: LayerDetector = configured(METHODS[name], SETTINGS.get(name, ()))
        member.layers, member.batch_size = self.layers, self.batch_size
        return member

    def fit_observed(
        self,
        trusted: Observations,
        held: Observations,
        untrusted: Observations | None = None,
        anomalous: Tensor | None = None,
    ) -> Self:
        """Fits every member on the same observations, and the scale of each on ``held``."""
        self.model_, self.layers_ = trusted.model, trusted.layers
        self.fitted_on_ = "" if untrusted is None else untrusted.data.sha256
        kept, aside = trusted.kept(), held.kept()
        other = None if untrusted is None else untrusted.kept()
        self.members_: dict[str, LayerDetector] = {}
        self.surprise_: dict[str, Surprise] = {}
        self.left_out_: dict[str, str] = {}
        scores: dict[str, Tensor] = {}
        for name in (*self.online, *(self.offline if other is not None else ())):
            member = self._member(name)
            layers = member.chosen_layers(self.model_)
            given = None if other is None else other.only(layers)
            try:
                member.fit_observed(kept.only(layers), aside.only(layers), given)
            except UserError as error:
                if name == self.online[0]:
                    raise
                self.left_out_[name] = str(error)  # it does not fit this kind of model or input: the others do
                continue
            parts = [member.aggregate(member.score_observed(seen)) for seen in aside.only(layers)]
            self.surprise_[name] = Surprise().fit(torch.cat(parts))
            self.members_[name] = member
            scores[name] = self.surprise_[name](torch.cat(parts))
        self.widths_ = {}
        return self._calibrate(scores)

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        raise NotImplementedError  # fit_observed does it all

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {
            name: self.surprise_[name](member.aggregate(member.score_observed(seen)))
            for name, member in self.members_.items()
        }

    def not_checked(self) -> list[str]:
        """Returns which members have no part in the verdict."""
        given = set(self.offline) & set(self.members_)
        missing = [f"inputs as a whole ({', '.join(self.offline)}): no untrusted ones were there when it was fitted"]
        missing = [] if given or not self.offline else missing
        return [*missing, *(f"inputs by {name}: {why}" for name, why in self.left_out_.items())]

    def _reason(self, predicted: int, layer: str) -> str:
        usual = f"taken for {self.model_.classes[predicted]!r} but " if len(self.model_.classes) > 1 else ""
        return f"{usual}unlike trusted inputs, most by {layer}"

    def state(self) -> dict[str, Any]:
        """Returns what was learned, by every member."""
        members = {
            name: {"settings": settings_of(member), "version": member.version, "state": member.state()}
            for name, member in self.members_.items()
        }
        scales = {name: scale.state() for name, scale in self.surprise_.items()}
        return super().state() | {"members_": members, "surprise_": scales, "left_out_": self.left_out_}

    def restore(self, state: Mapping[str, Any], model: Any) -> Self:
        """Takes over what :meth:`state` returned."""
        super().restore(state, model)
        self.members_, self.surprise_ = {}, {}
        self.left_out_ = {str(name): str(why) for name, why in state["left_out_"].items()}
        for name, record in state["members_"].items():
            member = self._member(name)
            if record["version"] != member.version:
                raise ValueError(f"was fitted by {name} version {record['version']}")
            member = configured(
                type(member), [f"{key}={json.dumps(value)}" for key, value in record["settings"].items()]
            )
            self.members_[name] = member.restore(record["state"], model)
            self.surprise_[name] = Surprise().restore(state["surprise_"][name])
        return self

    def try_out(self) -> None:
        """Scores made-up rows with each member."""
        for member in self.members_.values():
            member.try_out()
        self.aggregate({name: torch.zeros(2) for name in self.members_})
