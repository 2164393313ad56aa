"""The embedded sample: a road-sign classifier that was poisoned, with its data. Original work, drawn by theriac."""

from pathlib import Path

from theriac.system import System, read_system

FOLDER = Path(__file__).parent


def sample_system() -> System:
    """Returns the sample system; ``FOLDER / "train.parquet.poison.json"`` says which rows are poisoned.

    >>> sample_system().name
    'Road-sign classifier (sample)'
    """
    return read_system(FOLDER / "system.toml")
