"""The main job on a small system that was really trained and really poisoned."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from theriac.audit import Audit, Plan, audit
from theriac.data.images import ImageData
from theriac.data.writing import write_parquet
from theriac.errors import ExitCode, UserError
from theriac.finding import RankedExamples, SuspectedClasses
from theriac.models.opening import open_model
from theriac.models.saving import save_model
from theriac.provenance.query import data_poisoning
from theriac.provenance.store import Store
from theriac.run.budget import Budget
from theriac.system import System, read_system


def write_system(folder: Path, model: object, **parts: ImageData) -> System:
    save_model(model, folder / "model.safetensors")
    lines = ['name = "Signs"', '[model]\npath = "model.safetensors"']
    for name, data in parts.items():
        write_parquet(data, folder / f"{name}.parquet")
        lines.append(f'[{name}]\npath = "{name}.parquet"')
    (folder / "system.toml").write_text("\n".join(lines))
    return read_system(folder / "system.toml")


def run(system: System, out: Path, **options: object) -> Audit:
    return audit(system, out, keys=out.parent / "keys", device="cpu", **options)


@pytest.fixture(scope="module")
def poisoned(poisoned_system, tmp_path_factory) -> System:
    s = poisoned_system
    folder = tmp_path_factory.mktemp("poisoned")
    return write_system(folder, s.model, clean_examples=s.clean, training_data=s.train, inputs=s.triggered[:60])


@pytest.fixture(scope="module")
def audited(poisoned, tmp_path_factory) -> Audit:
    return run(poisoned, tmp_path_factory.mktemp("audited") / "out")


def test_poison_is_found_repaired_signed_and_found_again(audited, poisoned_system) -> None:
    by_kind = {f.subject.kind: f for f in audited.outcome.findings}
    assert {kind: f.verdict for kind, f in by_kind.items()} == dict.fromkeys(("model", "data", "input"), "poisoned")
    for kind in ("model", "data"):
        suspected = [e for e in by_kind[kind].evidence if isinstance(e, SuspectedClasses)]
        assert suspected[0].target == poisoned_system.target
    assert audited.status == ExitCode.FOUND
    repaired = open_model(str(audited.outcome.repaired))
    triggered, test = poisoned_system.triggered, poisoned_system.test
    asr = (repaired(triggered.pixels()).argmax(1) == poisoned_system.target).float().mean()
    kept = (repaired(test.pixels()).argmax(1) == test.labels).float().mean()
    assert asr <= 0.1
    assert kept >= 0.93
    with Store(audited.store) as store:
        answer = data_poisoning(store, audited.system_id)
    assert answer.complete
    assert len(answer.attestations) == 3


def test_the_poisoned_rows_are_named(audited, poisoned_system) -> None:
    finding = next(f for f in audited.outcome.findings if f.subject.kind == "data")
    named = next(e for e in finding.evidence if isinstance(e, RankedExamples)).scores_file
    table = pq.read_table(audited.report.parent / named).to_pydict()
    suspected = {row for row, flag in zip(table["row"], table["suspected"], strict=True) if flag}
    truth = set(poisoned_system.rows.tolist())
    assert len(suspected & truth) >= 0.95 * len(truth)
    assert len(suspected - truth) <= 0.05 * len(truth)


def test_the_same_seed_gives_the_same_findings_and_the_same_system(poisoned, audited, tmp_path) -> None:
    again = run(poisoned, tmp_path / "out")
    first = [*audited.outcome.findings, audited.outcome.repair]
    second = [*again.outcome.findings, again.outcome.repair]
    assert [f.repeatable() for f in first] == [f.repeatable() for f in second]


def test_what_is_finished_is_not_done_again_and_what_was_lost_is(poisoned, audited, monkeypatch) -> None:
    out = audited.report.parent
    plan = Plan()
    (out / "repaired" / "model.safetensors").unlink()
    lines = (out / "journal.jsonl").read_text().splitlines()
    (out / "journal.jsonl").write_text("\n".join(lines) + '\n{"key": "cut sho')

    class Done:
        """Stands where a finished step must not call its method."""

        def __getattr__(self, name: str) -> object:
            raise AssertionError("the step was done again")

    monkeypatch.setattr(type(plan.model), "scan", Done())
    monkeypatch.setattr(type(plan.data), "scan", Done())
    again = run(poisoned, out, plan=plan)
    assert again.outcome.repaired is not None
    assert again.outcome.repaired.exists()
    assert [f.repeatable() for f in again.outcome.findings] == [f.repeatable() for f in audited.outcome.findings]
    assert again.system_id == audited.system_id


def test_nothing_is_found_in_the_clean_twin(clean_system, tmp_path) -> None:
    s = clean_system
    system = write_system(tmp_path, s.model, clean_examples=s.clean, training_data=s.train, inputs=s.test[:100])
    result = run(system, tmp_path / "out")
    assert [f.verdict for f in result.outcome.findings] == ["clean"] * 3
    assert result.status == ExitCode.NOTHING
    assert result.outcome.repair is None
    with Store(result.store) as store:
        answer = data_poisoning(store, result.system_id)
    assert answer.complete
    assert not answer.attestations
    assert len(answer.checks) == 3


def test_what_was_not_given_is_said_and_not_called_clean(clean_system, tmp_path) -> None:
    result = run(write_system(tmp_path, clean_system.model), tmp_path / "out")
    assert result.status == ExitCode.INCONCLUSIVE
    assert len(result.outcome.not_checked) == 3
    assert json.loads(json.dumps(result.outcome.not_checked))


def test_a_budget_that_runs_out_is_inconclusive_and_tried_again(clean_system, tmp_path) -> None:
    system = write_system(tmp_path, clean_system.model, clean_examples=clean_system.clean)
    result = run(system, tmp_path / "out", budget=Budget(0.01))
    assert result.status == ExitCode.INCONCLUSIVE
    assert "budget" in " ".join(result.outcome.findings[0].not_checked)
    assert not (tmp_path / "out" / "journal.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("[model]", "[modle]"), "modle"),
        (lambda t: t.replace("name =", "name ="[:3]), "TOML"),
        (lambda t: t.replace("clean_examples.parquet", "missing.parquet"), "missing.parquet"),
        (lambda t: t + '\nlabel = "colour"\n', "colour"),
        (lambda t: t.replace('"Signs"', '"two\\nlines"'), "name"),
    ],
)
def test_a_wrong_description_is_one_clear_line_and_writes_nothing(change, message, clean_system, tmp_path) -> None:
    write_system(tmp_path, clean_system.model, clean_examples=clean_system.clean)
    path = tmp_path / "system.toml"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=message):
        run(read_system(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_with_other_classes_than_the_model_are_refused(clean_system, tmp_path) -> None:
    fewer = clean_system.clean[clean_system.clean.labels < 4]
    fewer = ImageData(fewer.images, fewer.labels, fewer.classes[:4], "fewer", fewer.sha256)
    system = write_system(tmp_path, clean_system.model, clean_examples=fewer)
    with pytest.raises(UserError, match="5 classes apart, but 4 are named"):
        run(system, tmp_path / "out")
    assert not (tmp_path / "out").exists()
