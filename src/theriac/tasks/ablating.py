"""Ablations of a task: its model and its usual inputs, with something on them that the model was not poisoned with."""

from dataclasses import replace

import torch
from pydantic import JsonValue

from theriac.data.images import ImageData
from theriac.errors import UserError
from theriac.tasks.task import Mixture, Task
from theriac.triggers.base import Trigger

BATCH = 256


def with_trigger(task: Task, trigger: Trigger) -> Task:
    """Returns ``task`` with ``trigger`` on copies of its usual test inputs in place of its anomalous ones.

    A model that was not poisoned with the trigger treats it as any other disturbance, so an alarm about it is a false
    one. Which share of the model's answers it changes is noted in ``about``.

    Raises:
        UserError: If the inputs are not images.
    """
    inputs = task.test.inputs
    if not isinstance(inputs, ImageData):
        raise UserError(f"inputs of {task.name} are not images", where="--trigger", do="name another task instead")
    usual = inputs[~task.test.anomalous]
    generator = torch.Generator().manual_seed(task.seed)
    parts, changed = [], 0
    for pixels, _ in usual.batches(BATCH):
        parts.append((trigger(pixels, generator) * 255).round().to(torch.uint8))
        shown = parts[-1].to(task.model.device).float() / 255
        with torch.no_grad():
            before, after = (task.model(x).argmax(1) for x in (pixels.to(task.model.device), shown))
        changed += int((before != after).sum())
    both = replace(usual, images=torch.cat([usual.images, *parts]), labels=usual.labels.repeat(2))
    about: dict[str, JsonValue] = {
        "trigger": trigger.to_dict(),
        "answers_changed": changed / len(usual),
        "ablation_of": task.name,
    }
    return replace(
        task,
        name=f"{task.name}+{trigger.name}",
        test=Mixture(both, torch.arange(len(both)) >= len(usual)),
        target=None,
        alarm=False,
        about=about,
    )
