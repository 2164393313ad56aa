"""Scenarios with ground truth, on which input detectors are measured. One task is one file and one line here.

A task maker is a frozen dataclass of settings with ``make``; what it makes is a :class:`~theriac.tasks.task.Task`.
"""

from theriac.registry import Registry

TASKS = Registry("theriac.tasks", {})
