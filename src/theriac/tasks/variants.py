"""The backdoor task with each trigger: other defaults, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from theriac.tasks.backdoor import Backdoor


@dataclass(frozen=True)
class Corner(Backdoor):
    """Backdoor: one white pixel in a corner."""

    name: ClassVar[str] = "corner"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Gu et al., BadNets, 2017"

    trigger: str = "corner"


@dataclass(frozen=True)
class Noise(Backdoor):
    """Backdoor: Gaussian noise, different in each image."""

    name: ClassVar[str] = "noise"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "after Jenner et al., cupbearer, 2023"

    trigger: str = "noise"


@dataclass(frozen=True)
class Patch(Backdoor):
    """Backdoor: a small patch of pixels."""

    name: ClassVar[str] = "patch"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Gu et al., BadNets, 2017"

    trigger: str = "patch"


@dataclass(frozen=True)
class Blend(Backdoor):
    """Backdoor: a picture mixed into the whole image."""

    name: ClassVar[str] = "blend"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Chen et al., Targeted Backdoor Attacks Using Data Poisoning, 2017"

    trigger: str = "blend"


@dataclass(frozen=True)
class Sinusoid(Backdoor):
    """Backdoor: faint stripes over the whole image."""

    name: ClassVar[str] = "sinusoid"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Barni et al., SIG, ICIP 2019"

    trigger: str = "sinusoid"


@dataclass(frozen=True)
class Warp(Backdoor):
    """Backdoor: a smooth warp of the whole image."""

    name: ClassVar[str] = "warp"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Nguyen & Tran, WaNet, ICLR 2021"

    trigger: str = "warp"
    epochs: int = 8


@dataclass(frozen=True)
class SourceSpecific(Backdoor):
    """Backdoor: a patch that works on images of one class only, which hides it among the target's activations."""

    name: ClassVar[str] = "source-specific"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Tang et al., Demon in the Variant (TaCT), USENIX Security 2021"

    trigger: str = "patch"
    parameters: Mapping[str, float | str] = field(default_factory=lambda: {"size": 4})
    sources: tuple[int, ...] = (1,)
    rate: float = 0.05
    cover: float = 0.1
    test: int = 200
    untrusted: int = 500
    epochs: int = 8
