"""The same bytes in several files: each group once, with the labels that its class folders give."""

import hashlib

import pytest

from theriac.manifest import Entry, Manifest, Repeat, duplicates, overlap
from theriac.manifest.repeats import label_of


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def manifest(**contents: str) -> Manifest:
    """Returns the manifest of these files: the name with _ for / is the path."""
    entries = [Entry(name.replace("_", "/"), len(text), sha256(text)) for name, text in contents.items()]
    return Manifest(tuple(sorted(entries, key=lambda entry: entry.path.encode())))


def test_every_group_is_there_once_and_contradictions_come_first() -> None:
    made = manifest(a_1="x", a_2="x", a_3="unique", b_1="y", c_1="y", c_2="y")
    assert duplicates(made) == (
        Repeat(sha256("y"), 1, ("b/1", "c/1", "c/2"), labels=("b", "c")),
        Repeat(sha256("x"), 1, ("a/1", "a/2"), labels=("a",)),
    )
    assert [repeat.conflicting for repeat in duplicates(made)] == [True, False]


def test_nothing_is_there_twice() -> None:
    assert duplicates(manifest(a_1="x", b_1="y")) == ()
    assert overlap(manifest(a="x", b="x"), manifest(c="y", d="y")) == ()


def test_what_two_have_in_common() -> None:
    train, test = manifest(cat_1="x", cat_2="x", dog_1="z", rest="y"), manifest(dog_9="x", rest="y", other="o")
    assert overlap(train, test) == (
        Repeat(sha256("x"), 1, ("cat/1", "cat/2"), ("dog/9",), ("cat", "dog")),
        Repeat(sha256("y"), 1, ("rest",), ("rest",)),
    )


def test_empty_files_are_left_out() -> None:
    assert duplicates(manifest(a="", b="", c="x")) == ()
    assert overlap(manifest(a="", b="x"), manifest(a="")) == ()


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("1.png", ""),
        ("cat/1.png", "cat"),
        ("cat/indoors/1.png", "cat"),
        ("train/cat/1.png", "cat"),
        ("Validation/cat/1.png", "cat"),
        ("train2017/1.png", ""),
        ("trains/1.png", "trains"),
        ("data/test_1/1.png", "data"),
    ],
)
def test_the_label_is_the_first_folder_that_is_no_split(path: str, label: str) -> None:
    assert label_of(path) == label
