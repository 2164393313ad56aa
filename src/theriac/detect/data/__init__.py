"""Data detectors: which training examples are poison?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.data",
    {"activation-ranking": "theriac.detect.data.activation_ranking:ActivationRanking"},
)
DEFAULT = "activation-ranking"
