"""Input detectors: is this input anomalous inside the model?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.inputs",
    {
        "beatrix": "theriac.detect.inputs.beatrix:Beatrix",
        "knn": "theriac.detect.inputs.knn:NearestNeighbours",
        "lof": "theriac.detect.inputs.lof:LocalOutlierFactor",
        "mahalanobis": "theriac.detect.inputs.mahalanobis:Mahalanobis",
        "ted": "theriac.detect.inputs.ted:TopologicalEvolution",
    },
)
DEFAULT = "mahalanobis"
