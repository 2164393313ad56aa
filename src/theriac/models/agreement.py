"""Whether a network that was built from its name computes what the pickled module computed.

Weights alone do not say it: the stride of a convolution, the slope of an activation or an activation that was exchanged
for another leave every tensor's shape as it was.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

_TORCH = "torch.nn.modules."
_WITHOUT_EFFECT = frozenset(("training", "inplace", "p", "momentum"))
"""Settings that change nothing in evaluation mode, or not what is computed."""
_ALIASES = {"Dropout": "Identity", "Dropout2d": "Identity", "NonDynamicallyQuantizableLinear": "Linear"}
"""Classes that compute the same as another one in evaluation mode."""


def disagreement(net: nn.Module, pickled: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Returns the first difference between the built network and the pickled modules, in words; ``None`` if they agree.

    Only torch's own layers are compared, and only settings that both know: other libraries rename theirs between versions.

    Args:
        net: The built network.
        pickled: Path of a module -> its ``class`` and plain settings, from :func:`theriac.models.convert.convert`.
    """
    for path, module in net.named_modules():
        said = pickled.get(path)
        if said is None or not str(said["class"]).startswith(_TORCH) or not type(module).__module__.startswith(_TORCH):
            continue
        theirs, ours = str(said["class"]).rpartition(".")[2], type(module).__name__
        if _ALIASES.get(theirs, theirs) != _ALIASES.get(ours, ours):
            return f"{path} is {theirs} in the file and {ours} in the architecture"
        for name, value in said.items():
            built = vars(module).get(name, value)
            value = tuple(value) if isinstance(value, list) else value
            if name not in _WITHOUT_EFFECT and name != "class" and built != value:
                return f"{path}.{name} is {value} in the file and {built} in the architecture"
    return None
