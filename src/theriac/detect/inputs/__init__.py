"""Input detectors: is this input anomalous inside the model?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.inputs",
    {
        "auto": "theriac.detect.inputs.auto:Auto",
        "beatrix": "theriac.detect.inputs.beatrix:Beatrix",
        "knn": "theriac.detect.inputs.knn:NearestNeighbours",
        "likelihood-ratio": "theriac.detect.inputs.likelihood_ratio:LikelihoodRatio",
        "lof": "theriac.detect.inputs.lof:LocalOutlierFactor",
        "mahalanobis": "theriac.detect.inputs.mahalanobis:Mahalanobis",
        "quantum-entropy": "theriac.detect.inputs.quantum_entropy:QuantumEntropy",
        "spectral-signature": "theriac.detect.inputs.spectral_signature:SpectralSignature",
        "strip": "theriac.detect.inputs.strip:Strip",
        "ted": "theriac.detect.inputs.ted:TopologicalEvolution",
    },
)
DEFAULT = "mahalanobis"
