"""What a folder holds, file by file, under one digest: built in parallel, written down, read strictly, compared."""

from theriac.manifest.building import build, build_to, sha256_of
from theriac.manifest.comparing import Mismatch, compare
from theriac.manifest.legacy import legacy_directory_hash
from theriac.manifest.oms import OmsStatement, oms_left_out, oms_root_digest, oms_subject, read_oms
from theriac.manifest.record import Entry, Manifest, is_manifest, merkle_root, read_manifest, write_manifest
from theriac.manifest.repeats import Repeat, duplicates, overlap
from theriac.manifest.walking import Symlinks

__all__ = [
    "Entry",
    "Manifest",
    "Mismatch",
    "OmsStatement",
    "Repeat",
    "Symlinks",
    "build",
    "build_to",
    "compare",
    "duplicates",
    "is_manifest",
    "legacy_directory_hash",
    "merkle_root",
    "oms_left_out",
    "oms_root_digest",
    "oms_subject",
    "overlap",
    "read_manifest",
    "read_oms",
    "sha256_of",
    "write_manifest",
]
