"""What measuring one detector on one task came to: one JSON line each, in a file that a killed run goes on with."""

import json
from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from theriac.finding import Record
from theriac.run.journal import append

Bounds = tuple[float, float]


class LayerResult(Record):
    """How well one layer alone ranks the inputs."""

    auroc: float
    ap: float
    tpr_at_1pct_fpr: float


class Result(Record):
    """How good one detector was on one task with one seed; figures are None where they mean nothing.

    ``error`` says why there are no figures. In an ablation (``ablation``) nothing is to be found: there ``alarms``
    should be no more than ``nominal_fpr``, and an AUROC near 0.5 is right.
    """

    task: str
    detector: str
    seed: int
    key: str = Field(default="", description="digest of everything that the figures depend on")
    error: str | None = None
    applicable: bool = Field(default=True, description="false: the detector is not for such inputs, as ``error`` says")
    auroc: float | None = None
    ap: float | None = Field(default=None, description="average precision")
    tpr_at_1pct_fpr: float | None = None
    tpr_at_01pct_fpr: float | None = Field(default=None, description="at a false positive rate of 0.1 %")
    fpr_at_95tpr: float | None = None
    auroc_within_target: float | None = Field(
        default=None, description="AUROC among inputs given to the target class: telling classes apart does not help"
    )
    auroc_agree: float | None = Field(default=None, description="where an anomaly makes no difference to the answer")
    auroc_disagree: float | None = Field(default=None, description="where it does")
    ablation: bool = False
    nominal_fpr: float | None = Field(default=None, description="false positive rate that the threshold was set for")
    fpr: float | None = Field(default=None, description="share of usual test inputs above the threshold")
    tpr: float | None = Field(default=None, description="share of anomalous test inputs above the threshold")
    alarms: float | None = Field(default=None, description="the same in an ablation, where none should be")
    intervals: dict[str, Bounds] = Field(default={}, description="95 % intervals of the figures")
    layers: dict[str, LayerResult] = Field(default={})
    fit_seconds: float | None = None
    score_seconds: float | None = None
    forward_seconds: float | None = Field(
        default=None, description="the bare forward pass over all inputs that the detector was given"
    )
    observe_seconds: float | None = Field(
        default=None,
        description="forward pass with capture, shared by all detectors and not in fit_seconds and score_seconds; "
        "None where those two hold it",
    )
    trusted: int = 0
    untrusted: int = 0
    usual: int = 0
    anomalous: int = 0
    mode: str = ""
    settings: dict[str, JsonValue] = Field(default={})
    device: str = ""
    theriac: str = ""

    @property
    def failed(self) -> bool:
        """Whether there are no figures though there should be some."""
        return self.error is not None and self.applicable

    def line(self) -> str:
        """Returns the result as one line of JSON."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)


class Results:
    """Results in a file of JSON lines; of several with one key the last counts.

    What is no sound line, one cut short by a kill for instance, is ignored.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Result] = {}
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
            try:
                result = Result.model_validate_json(line)
            except ValidationError:
                continue
            self._known[result.key] = result

    def get(self, key: str) -> Result | None:
        """Returns the result under ``key`` if there is one that would not be better at another try."""
        known = self._known.get(key)
        return None if known is None or known.failed else known

    def put(self, result: Result) -> None:
        """Appends ``result``.

        Raises:
            UserError: If it cannot be written; what was written before stays.
        """
        append(self.path, result.line())
        self._known[result.key] = result
