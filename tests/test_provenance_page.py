"""The first pages of docs/provenance.md, run as printed in a fresh folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "provenance.md"


def test_the_path_from_a_key_to_the_answer_works_as_printed(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    script = "set -eu\n" + "echo =====\n".join(blocks)
    command = f'theriac() {{ "{sys.executable}" -m theriac "$@"; }}\n'
    environment = os.environ | {"THERIAC_KEYS": str(tmp_path / "keys")}
    done = subprocess.run(
        ["bash", "-c", command + script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    clean, found, retracted = done.stdout.split("=====\n")
    assert "No claim of poisoning that counts, and the chain of credentials is complete." in clean
    assert "POISONED: 1 claim of poisoning counts." in found
    assert "1 SYSTEM: Came of it" in found
    assert "No claim of poisoning that counts, and the chain of credentials is complete." in retracted
    assert "retracted at" in retracted
    assert (tmp_path / "chain.svg").read_text().startswith("<svg")
    assert '"bomFormat": "CycloneDX"' in (tmp_path / "my-classifier.cdx.json").read_text()
