"""Input detectors: is this input anomalous inside the model?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.inputs",
    {
        "mahalanobis": "theriac.detect.inputs.mahalanobis:Mahalanobis",
        "strip": "theriac.detect.inputs.strip:Strip",
    },
)
DEFAULT = "mahalanobis"
