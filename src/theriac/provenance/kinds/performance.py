"""How well a model does its task: the figures of a functional performance attestation."""

from typing import Literal

from pydantic import Field

from theriac.provenance.kinds.base import Count, Line, Strict, Text

Figure = float | None


class Metric(Strict):
    """A figure with its name."""

    name: Line
    value: float
    confidence_interval: Line | None = None


class ConfusionMatrix(Strict):
    """Counts of right and wrong answers."""

    true_positive: Count
    false_positive: Count
    true_negative: Count
    false_negative: Count


class RegressionMetrics(Strict):
    """Figures of a regression."""

    R_squared: Figure = None
    RMSE: Figure = None
    MAE: Figure = None


class CrossValidation(Strict):
    """Whether and how the model was cross-validated."""

    used: bool
    method: Line | None = None
    folds: Count | None = None
    mean_score: Figure = None
    std_dev: Figure = None


class TestSetEvaluation(Strict):
    """Figures on a test set."""

    dataset_name: Line
    metric_results: list[Metric] = Field(max_length=100)


class Subgroup(Strict):
    """Figures of one group of inputs."""

    group: Line
    F1_score: Figure = None
    accuracy: Figure = None


class SubgroupPerformance(Strict):
    """Whether groups of inputs were looked at one by one."""

    evaluated: bool
    groups: list[Subgroup] = Field(default=[], max_length=1_000)


class PerformanceDrop(Strict):
    """How much worse the model is on other inputs than it was made for."""

    metric: Line
    baseline: float
    ood_value: float


class OutOfDistribution(Strict):
    """Whether the model was tried on other inputs than it was made for."""

    evaluated: bool
    description: Text | None = None
    performance_drop: PerformanceDrop | None = None


class AdversarialRobustness(Strict):
    """Whether somebody tried to fool the model."""

    tested: bool
    notes: Text | None = None


class Calibration(Strict):
    """Whether its probabilities mean what they say; ``ECE`` is the expected calibration error."""

    evaluated: bool
    method: Line | None = None
    ECE: Figure = None
    notes: Text | None = None


class FunctionalPerformanceClaim(Strict):
    """How well a component does its task."""

    type: Literal["functional performance"]
    task_type: Literal["classification", "regression", "generation", "ranking", "segmentation"]
    primary_metric: Metric
    additional_metrics: list[Metric] = Field(default=[], max_length=100)
    confusion_matrix: ConfusionMatrix | None = None
    regression_metrics: RegressionMetrics | None = None
    cross_validation: CrossValidation | None = None
    test_set_evaluation: TestSetEvaluation | None = None
    subgroup_performance: SubgroupPerformance | None = None
    out_of_distribution: OutOfDistribution | None = None
    adversarial_robustness: AdversarialRobustness | None = None
    calibration: Calibration | None = None
