"""``python -m theriac`` is the command line."""

from theriac.cli import main

main()
