"""Every command in the documentation is one that theriac understands; every picture and page it names exists."""

import re
import shlex
from pathlib import Path

import pytest

from theriac.cli import VERBS, command_line

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PROSE = "\n".join(page.read_text() for page in PAGES)
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", PROSE, re.DOTALL | re.MULTILINE)
BLOCKS = [block for language, block in FENCED if not language]  # what names its language has a test of its own
LINES = [line.split("  ")[0] for block in BLOCKS for line in block.splitlines()]
COMMANDS = sorted({text for text in LINES + re.findall(r"`([^`\n]+)`", PROSE) if text.startswith("theriac ")})


def test_there_are_commands() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} >= set(VERBS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_parses(command: str) -> None:
    words = shlex.split(command)[1:]
    app = command_line()
    if words[-1] in VERBS or (words[0] in ("poison", "train") and len(words) == 2):  # a group of commands, by its name
        assert app[words[0]]
    else:
        app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target
