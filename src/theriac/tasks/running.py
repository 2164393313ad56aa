"""Running a benchmark's work: in this process, in several on this machine, or on Ray."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from theriac.errors import UserError
from theriac.run.progress import Progress, silent, span
from theriac.tasks.benchmark import Pair, failed, run_pair
from theriac.tasks.results import Result


def run_here(pairs: Sequence[Pair], progress: Progress = silent) -> Iterator[Result]:
    """Yields each result as soon as it is known."""
    for done, pair in enumerate(pairs):
        share = span(progress, done / len(pairs), (done + 1) / len(pairs))
        step = f"{pair.task} {pair.seed}"
        yield from run_pair(pair, lambda part, what, share=share, step=step: share(part, f"{step}: {what}"))  # type: ignore[misc]


def run_in_processes(pairs: Sequence[Pair], workers: int, progress: Progress = silent) -> Iterator[Result]:
    """Yields the results of each task and seed when all of them are known, from ``workers`` processes.

    A process that dies, out of memory for instance, costs its own results and those that it kept from being measured.
    """
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        work = {pool.submit(run_whole, pair): pair for pair in pairs}
        for done, future in enumerate(as_completed(work)):
            progress(done / len(pairs), f"{work[future].task} {work[future].seed}")
            try:
                yield from future.result()
            except BrokenProcessPool:
                lost = UserError("the process that measured it died", do="use fewer --workers, then run the same again")
                yield from (failed(work[future], contender, lost) for contender in work[future].detectors)


def run_on_ray(pairs: Sequence[Pair], progress: Progress = silent) -> Iterator[Result]:
    """Yields the results of each task and seed when all of them are known, from wherever Ray runs them.

    The cluster is the one that ``RAY_ADDRESS`` names, else one on this machine. Tasks are made below the same path on
    every node: a shared file system keeps one from being made twice.

    Raises:
        UserError: If Ray cannot be imported.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(f"cannot import Ray ({error})", where="--ray", do="pip install 'theriac[ray]'") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
    try:
        cuda = any(pair.device.startswith("cuda") for pair in pairs)
        remote = ray.remote(num_cpus=1, num_gpus=1 if cuda else 0, max_retries=1)(run_whole)
        work = {remote.remote(pair): pair for pair in pairs}
        left = list(work)
        while left:
            [ready], left = ray.wait(left, num_returns=1)
            pair = work[ready]
            progress(1 - (len(left) + 1) / len(pairs), f"{pair.task} {pair.seed}")
            try:
                yield from ray.get(ready)
            except ray.exceptions.RayError as error:
                yield from (failed(pair, contender, error) for contender in pair.detectors)
    finally:
        ray.shutdown()


def run_whole(pair: Pair) -> list[Result]:
    """Returns all results of ``pair``."""
    return list(run_pair(pair))


def _one_thread() -> None:
    os.environ["THERIAC_THREADS"] = "1"  # the processes share the cores
