"""What differs between a manifest and what is on disk now."""

from dataclasses import dataclass
from pathlib import Path

from theriac.errors import UserError
from theriac.manifest.building import hash_files
from theriac.manifest.record import Manifest
from theriac.manifest.walking import Symlinks
from theriac.manifest.working import Progress


@dataclass(frozen=True)
class Mismatch:
    """Paths that differ, sorted by their bytes.

    Attributes:
        changed: Files with other bytes than the manifest says.
        missing: Files that only the manifest has.
        added: Files that only the folder has.
    """

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.changed or self.missing or self.added)


def compare(
    manifest: Manifest,
    path: Path,
    *,
    symlinks: Symlinks = "refuse",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Mismatch:
    """Hashes a file or folder and returns every difference from its manifest.

    Raises:
        UserError: As :func:`theriac.manifest.build`, and if one is of a folder and the other a single file.
    """
    if path.exists() and manifest.single == path.is_dir():
        kinds = ("a single file", "a folder") if manifest.single else ("a folder", "a single file")
        raise UserError(f"the manifest is of {kinds[0]}, and this is {kinds[1]}", where=path)
    entries = hash_files(path, symlinks=symlinks, workers=workers, progress=progress)
    if manifest.single:  # its name does not matter
        then, now = manifest.entries[0], entries[0]
        return Mismatch(changed=() if then[1:] == now[1:] else (now.path,))
    before = {entry.path: entry for entry in manifest.entries}
    present = {entry.path: entry for entry in entries}
    return Mismatch(
        changed=tuple(p for p, entry in before.items() if p in present and present[p] != entry),
        missing=tuple(p for p in before if p not in present),
        added=tuple(p for p in present if p not in before),
    )
