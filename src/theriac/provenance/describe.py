"""Describing a whole AI system in linked credentials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theriac.provenance.canonical import Document
from theriac.provenance.credentials import link_to
from theriac.provenance.issuer import Artifact, Issuer
from theriac.provenance.kinds import kind_of

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class TrainedModel:
    """The credentials of a model and of what it was made of."""

    weights: Document
    data: tuple[Document, ...]
    data_pack: Document
    training_system: Document
    config: Document
    training_code: Document | None = None


@dataclass(frozen=True)
class SystemCredentials:
    """The credentials of a described system; ``trained`` is None if nothing is known of its training."""

    system: Document
    weights: Document
    trained: TrainedModel | None = None
    inference_code: Document | None = None

    @property
    def id(self) -> str:
        """The system's id, by which queries ask for it."""
        return str(self.system["id"])

    @property
    def data(self) -> tuple[Document, ...]:
        """The training data sets, as far as they are known."""
        return self.trained.data if self.trained else ()


def describe_system(
    issuer: Issuer,
    name: str,
    *,
    weights: Artifact,
    data: Sequence[Artifact] = (),
    training_code: Artifact | None = None,
    inference_code: Artifact | None = None,
    code_version: str = "unknown",
    settings: Mapping[str, Scalar] | None = None,
    trained: TrainedModel | None = None,
) -> SystemCredentials:
    """Issues the linked credentials of an AI system that runs a model.

    The chain is: inferencing system -> config -> weights and training system -> data pack -> data. Without training
    data there is no training system and no config; the inferencing system then links to the weights themselves, and
    queries say that the chain is incomplete.

    Args:
        issuer: Signs, and remembers what was signed.
        name: The system's name.
        weights: The model's file.
        data: The training data sets.
        training_code: The code that trained the model, if known.
        inference_code: The code that runs it, if known.
        code_version: The version of both.
        settings: Facts about the model for the config: architecture, classes, input size.
        trained: What others signed about the model's training; it is linked to instead of described again.
    """
    if trained is None and data:
        trained = describe_training(
            issuer,
            name,
            weights=weights,
            data=data,
            training_code=training_code,
            code_version=code_version,
            settings=settings,
        )
    code = issuer.code(inference_code, code_version) if inference_code else None
    made = trained.weights if trained else issuer.data(weights, weights=True)
    system = issuer.issue("ai-system", _system(name, "Inferencing", code, trained.config if trained else made))
    return SystemCredentials(system, made, trained, code)


def describe_training(
    issuer: Issuer,
    name: str,
    *,
    weights: Artifact,
    data: Sequence[Artifact],
    training_code: Artifact | None = None,
    code_version: str = "unknown",
    settings: Mapping[str, Scalar] | None = None,
) -> TrainedModel:
    """Issues the linked credentials of a model: config -> weights and training system -> data pack -> data."""
    made = issuer.data(weights, weights=True)
    sets = tuple(issuer.data(artifact) for artifact in data)
    links = {document["id"]: link_to(document) for document in sets}
    pack = issuer.issue("data-pack", {"name": f"{name}: training data", "datasets": list(links.values())})
    code = issuer.code(training_code, code_version) if training_code else None
    training = issuer.issue("ai-system", _system(f"{name}: training", "Training", code, pack))
    subject = {"name": name, "aiSystem": link_to(training), "data": link_to(made)}
    config = issuer.issue("config", subject | ({"settings": dict(settings)} if settings else {}))
    return TrainedModel(made, sets, pack, training, config, code)


def trained_model(documents: Sequence[Document]) -> TrainedModel | None:
    """Returns the model that these credentials describe, if they are those of one training."""
    by_digest = {link_to(document)["hash"]: document for document in documents}
    for config in documents:
        links = config["credentialSubject"]
        if kind_of(config) != "config":
            continue
        weights, training = by_digest.get(links["data"]["hash"]), by_digest.get(links["aiSystem"]["hash"])
        pack = by_digest.get(training["credentialSubject"]["data"]["hash"]) if training else None
        if weights is None or training is None or pack is None or kind_of(pack) != "data-pack":
            continue
        sets = [by_digest.get(link["hash"]) for link in pack["credentialSubject"]["datasets"]]
        code = training["credentialSubject"].get("code")
        known = tuple(document for document in sets if document is not None)
        return TrainedModel(weights, known, pack, training, config, by_digest.get(code["hash"]) if code else None)
    return None


def _system(name: str, label: str, code: Document | None, data: Document) -> dict[str, Any]:
    subject = {"name": name, "label": label, "data": link_to(data)}
    return subject | ({"code": link_to(code)} if code else {})
