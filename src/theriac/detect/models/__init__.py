"""Model detectors: is this model poisoned?"""

from theriac.registry import Registry

METHODS = Registry(
    "theriac.detectors.models",
    {"trigger-inversion": "theriac.detect.models.trigger_inversion:TriggerInversion"},
)
DEFAULT = "trigger-inversion"
