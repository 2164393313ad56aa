import pytest

from theriac.provenance import Issuer, Store, issue
from theriac.web.listing import PAGE, find, list_systems

from .conftest import KEY, artifact


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with 30 systems in use and as many training runs."""
    with Store(tmp_path_factory.mktemp("list") / "evidence.sqlite", write=True) as opened:
        data = Issuer(KEY, opened).data(artifact("signs"), weights=True)
        link = {"id": data["id"], "hash": "sha256:" + "0" * 64}
        opened.add(
            issue("ai-system", {"name": f"system {number} 100%", "label": label, "data": link}, KEY)
            for number in range(30)
            for label in ("Inferencing", "Training")
        )
        yield opened


def names(page):
    return [system.name for system in page.systems]


def test_pages_cover_every_system_once_forwards_and_backwards(store):
    with store.snapshot() as view:
        page = list_systems(view)
        forwards = [names(page)]
        while page.later:
            page = list_systems(view, after=page.later)
            forwards.append(names(page))
        backwards = [names(page)]
        while page.earlier:
            page = list_systems(view, before=page.earlier)
            backwards.insert(0, names(page))
    assert [len(part) for part in forwards] == [PAGE, PAGE, 30 - 2 * PAGE]
    assert [name for part in forwards for name in part] == [f"system {number} 100%" for number in range(30)]
    assert [name for part in backwards for name in part] == [name for part in forwards for name in part]


def test_the_first_page_has_no_earlier_one(store):
    with store.snapshot() as view:
        second = list_systems(view, after=list_systems(view).later)
        first = list_systems(view, before=second.earlier)
        assert (first.earlier, first.systems) == (0, list_systems(view).systems)


def test_training_runs_are_listed_when_asked_for(store):
    with store.snapshot() as view:
        assert {system.label for system in list_systems(view).systems} == {"Inferencing"}
        assert {system.label for system in list_systems(view, every=True).systems} == {"Inferencing", "Training"}


@pytest.mark.parametrize(
    ("search", "number"), [("SYSTEM 2", 11), ("system 29", 1), ("100%", 12), ("1%00", 0), ("_", 0)]
)
def test_search_finds_parts_of_names_as_text(store, search, number):
    with store.snapshot() as view:
        assert len(list_systems(view, search).systems) == number


def test_search_finds_an_id(store):
    with store.snapshot() as view:
        [*_, last] = list_systems(view).systems
        assert list_systems(view, last.id).systems == [last]


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "0" * 64, "0" * 64, "sha256:" + "G" * 64, "sha256:../x"])
def test_what_is_no_digest_finds_nothing(store, digest):
    with store.snapshot() as view:
        assert find(view, digest) is None
