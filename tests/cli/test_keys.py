"""``theriac keys`` from the outside, on a terminal and off."""

import base64
import json
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

from theriac.cli import run
from theriac.provenance import keys
from theriac.provenance.did_key import public_key_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERIAC_KEYS", str(tmp_path / "keys"))
    monkeypatch.delenv("THERIAC_PASSPHRASE", raising=False)
    return tmp_path / "keys"


def on_a_terminal(argv, answers):
    """Runs theriac on a real terminal, types each answer when it is asked for; returns (status, what was shown)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "theriac", *argv])
    shown, waiting, deadline = "", list(answers), time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 1)[0]:
            try:
                chunk = os.read(terminal, 4096)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            shown += chunk.decode()
            if waiting and shown.rstrip(" ").endswith(":"):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
                shown += "\n"
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


def encrypted(folder, name="default"):
    return b"ENCRYPTED" in (folder / f"{name}.pem").read_bytes()


def test_on_a_terminal_keys_are_encrypted(folder):
    status, shown = on_a_terminal(["keys", "new"], ["correct horse", "correct horse"])
    assert status == 0, shown
    assert "correct horse" not in shown
    assert encrypted(folder)
    assert keys.load(folder, "default", ask=lambda: "correct horse").did in shown


def test_a_passphrase_that_is_not_repeated_makes_no_key(folder):
    status, shown = on_a_terminal(["keys", "new"], ["correct horse", "battery"])
    assert status == 2, shown
    assert "was not repeated" in shown
    assert not folder.exists()


def test_on_a_terminal_one_can_say_no(folder):
    status, shown = on_a_terminal(["keys", "new", "--no-passphrase"], [])
    assert status == 0, shown
    assert "not encrypted" in shown
    assert not encrypted(folder)


def test_off_a_terminal(folder, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    assert run(["keys", "new"]) == 0
    assert "It is not encrypted" in capsys.readouterr().out
    monkeypatch.setenv("THERIAC_PASSPHRASE", "correct horse")
    assert run(["keys", "new", "--name", "vault"]) == 0
    assert "not encrypted" not in capsys.readouterr().out
    assert run(["keys", "new", "--name", "open", "--no-passphrase"]) == 0
    assert [encrypted(folder, name) for name in ("default", "vault", "open")] == [False, True, False]


def test_export_shows_the_public_half_only(folder, capsys, monkeypatch):
    monkeypatch.setenv("THERIAC_PASSPHRASE", "correct horse")
    run(["keys", "new", "--name", "mine"])
    monkeypatch.delenv("THERIAC_PASSPHRASE")
    did = capsys.readouterr().out.splitlines()[0]
    assert run(["keys", "export", "mine"]) == 0
    assert capsys.readouterr().out == f"{did}\n"
    assert run(["keys", "export", "mine", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "name": "mine",
        "did": did,
        "public": base64.b64encode(public_key_of(did).public_bytes_raw()).decode(),
    }
    assert run(["keys", "export", "absent"]) == 2
    assert "no such key" in capsys.readouterr().err


def test_rotate(folder, capsys):
    run(["keys", "new"])
    old = capsys.readouterr().out.splitlines()[0]
    assert run(["keys", "rotate", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["predecessor"] == old != answer["did"]
    assert keys.load(folder, "default").did == answer["did"]
    assert keys.load(folder, Path(answer["kept"]).stem).did == old
    for file in answer["statements"]:
        assert run(["verify", file]) == 0
    assert run(["keys", "rotate"]) == 0
    assert "replaces" in capsys.readouterr().out
    assert run(["keys", "rotate", "absent"]) == 2
    assert "no such key" in capsys.readouterr().err
