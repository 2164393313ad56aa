"""Whether a network that was built from its name computes what the pickled module computed.

Weights alone do not say it: the stride of a convolution, the slope of an activation or an activation that was exchanged
for another leave every tensor's shape as it was.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

_TORCH = "torch.nn.modules."
_WITHOUT_EFFECT = {"class", "training", "inplace", "p", "momentum", "drop_prob"}
"""Settings that change nothing in evaluation mode, or not what is computed."""
_ALIASES = {
    "torch.nn.modules.dropout.Dropout": "torch.nn.modules.linear.Identity",
    "torch.nn.modules.dropout.Dropout2d": "torch.nn.modules.linear.Identity",
    "torch.nn.modules.linear.NonDynamicallyQuantizableLinear": "torch.nn.modules.linear.Linear",
}
"""Classes that compute the same as another one in evaluation mode."""


def disagreement(net: nn.Module, pickled: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Returns the first difference between the built network and the pickled modules, in words; ``None`` if they agree.

    Compared are torch's own layers, and modules of other libraries where file and architecture name the same class:
    libraries rename and move theirs between versions. Only settings that both know are compared.

    Args:
        net: The built network.
        pickled: Path of a module -> its ``class`` and plain settings, from :func:`theriac.models.convert.convert`.
    """
    for path, module in net.named_modules():
        said = pickled.get(path)
        if said is None:
            continue
        theirs, ours = str(said["class"]), f"{type(module).__module__}.{type(module).__qualname__}"
        of_torch = theirs.startswith(_TORCH) and ours.startswith(_TORCH)
        if of_torch and _ALIASES.get(theirs, theirs) != _ALIASES.get(ours, ours):
            return f"{path} is {theirs.rpartition('.')[2]} in the file and {type(module).__name__} in the architecture"
        if not of_torch and theirs != ours:
            continue
        for name, value in said.items():
            value = tuple(value) if isinstance(value, list) else value
            built = vars(module).get(name, value)
            # Flags of other libraries say how they compute (fused, checkpointed …), not what.
            compared = name not in _WITHOUT_EFFECT and (of_torch or not isinstance(value, bool))
            if compared and built != value:
                return f"{path}.{name} is {value} in the file and {built} in the architecture"
    return None
