"""The Parquet file with the score of every row."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from theriac.data.images import ImageData
from theriac.detect import DataScan
from theriac.detect.inputs.observing import Inputs
from theriac.files import replacing
from theriac.finding import Finding, RankedExamples


def write_scores(path: Path, data: ImageData | Inputs, scan: DataScan, *, named: str | None = None) -> Finding:
    """Writes row, label, score, suspected and reason of every row of ``data``, and returns the finding that names it.

    Inputs that are not images have no labels there: the column is empty.

    The finding calls the file ``named``, or by its path as given.

    Raises:
        UserError: If the file cannot be written; nothing is left behind then.
    """
    scores = scan.scores
    labels = [data.classes[c] for c in data.labels.tolist()] if isinstance(data, ImageData) else [None] * len(data)
    table = pa.table(
        {
            "row": pa.array(range(len(data)), pa.int64()),
            "label": pa.array(labels, pa.string()).dictionary_encode(),
            "score": pa.array(scores.values.tolist(), pa.float64()),
            "suspected": pa.array(scores.suspected.tolist(), pa.bool_()),
            "reason": pa.array(scores.reasons, pa.string()).dictionary_encode(),
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    evidence = [
        piece.model_copy(update={"scores_file": named or str(path)}) if isinstance(piece, RankedExamples) else piece
        for piece in scan.finding.evidence
    ]
    return scan.finding.model_copy(update={"evidence": evidence})
