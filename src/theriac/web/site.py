"""What a site serves: a store, or a battery in a store of its own that is gone when the server stops."""

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from theriac.errors import UserError
from theriac.provenance import Accepted, Policy, SigningKey, Store
from theriac.provenance.battery import credential_files, read_credentials
from theriac.provenance.policy import EVERYBODY
from theriac.provenance.pool import examine_all
from theriac.provenance.store import Added
from theriac.web.scenarios import Scenario, read_scenarios

_SHOWN = 20


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        store: Where the credentials are.
        title: What the visitor sees as its name.
        key: Signs what visitors add; None if they may not add anything.
        key_name: The key's name in the user's folder; empty for one that is gone when the server stops.
        policy: Whose word counts.
        scenarios: Questions that came with a battery.
        notes: What became of the battery's files.
        lasting: Whether what is added outlives the server.
        token: What a form must carry, to show that it comes from one of our pages.
    """

    store: Store
    title: str
    key: SigningKey | None = None
    key_name: str = ""
    policy: Policy = EVERYBODY
    scenarios: Sequence[Scenario] = ()
    notes: Sequence[str] = ()
    lasting: bool = True
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


@contextmanager
def open_store(
    path: str, *, key: SigningKey | None = None, key_name: str = "", policy: Policy = EVERYBODY
) -> Iterator[Site]:
    """Yields a site that serves a store; without a key it never changes the store.

    Raises:
        UserError: If there is no store, or it cannot be used.
    """
    with Store(path) as store:  # one that is absent is an error, not a reason to make it
        if key is None:
            yield Site(store, store.where, policy=policy)
            return
    with Store(path, write=True) as store:
        yield Site(store, store.where, key, key_name, policy)


@contextmanager
def open_battery(
    folder: Path, *, key: SigningKey | None = None, key_name: str = "", policy: Policy = EVERYBODY
) -> Iterator[Site]:
    """Yields a site that serves a folder of credentials; what visitors add is gone at the end.

    Unsigned credentials and those that TAIBOM's tool signed are taken as they are, and marked.

    Raises:
        UserError: If there is no such folder, or nothing in it is a credential.
    """
    if not folder.is_dir():
        raise UserError("no such folder", where=folder, do="name a battery's folder")
    accepted = Accepted(frozenset({"nqminds-2018"}), unsigned=True)
    scenarios = read_scenarios(folder / "scenarios.json")
    with (
        tempfile.TemporaryDirectory(prefix="theriac-") as temporary,
        Store(Path(temporary) / "battery.sqlite", write=True) as store,
    ):
        added = Added()
        for batch in examine_all(read_credentials(credential_files(folder)), accepted, 0):
            store.add_examined(batch, added)
        if not added.new:
            raise UserError("holds no credentials", where=folder, do="name a battery's folder")
        title = folder.absolute().name
        yield Site(store, title, key, key_name, policy, scenarios, _told(added), lasting=False)


def _told(added: Added) -> list[str]:
    notes = [f"{added.new:,} credentials were read; {added.weak:,} of them are unsigned or weakly signed."]
    for what, lines in (
        ("does not hold", added.invalid),
        ("is no credential", added.refused),
        ("was kept out", added.kept_out),
    ):
        notes += [f"One {what}: {line}" for line in lines[:_SHOWN]]
        if len(lines) > _SHOWN:
            notes.append(f"{len(lines) - _SHOWN:,} more of these are not listed.")
    return notes
