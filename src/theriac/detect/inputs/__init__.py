"""Input detectors: is this input anomalous inside the model?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.inputs",
    {
        "abstraction": "theriac.detect.inputs.abstraction:Abstraction",
        "auto": "theriac.detect.inputs.auto:Auto",
        "beatrix": "theriac.detect.inputs.beatrix:Beatrix",
        "finetuning": "theriac.detect.inputs.finetuning:Finetuning",
        "knn": "theriac.detect.inputs.knn:NearestNeighbours",
        "likelihood-ratio": "theriac.detect.inputs.likelihood_ratio:LikelihoodRatio",
        "lof": "theriac.detect.inputs.lof:LocalOutlierFactor",
        "mahalanobis": "theriac.detect.inputs.mahalanobis:Mahalanobis",
        "probe": "theriac.detect.inputs.probe:Probe",
        "quantum-entropy": "theriac.detect.inputs.quantum_entropy:QuantumEntropy",
        "spectral-signature": "theriac.detect.inputs.spectral_signature:SpectralSignature",
        "strip": "theriac.detect.inputs.strip:Strip",
        "ted": "theriac.detect.inputs.ted:TopologicalEvolution",
        "vae": "theriac.detect.inputs.vae:Vae",
    },
)
DEFAULT = "auto"
