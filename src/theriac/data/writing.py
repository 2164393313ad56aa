"""Writing labelled images as Hugging Face style Parquet, every image through one and the same encoder."""

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import Field
from torch import Tensor

from theriac.data.images import ImageData
from theriac.files import replacing
from theriac.finding import Record
from theriac.run.progress import Progress, silent

CHUNK = 1000


class Encoder(Record):
    """How images become bytes: losslessly as PNG, or as JPEG."""

    format: Literal["png", "jpeg"] = "png"
    quality: int = Field(default=95, ge=1, le=100, description="of JPEG; PNG has none")

    def encode(self, image: Tensor) -> bytes:
        """Returns the bytes of one image, uint8 [3, h, w]."""
        buffer = io.BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        if self.format == "png":
            picture.save(buffer, "PNG")
        else:
            picture.save(buffer, "JPEG", quality=self.quality, subsampling=0)
        return buffer.getvalue()


def write_parquet(data: ImageData, path: Path, encoder: Encoder | None = None, *, progress: Progress = silent) -> None:
    """Writes ``data`` to ``path``: columns ``image`` ({bytes, path}) and ``label``, class names in the metadata.

    Row i of the file is row i of the data. Whatever way images got into ``data``, they leave it through the same
    encoder and in the same order, so that format, compression and file names say nothing about single rows.

    Raises:
        UserError: If ``path`` cannot be written.
    """
    schema = _schema(data.classes)
    options = {"use_dictionary": False, "write_statistics": False}  # both are for values that repeat or compare
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for start, encoded in _encoded(data, encoder or Encoder()):
            labels = data.labels[start : start + len(encoded)].tolist()
            pictures = [{"bytes": content, "path": None} for content in encoded]
            writer.write_table(pa.Table.from_pydict({"image": pictures, "label": labels}, schema))
            progress((start + len(encoded)) / len(data), "encoding")


def _encoded(data: ImageData, encoder: Encoder) -> Iterator[tuple[int, list[bytes]]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(data), CHUNK):
            yield start, list(pool.map(encoder.encode, data.images[start : start + CHUNK]))


def _schema(classes: tuple[str, ...]) -> pa.Schema:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(classes)}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([("image", image), ("label", pa.int64())], metadata)
