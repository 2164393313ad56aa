"""What measuring one detector on one task leaves on disk: figures, every score, pictures, the worst mistakes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from theriac import metrics
from theriac.data.images import ImageData
from theriac.data.text import TextData
from theriac.detect.evidence import histogram, thumbnail
from theriac.files import replacing, write_text
from theriac.report import charts
from theriac.report.standalone import Example, examples_page, svg_file
from theriac.tasks.measuring import Measured
from theriac.tasks.task import Task

MISTAKES = 24
"""How many of the worst mistakes of each kind are shown."""

COMBINED = "all"
"""What the combined score is called beside those of layers."""

LONGEST = 600
"""Characters of a text that are shown."""


def write_evaluation(folder: Path, task: Task, measured: Measured, *, logarithmic: bool) -> list[Path]:
    """Writes what was measured to ``folder`` and returns the paths.

    ``eval.json`` (figures, overall and by layer; ``AUC_ROC`` and ``AP`` are cupbearer's names for ``auroc`` and
    ``ap``), ``scores.parquet``, ``histogram-LAYER.svg``, ``roc-LAYER.svg`` and ``worst_mistakes.html``.

    Args:
        folder: Where to; files of an earlier evaluation are replaced.
        task: The task.
        measured: What was measured on it.
        logarithmic: Whether raw scores are positive and heavy-tailed, so that their logarithms are drawn.

    Raises:
        UserError: If a file cannot be written.
    """
    written = [folder / "eval.json", folder / "scores.parquet", folder / "worst_mistakes.html"]
    write_text(written[0], json.dumps(figures(measured), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write_scores(written[1], task, measured)
    write_text(written[2], _mistakes(task, measured))
    truth = task.test.anomalous
    for name, values in {COMBINED: measured.scores, **measured.layers}.items():
        combined = name == COMBINED
        shown = values if combined or not logarithmic else values.clamp(min=1e-12).log10()
        axis = "score in standard deviations of trusted inputs" if combined else f"{'log10 of ' * logarithmic}raw score"
        record = histogram(
            f"{task.name}: {name}",
            axis,
            {"usual": shown[~truth], "anomalous": shown[truth]},
            threshold=measured.threshold if combined else None,
        )
        title = f"{measured.result.detector} on {task.name}, {'all layers' if combined else name}"
        place = folder / f"histogram-{_file_name(name)}.svg"
        if (chart := charts.histogram(record)) is not None:
            write_text(place, svg_file(chart, title, list(record.series)))
            written.append(place)
        false, true = metrics.roc(values, truth)
        area = f"AUROC {metrics.auroc(values, truth):.4f}"
        place = folder / f"roc-{_file_name(name)}.svg"
        if (chart := charts.roc({area: (false.tolist(), true.tolist())})) is not None:
            write_text(place, svg_file(chart, title, [area]))
            written.append(place)
    return written


def figures(measured: Measured) -> dict[str, Any]:
    """Returns what ``eval.json`` says: the result, with cupbearer's names for AUROC and AP beside ours."""
    record = measured.result.model_dump(mode="json", exclude={"key", "error"})
    record["layers"] = {
        COMBINED: {name: record[name] for name in ("auroc", "ap", "tpr_at_1pct_fpr")},
        **record["layers"],
    }
    for part in (record, *record["layers"].values()):
        part |= {"AUC_ROC": part["auroc"], "AP": part["ap"]}
    for name in ("agree", "disagree"):
        if record[f"auroc_{name}"] is not None:
            record[f"AUC_ROC_{name.upper()}"] = record[f"auroc_{name}"]
    return {"threshold": measured.threshold, **record}


def _write_scores(path: Path, task: Task, measured: Measured) -> None:
    columns = {
        "row": pa.array(range(len(measured.scores)), pa.int64()),
        "anomalous": pa.array(task.test.anomalous.tolist(), pa.bool_()),
        "predicted": pa.array(measured.predicted.tolist(), pa.int64()),
        "score": pa.array(measured.scores.tolist(), pa.float64()),
        "suspected": pa.array((measured.scores > measured.threshold).tolist(), pa.bool_()),
    }
    columns |= {f"layer:{name}": pa.array(values.tolist(), pa.float64()) for name, values in measured.layers.items()}
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def _mistakes(task: Task, measured: Measured) -> str:
    truth, scores = task.test.anomalous, measured.scores
    order = scores.argsort(descending=True, stable=True)
    usual, anomalous = order[~truth[order]][:MISTAKES], order[truth[order]].flip(0)[:MISTAKES]
    over = int((scores[~truth] > measured.threshold).sum())
    under = int((scores[truth] <= measured.threshold).sum())
    high = f"Usual inputs that look anomalous: {over} of {int((~truth).sum())} are above the threshold"
    low = f"Anomalous inputs that look usual: {under} of {int(truth.sum())} are not above it"
    title = f"Worst mistakes of {measured.result.detector} on {task.name}"
    return examples_page(title, [(high, _shown(task, measured, usual)), (low, _shown(task, measured, anomalous))])


def _shown(task: Task, measured: Measured, rows: Tensor) -> Sequence[Example]:
    inputs, classes = task.test.inputs, task.model.classes
    examples = []
    for row in rows.tolist():
        caption = f"row {row}, score {float(measured.scores[row]):.2f}"
        if len(classes) > 1:
            caption += f", taken for {classes[int(measured.predicted[row])]}"
        png = thumbnail(inputs.images[row]) if isinstance(inputs, ImageData) else None
        text = None
        if isinstance(inputs, TextData) and hasattr(task.model, "tokenizer"):
            text = str(task.model.tokenizer.decode(inputs.row(row)))[:LONGEST]
        examples.append(Example(caption, png, text))
    return examples


def _file_name(layer: str) -> str:
    return re.sub(r"[^\w.-]+", "_", layer)
