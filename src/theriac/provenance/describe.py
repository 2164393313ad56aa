"""Describing a whole AI system in linked credentials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theriac.provenance.canonical import Document
from theriac.provenance.credentials import link_to
from theriac.provenance.issuer import Artifact, Issuer

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class SystemCredentials:
    """The credentials of a described system; the parts that are not known are None or absent."""

    system: Document
    weights: Document
    data: tuple[Document, ...] = ()
    data_pack: Document | None = None
    training_code: Document | None = None
    training_system: Document | None = None
    config: Document | None = None
    inference_code: Document | None = None

    @property
    def id(self) -> str:
        """The system's id, by which queries ask for it."""
        return str(self.system["id"])


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
    """
    weights_vc = issuer.data(weights, weights=True)
    inference_vc = issuer.code(inference_code, code_version) if inference_code else None
    if not data:
        system = issuer.issue("ai-system", _system(name, "Inferencing", inference_vc, weights_vc))
        return SystemCredentials(system, weights_vc, inference_code=inference_vc)
    data_vcs = tuple(issuer.data(artifact) for artifact in data)
    links = {document["id"]: link_to(document) for document in data_vcs}
    pack = issuer.issue("data-pack", {"name": f"{name}: training data", "datasets": list(links.values())})
    code_vc = issuer.code(training_code, code_version) if training_code else None
    training = issuer.issue("ai-system", _system(f"{name}: training", "Training", code_vc, pack))
    config_subject = {"name": name, "aiSystem": link_to(training), "data": link_to(weights_vc)}
    config = issuer.issue("config", config_subject | ({"settings": dict(settings)} if settings else {}))
    system = issuer.issue("ai-system", _system(name, "Inferencing", inference_vc, config))
    return SystemCredentials(system, weights_vc, data_vcs, pack, code_vc, training, config, inference_vc)


def _system(name: str, label: str, code: Document | None, data: Document) -> dict[str, Any]:
    subject = {"name": name, "label": label, "data": link_to(data)}
    return subject | ({"code": link_to(code)} if code else {})
