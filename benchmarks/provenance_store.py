"""How fast the store takes in a million credentials and answers about them, on SQLite or PostgreSQL.

python benchmarks/provenance_store.py --work W [--credentials 1000000] [--crowd 1000000] [--database postgresql://...]

Writes ``results/provenance_store_sqlite.json`` (or ``_postgresql``). The bounds are those for 1,000,000 credentials on
two cores; with fewer, the figures are shown beside them all the same.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import recording
from provenance_graph import data_id, graph_at, system_id, write_crowd
from theriac.provenance import Accepted, Store, ask
from theriac.provenance.answer import Answer
from theriac.provenance.battery import read_credentials
from theriac.provenance.pool import examine_all
from theriac.provenance.store import Added

ASKED = 1000


def main() -> None:
    """Makes the credentials, takes them in, asks, and writes what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--credentials", type=int, default=1_000_000)
    parser.add_argument("--crowd", type=int, default=1_000_000)
    parser.add_argument("--database", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    graph, crowd = options.work / f"graph-{options.credentials}.jsonl", options.work / f"crowd-{options.crowd}.jsonl"
    counts = graph_at(graph, options.credentials, options.seed, options.workers)
    if not crowd.exists():
        write_crowd(crowd, options.crowd, options.workers)
    database = options.database or str(options.work / "store.sqlite")
    if not options.database:
        Path(database).unlink(missing_ok=True)
    with Store(database, write=True) as store:
        speed = take_in(store, graph, options.workers)
    with Store(database) as store:
        figures = _ask(store, counts, options.seed)
    with Store(database, write=True) as store:
        crowd_speed = take_in(store, crowd, options.workers, max_bytes=1 << 30)
    with Store(database) as store:
        figures |= _ask_crowd(store)
    kind = "postgresql" if options.database else "sqlite"
    slower = 5 if options.database else 1
    rows = [["taken in, credentials a second", speed, f"at least {4000 / slower:,.0f}", speed >= 4000 / slower]]
    rows += [
        [name, value, f"at most {bound * slower:g}", value <= bound * slower]
        for name, (value, bound) in figures.items()
    ]
    recording.write(
        f"provenance_store_{kind}",
        f"A store of {counts['credentials']:,} credentials, {kind}",
        seed=options.seed,
        tables=[recording.table("Times", ["figure", "measured", "bound", "holds"], rows)],
        figures={
            **counts,
            "crowd": options.crowd,
            "workers": options.workers,
            "credentials_per_second": speed,
            "crowd_per_second": crowd_speed,
            **{name: value for name, (value, _) in figures.items()},
        },
    )
    for row in rows:
        print(row)


def take_in(store: Store, path: Path, workers: int, max_bytes: int = 1 << 20) -> float:
    """Takes in credentials, all of which must hold; returns how many a second."""
    added, start = Added(), time.perf_counter()
    for batch in examine_all(read_credentials([path], max_bytes), Accepted(max_bytes=max_bytes), workers):
        store.add_examined(batch, added)
    seconds = time.perf_counter() - start
    assert not added.invalid, added.invalid[:3]
    assert not added.refused, added.refused[:3]
    print(f"{added.new} in {seconds:.1f} s", flush=True)
    return added.new / seconds


def _ask(store: Store, counts: dict[str, int], seed: int) -> dict[str, tuple[float, float]]:
    rng = random.Random(seed)
    systems = [system_id(rng.randrange(counts["systems"])) for _ in range(ASKED)]
    data = [data_id(rng.randrange(counts["data"])) for _ in range(ASKED)]
    poisoning, reverse = "data-poisoning", "systems-using"
    taibom, hits = _p95(systems, lambda id: ask(store, poisoning, id, mode="taibom"))
    extended, more = _p95(systems, lambda id: ask(store, poisoning, id))
    backward, used = _p95(data, lambda id: ask(store, reverse, id))
    print(f"{hits} poisoned by TAIBOM's meaning, {more} by ours, {used} data sets in use, of {ASKED}", flush=True)
    assert 0 < hits <= more < ASKED
    assert used == ASKED
    return {
        "poisoning query, TAIBOM's meaning, p95 ms": (taibom, 2),
        "poisoning query, extended, p95 ms": (extended, 10),
        "reverse query, p95 ms": (backward, 2),
    }


def _ask_crowd(store: Store) -> dict[str, tuple[float, float]]:
    from provenance_graph import _id

    system, figures = _id("ai-system", "crowd"), {}
    for mode in ("taibom", "extended"):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            answer = ask(store, "data-poisoning", system, mode=mode)  # type: ignore[arg-type]
            times.append(time.perf_counter() - start)
        assert answer.complete, answer.warnings[:3]
        figures[f"a pack of very many data sets, {mode}, median s"] = (statistics.median(times), 0.5)
    return figures


def _p95(ids: Iterable[str], query: Callable[[str], Answer]) -> tuple[float, int]:
    times, hits = [], 0
    for number, id in enumerate(ids):
        start = time.perf_counter()
        answer = query(id)
        if number >= 50:  # the first ones warm the caches
            times.append(time.perf_counter() - start)
        hits += bool(answer.answer)
    return statistics.quantiles(times, n=20)[-1] * 1000, hits


if __name__ == "__main__":
    main()
