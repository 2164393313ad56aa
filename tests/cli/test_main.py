"""The command line as a whole: quick help, one-line errors, exit codes, an interrupted audit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from theriac.cli import VERBS, run
from theriac.data.writing import write_parquet
from theriac.models.saving import save_model
from theriac.report.terminal import summary

THERIAC = [sys.executable, "-m", "theriac"]


def theriac(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*THERIAC, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from theriac.cli import run; run(['--help']); print(sorted(m for m in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(verb in shown for verb in VERBS)
    assert not any(f"'{heavy}'" in shown for heavy in ("torch", "pydantic", "cyclopts", "numpy", "rich"))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_page(verb, capsys) -> None:
    assert run([verb, "--help"]) == 0
    assert "Usage: theriac" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["audiit"],
        ["scan", "model"],
        ["scan", "model", "missing.pt", "--examples", "missing.parquet"],
        ["scan", "data", "missing.parquet", "--json"],
        ["scan", "model", "m.pt", "--examples", "e", "--set", "steps=many"],
        ["scan", "model", "m.pt", "--examples", "e", "--method", "crystal-ball"],
        ["audit", "missing.toml"],
        ["audit", "--seed", "-1"],
        ["audit", "--seed", "one"],
        ["audit", "--budget", "soon"],
        ["audit", "--device", "abacus"],
        ["methods", "crystal-ball"],
        ["mitigate", "crystal-ball", "m.pt"],
        ["verify", "missing.json"],
        ["train", "classifier", "missing.parquet", "--out", "m.safetensors"],
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("theriac: ")
    assert shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_init_writes_a_template_that_reads_back_and_never_overwrites(tmp_path, monkeypatch, capsys) -> None:
    from theriac.system import read_system

    monkeypatch.chdir(tmp_path)
    assert run(["audit", "--init"]) == 0
    assert read_system(tmp_path / "system.toml").inputs is not None
    assert run(["audit", "--init"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_every_method_is_listed_with_its_paper(capsys) -> None:
    assert run(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"model detector", "data detector", "input detector", "mitigation", "trigger"} == {
        m["family"] for m in listed
    }
    assert all(m["paper"] and m["summary"] for m in listed)


def test_a_killed_audit_goes_on_where_it_was(poisoned_system, tmp_path) -> None:
    s = poisoned_system
    save_model(s.model, tmp_path / "model.safetensors")
    for name, data in (("clean", s.clean), ("train", s.train), ("inputs", s.triggered[:40])):
        write_parquet(data, tmp_path / f"{name}.parquet")
    (tmp_path / "system.toml").write_text(
        'name = "Signs"\n[model]\npath = "model.safetensors"\n[clean_examples]\npath = "clean.parquet"\n'
        '[training_data]\npath = "train.parquet"\n[inputs]\npath = "inputs.parquet"\n'
    )
    command = ["audit", "system.toml", "--out", "out", "--keys", "keys", "--device", "cpu", "--json"]
    journal = tmp_path / "out" / "journal.jsonl"
    process = subprocess.Popen([*THERIAC, *command], cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while not journal.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = journal.read_text().splitlines()
    assert not (tmp_path / "out" / "report.html").exists()
    done = theriac(*command, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    assert journal.read_text().splitlines()[: len(finished)] == finished
    assert (tmp_path / printed["report"]).exists()
    assert {f["subject"]["kind"]: f["verdict"] for f in printed["findings"]} == dict.fromkeys(
        ("model", "data", "input"), "poisoned"
    )
    queried = theriac(
        "query", "data-poisoning", printed["system_id"], "--store", printed["store"], "--json", cwd=tmp_path
    )
    assert queried.returncode == 1
    assert json.loads(queried.stdout)["complete"] is True
    for path in printed["credentials"]:
        assert theriac("verify", path, cwd=tmp_path).returncode == 0


def test_the_terminal_summary_never_calls_the_unchecked_clean(capsys) -> None:
    summary([])
    assert "clean" not in capsys.readouterr().out.lower()
