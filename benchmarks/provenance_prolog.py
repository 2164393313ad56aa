"""How theriac's store answers TAIBOM's question about poisoned data beside SWI-Prolog, on the same credentials.

python benchmarks/provenance_prolog.py --work W [--credentials 1000000]

For 1,000 credentials, 10,000 and so on, theriac takes in the signed credentials, checks every signature, and answers
``data-poisoning`` with TAIBOM's meaning about random systems. SWI-Prolog loads the facts that theriac exports of them
and answers about the same systems, with rules of ours that have the structure of the reference's
(``provenance_prolog.pl``: predicates that call each other over the facts, lists within lists, findall), and with the
same rules written so that its index finds every fact. It indexes by itself, as it does for the reference. It checks no
signature, and its facts are in memory where those of theriac are on disk. The answers must be the same.

A question is timed inside the process that answers; the first one, for which indexes are made, apart, and the rest of
the first 50 not at all. The processor's time is given too, as the clock's 95th percentile tells more of a busy machine.
Then a process is started for one question: ``theriac query``, and ``swipl`` loading the facts. The reference's engine
starts ``swipl`` too; whether once or for each question is not published.

Beyond the credentials, SWI-Prolog alone is given more and more copies of the facts under other ids, until it needs more
than two minutes of the processor or 8 GiB. What an earlier run has taken in and exported, W still holds: it is used
again, with the time that it took.
"""

import argparse
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import recording
from provenance_graph import graph_at, system_id
from provenance_store import take_in
from theriac.provenance import Store, ask
from theriac.provenance.prolog import to_prolog

ASKED, WARM = 250, 50
SECONDS, MEMORY = 120, 8 << 30  # of the processor; of the address space
COPIES = (3, 10, 30)
REFERENCE, INDEXED = "ai_system_has_data_poisoning", "poisoning_by_index"
COLUMNS = ["credentials", "engine", "loaded in s", "processor s", "first question ms", "p50 ms", "p95 ms"]
COLUMNS += ["p95 processor ms", "peak memory MB"]
PROGRAM = Path(__file__).with_suffix(".pl")

Found = list[list[str]]


@dataclass
class Run:
    """What a process said about the systems it was asked about.

    Attributes:
        load: Seconds until it could be asked, by the clock and of the processor; empty if it did not come so far.
        peak: The most memory that it had, in bytes.
        times: For each rule, the same of each question.
        found: For each rule, the claims about each system, sorted.
        stopped: Why it was ended; empty if it was not.
    """

    load: list[float] = field(default_factory=list)
    peak: int | None = None
    times: dict[str, list[list[float]]] = field(default_factory=dict)
    found: dict[str, list[Found]] = field(default_factory=dict)
    stopped: str = ""

    def add(self, rule: str, times: list[float], found: Found) -> None:
        """Adds an answer."""
        self.times.setdefault(rule, []).append(times)
        self.found.setdefault(rule, []).append(sorted(found))

    def row(self, rule: str) -> list[Any]:
        """Returns what is shown of a rule under the last of ``COLUMNS``; ``None`` for what it did not come to."""
        shown = self.load or [None, None]
        if len(self.times.get(rule, [])) < ASKED:
            return [*shown, None, None, None, None, None]
        clock, processor = ([seconds * 1000 for seconds in column] for column in zip(*self.times[rule], strict=True))
        shown = [*shown, clock[0], statistics.median(clock[WARM:]), _p95(clock[WARM:]), _p95(processor[WARM:])]
        return [*shown, None if self.peak is None else self.peak // 1_000_000]


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def main() -> None:
    """Measures ever more credentials, then ever more copies, and writes what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--credentials", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    asked, cold, size = [], [], 1000
    while size <= options.credentials:
        ours, theirs, counts, started = _both(options, size)
        asked += _rows(counts["credentials"], ours, theirs)
        cold.append([counts["credentials"], *started])
        facts, systems, expected = _facts(options.work, size), _systems(counts, options.seed), ours.found[REFERENCE]
        size *= 10
        if theirs.stopped:
            break
    for copies in COPIES if not theirs.stopped else ():
        theirs = _copied(facts, copies, systems, expected)
        asked += _rows(counts["credentials"] * copies, None, theirs)
        if theirs.stopped:
            break
    _record(options, asked, cold, theirs.stopped)


def _both(options: argparse.Namespace, size: int) -> tuple[Run, Run, dict[str, int], list[float | None]]:
    """Asks both about so many credentials; the last are the seconds of one question from a cold start."""
    counts = graph_at(options.work / f"prolog-{size}.jsonl", size, options.seed, options.workers)
    database, facts = options.work / f"prolog-{size}.sqlite", _facts(options.work, size)
    noted = database.with_suffix(".loaded")
    if not noted.exists():
        noted.write_text(json.dumps(_load(options, database, facts)))
    systems = _systems(counts, options.seed)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        ours = pool.submit(_ask_store, str(database), systems).result()
    ours.load = json.loads(noted.read_text())
    theirs = _ask_prolog(facts, systems, [REFERENCE, INDEXED])
    for rule, found in theirs.found.items():
        assert found == ours.found[REFERENCE][: len(found)], f"{rule} finds something else"
    assert 0 < sum(map(bool, ours.found[REFERENCE])) < ASKED
    program = [sys.executable, "-m", "theriac", "query", "data-poisoning", systems[0], "--mode", "taibom", "--json"]
    ours_cold = _cold([*program, "--store", str(database)])
    program = _command(facts, _questions(facts, systems[:1]), [REFERENCE])
    theirs_cold = None if theirs.stopped else _cold(program)
    return ours, theirs, counts, [ours_cold, theirs_cold]


def _load(options: argparse.Namespace, database: Path, facts: Path) -> list[float]:
    """Takes in the credentials and exports the facts; returns the seconds of the former, clock and processor."""
    database.unlink(missing_ok=True)
    graph = database.with_suffix(".jsonl")
    start, used = time.perf_counter(), sum(os.times()[:4])
    with Store(str(database), write=True) as store:
        take_in(store, graph, options.workers if graph.stat().st_size > 4 << 20 else 0)  # as theriac import does
    seconds = [time.perf_counter() - start, sum(os.times()[:4]) - used]
    with Store(str(database)) as store, store.snapshot() as view, facts.open("w", encoding="ascii") as file:
        file.writelines(line + "\n" for line in to_prolog(view))
    return seconds


def _facts(work: Path, size: int) -> Path:
    return work / f"prolog-{size}.pl"


def _systems(counts: dict[str, int], seed: int) -> list[str]:
    rng = random.Random(seed)
    return [system_id(rng.randrange(counts["systems"])) for _ in range(ASKED)]


def _ask_store(database: str, systems: Sequence[str]) -> Run:
    run = Run()
    with Store(database) as store:
        for system in systems:
            start, used = time.perf_counter(), time.process_time()
            answer = ask(store, "data-poisoning", system, mode="taibom")
            times = [time.perf_counter() - start, time.process_time() - used]
            run.add(REFERENCE, times, [_said(claim.component, claim.details) for claim in answer.attestations])
    status = Path("/proc/self/status").read_text(encoding="ascii")
    run.peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return run


def _said(component: dict[str, str], details: dict[str, Any]) -> list[str]:
    """Returns a claim as the rules do: the hash, the data set, and the details in the order of their names."""
    return [component["hash"].removeprefix("sha256:"), component["id"], *(details[name] for name in sorted(details))]


def _ask_prolog(facts: Path, systems: Sequence[str], rules: Sequence[str]) -> Run:
    run = Run()
    command = _command(facts, _questions(facts, systems), rules)
    done = subprocess.run(command, capture_output=True, check=False, preexec_fn=_limit)
    for line in done.stdout.split(b"\n")[:-1]:
        said = json.loads(line)
        if "rule" in said:
            run.add(said["rule"], said["times"], said["found"])
        elif "load" in said:
            run.load = said["load"]
        else:
            run.peak = said["peak"] * 1024
    if done.returncode:
        doing = f"question {sum(map(len, run.times.values())) + 1}" if run.load else "loading"
        said = " ".join(done.stderr.decode(errors="replace").split())[:200]
        why = f"more than {SECONDS} s of the processor" if done.returncode == -signal.SIGXCPU else said
        run.stopped = f"{doing}: {why}"
    return run


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _command(facts: Path, questions: Path, rules: Iterable[str]) -> list[str]:
    limits = ["--on-error=status", "--no-signals", f"--stack-limit={MEMORY >> 30}g"]
    return [
        "swipl",
        "-q",
        "-f",
        "none",
        *limits,
        "-g",
        "main",
        "-t",
        "halt",
        str(PROGRAM),
        "--",
        str(facts),
        str(questions),
        *rules,
    ]


def _questions(facts: Path, systems: Sequence[str]) -> Path:
    path = facts.with_name(f"systems-{len(systems)}.json")
    path.write_text(json.dumps(systems), encoding="ascii")
    return path


def _cold(command: list[str]) -> float:
    """Returns the median seconds of a process from its start to its end."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=False)
        times.append(time.perf_counter() - start)
        assert done.returncode in (0, 1), done.stderr  # theriac's 1 says that it found something
        assert done.stdout
    return statistics.median(times)


def _copied(facts: Path, copies: int, systems: Sequence[str], expected: list[Found]) -> Run:
    """Asks SWI-Prolog alone, with copies of the facts under other ids beside them."""
    path = facts.with_name("prolog-copies.pl")
    with path.open("w", encoding="ascii") as file:
        for copy in range(copies):
            with facts.open(encoding="ascii") as lines:
                if not copy:
                    file.writelines(lines)
                else:
                    of_facts = (line for line in lines if not line.startswith((":-", "%")))
                    file.writelines(line.replace('"urn:uuid:', f'"urn:copy{copy}:') for line in of_facts)
    run = _ask_prolog(path, systems, [REFERENCE, INDEXED])
    path.unlink()
    assert all(found == expected[: len(found)] for found in run.found.values())
    return run


def _rows(credentials: int, ours: Run | None, theirs: Run) -> list[list[Any]]:
    rows = [] if ours is None else [[credentials, "theriac", *ours.row(REFERENCE)]]
    rows.append([credentials, "SWI-Prolog, rules formed as TAIBOM's", *theirs.row(REFERENCE)])
    rows.append([credentials, "SWI-Prolog, rules formed for its index", *theirs.row(INDEXED)])
    for row in rows:
        print(row, flush=True)
    return rows


def _record(options: argparse.Namespace, asked: list[list[Any]], cold: list[list[Any]], stopped: str) -> None:
    version = subprocess.run(["swipl", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    title = f"The same {ASKED} questions and answers; only theriac checks signatures as it loads"
    recording.write(
        "provenance_prolog",
        f"TAIBOM's poisoning question: theriac's store beside SWI-Prolog {version}",
        seed=options.seed,
        tables=[
            recording.table(title, COLUMNS, asked),
            recording.table("A process started for one question, s", ["credentials", "theriac", "SWI-Prolog"], cold),
            recording.table("Why SWI-Prolog stopped", ["facts", "reason"], [[asked[-1][0], stopped or "it did not"]]),
        ],
        figures={
            "swipl": version,
            "questions": ASKED,
            "warm_up": WARM,
            "workers": options.workers,
            "seconds_limit": SECONDS,
            "memory_limit": MEMORY,
            "asked": [dict(zip(COLUMNS, row, strict=True)) for row in asked],
            "cold": cold,
            "stopped": stopped,
            "machine_load": os.getloadavg(),
        },
    )


if __name__ == "__main__":
    main()
