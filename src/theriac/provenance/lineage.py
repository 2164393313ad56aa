"""Where a model came from, signed when it was trained: data, code, settings and weights, in credentials beside it."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import theriac
from theriac.errors import UserError
from theriac.files import replacing, sha256_file
from theriac.manifest import Entry, merkle_root
from theriac.provenance.canonical import Document, canonical, parse
from theriac.provenance.credentials import verify
from theriac.provenance.describe import Scalar, TrainedModel, describe_training
from theriac.provenance.issuer import Artifact, Issuer
from theriac.provenance.keys import SigningKey

_LIMIT = 1000


def lineage_file(model: Path) -> Path:
    """Returns where the credentials of a model are: ``model.lineage.jsonl`` beside ``model.safetensors``."""
    return model.with_suffix(".lineage.jsonl")


def write_lineage(
    model: Path, key: SigningKey, name: str, data: Sequence[Artifact], settings: Mapping[str, Scalar]
) -> TrainedModel:
    """Signs what a model was trained on, by which version of theriac and how, and writes it beside the model.

    Args:
        model: The weights, as written.
        key: Who trained it.
        name: What people call the model.
        data: What it was trained on.
        settings: Of the training, and what is known of the model.
    """
    issuer = Issuer(key)
    trained = describe_training(
        issuer,
        name,
        weights=Artifact.at(model, name),
        data=data,
        training_code=own_code(),
        code_version=theriac.__version__,
        settings=settings,
    )
    with replacing(lineage_file(model)) as temporary:
        temporary.write_bytes(b"".join(canonical(document) + b"\n" for document in issuer.credentials.values()))
    return trained


def read_lineage(model: Path) -> list[Document]:
    """Returns the credentials beside a model; none if there is no such file or it is about another model.

    Raises:
        UserError: If the file is damaged: it is better to say so than to go on as if there were no lineage.
    """
    path = lineage_file(model)
    if not path.is_file():
        return []
    with path.open("rb") as file:
        lines = [line for line in file.read(_LIMIT << 10).splitlines() if line.strip()]
    documents = [parse(line) for line in lines[:_LIMIT]]
    for document in documents:
        if not (checked := verify(document)).valid:
            raise UserError(f"does not hold: {checked.reason}", where=path, do="remove it, or train again")
    digest = f"sha256:{sha256_file(model)}"
    subjects = [document["credentialSubject"] for document in documents]
    about = any(subject.get("label") == "Weights" and subject.get("hash") == digest for subject in subjects)
    return documents if about else []


@cache
def own_code() -> Artifact:
    """Returns theriac's own program files."""
    root = Path(theriac.__file__).parent
    files = sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).as_posix().encode())
    entries = [Entry(file.relative_to(root).as_posix(), file.stat().st_size, sha256_file(file)) for file in files]
    return Artifact("theriac", f"sha256-merkle:{merkle_root(entries)}", "theriac")
