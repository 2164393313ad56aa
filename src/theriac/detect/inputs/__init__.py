"""Input detectors: is this input anomalous inside the model?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.inputs",
    {
        "likelihood-ratio": "theriac.detect.inputs.likelihood_ratio:LikelihoodRatio",
        "mahalanobis": "theriac.detect.inputs.mahalanobis:Mahalanobis",
        "quantum-entropy": "theriac.detect.inputs.quantum_entropy:QuantumEntropy",
        "spectral-signature": "theriac.detect.inputs.spectral_signature:SpectralSignature",
    },
)
DEFAULT = "mahalanobis"
