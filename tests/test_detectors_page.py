"""docs/detectors.md, run as printed in a fresh folder, down to the pictures."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).parents[1] / "docs" / "detectors.md"


def test_the_quick_start_works_as_printed_and_ends_in_pictures(tmp_path: Path) -> None:
    text = PAGE.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    command = f'theriac() {{ "{sys.executable}" -m theriac "$@"; }}\n'
    environment = os.environ | {"THERIAC_KEYS": str(tmp_path / "keys")}
    done = subprocess.run(
        ["bash", "-c", command + "set -eu\n" + "".join(blocks)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"AUROC +(0\.9|1\.0)", done.stdout)
    assert "Poisoned" in done.stdout
    figures = json.loads((tmp_path / "logs/detector/eval.json").read_text())
    assert figures["AUC_ROC"] > 0.99
    assert figures["AP"] > 0.99
    assert json.loads((tmp_path / "logs/detector_ablation/eval.json").read_text())["ablation"]
    lines = (tmp_path / "logs/bench/results.jsonl").read_text().splitlines()
    assert {(line["task"], line["seed"]) for line in map(json.loads, lines)} == {("toy", 0), ("toy", 1), ("corner", 0)}
    for name in re.findall(r"`(logs/[\w/.-]+\.(?:svg|html))`", text):
        picture = (tmp_path / name).read_text()
        assert "<img" in picture if name.endswith("html") else ElementTree.fromstring(picture) is not None
