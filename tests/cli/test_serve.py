import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from theriac.cli import run
from theriac.errors import ExitCode
from theriac.provenance import Artifact, Issuer, SigningKey, describe_system


@pytest.fixture
def battery(tmp_path):
    issuer = Issuer(SigningKey.new())
    weights, data = (Artifact(name, f"sha256:{digit * 64}", name) for digit, name in (("1", "weights"), ("2", "data")))
    describe_system(issuer, "signs", weights=weights, data=[data])
    issuer.write(tmp_path / "battery")
    return tmp_path / "battery"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped_and_leaves_nothing_behind(battery, tmp_path, stop):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "theriac", "serve", "--battery", str(battery), "--port", "0"]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            line = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
            assert "signs" in httpx.get(address).text
            assert list(temporary.iterdir())
        finally:
            process.send_signal(stop)
        assert process.wait(30) == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--store", "absent.sqlite"], "absent.sqlite: no such store"),
        (["--battery", "absent"], "absent: no such folder"),
        (["--store", "a", "--battery", "b"], "exclude each other"),
        (["--key", "absent", "--battery", "."], "no such key"),
        (["--policy", "absent.toml", "--battery", "."], "absent.toml: cannot read"),
        (["--battery", "."], "holds no credentials"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THERIAC_KEYS", str(tmp_path / "keys"))
    assert run(["serve", *options]) == ExitCode.BAD_INPUT
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "absent.sqlite").exists()


@pytest.mark.parametrize("options", [["--store", "s"], ["--key", "k", "--battery", "b"]])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_a_network_may_not_write(options, host, capsys):
    assert run(["serve", *options, "--host", host]) == ExitCode.BAD_INPUT
    assert "--read-only" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("192.0.2.1", 0), ("no such host", 0)])
def test_where_it_cannot_listen_is_said(battery, host, port, capsys):
    assert run(["serve", "--battery", str(battery), "--host", host, "--port", str(port)]) == ExitCode.BAD_INPUT
    assert "cannot listen" in capsys.readouterr().err
