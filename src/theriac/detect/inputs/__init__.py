"""Input detectors: is this input anomalous inside the model?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.inputs",
    {
        "mahalanobis": "theriac.detect.inputs.mahalanobis:Mahalanobis",
        "vae": "theriac.detect.inputs.vae:Vae",
        "abstraction": "theriac.detect.inputs.abstraction:Abstraction",
        "finetuning": "theriac.detect.inputs.finetuning:Finetuning",
        "probe": "theriac.detect.inputs.probe:Probe",
        "strip": "theriac.detect.inputs.strip:Strip",
    },
)
DEFAULT = "mahalanobis"
