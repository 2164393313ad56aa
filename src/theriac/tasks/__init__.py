"""Scenarios with ground truth, on which input detectors are measured. One task is one file and one line here.

A task maker is a frozen dataclass of settings with ``make``; what it makes is a :class:`~theriac.tasks.task.Task`.
"""

from theriac.registry import Registry

TASKS = Registry(
    "theriac.tasks",
    {
        "corner": "theriac.tasks.variants:Corner",
        "noise": "theriac.tasks.variants:Noise",
        "patch": "theriac.tasks.variants:Patch",
        "blend": "theriac.tasks.variants:Blend",
        "sinusoid": "theriac.tasks.variants:Sinusoid",
        "warp": "theriac.tasks.variants:Warp",
        "source-specific": "theriac.tasks.variants:SourceSpecific",
        "ablation": "theriac.tasks.ablation:Ablation",
        "adversarial": "theriac.tasks.adversarial:Adversarial",
        "toy": "theriac.tasks.toy:Toy",
        "language": "theriac.tasks.language:Language",
    },
)
