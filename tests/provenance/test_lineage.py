"""What a training signs beside its model, and that an audit's chain goes through it."""

import json

import pytest

from theriac.errors import UserError
from theriac.provenance import Artifact, Issuer, SigningKey, data_poisoning, describe_system
from theriac.provenance.describe import trained_model
from theriac.provenance.lineage import lineage_file, own_code, read_lineage, write_lineage

from .conftest import artifact


@pytest.fixture
def model(tmp_path, key):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    write_lineage(path, key, "model", [artifact("rows")], {"epochs": 3})
    return path


def test_a_system_on_a_trained_model_has_a_complete_chain(model, key, store):
    documents = read_lineage(model)
    auditor = SigningKey.new()
    issuer = Issuer(auditor, store)
    for document in documents:
        issuer.adopt(document)
    trained = trained_model(documents)
    system = describe_system(issuer, "system", weights=Artifact.at(model), trained=trained)
    answer = data_poisoning(store, system.id)
    assert answer.complete
    assert trained.data[0]["id"] in answer.nodes
    assert trained.training_code["credentialSubject"]["hash"]["value"] == own_code().hash
    assert {document["issuer"] for document in documents} == {key.did} != {system.system["issuer"]}


def test_another_model_has_no_lineage(model):
    model.write_bytes(b"other weights")
    assert read_lineage(model) == []
    assert read_lineage(model.with_name("none.safetensors")) == []


def test_a_changed_lineage_is_an_error(model):
    path = lineage_file(model)
    lines = path.read_text().splitlines()
    lines = [line.replace("rows", "r0ws") for line in lines]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="does not hold"):
        read_lineage(model)


def test_lineage_without_its_pack_is_none(model):
    documents = [d for d in read_lineage(model) if "datasets" not in json.dumps(d)]
    assert trained_model(documents) is None
