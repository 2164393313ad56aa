"""Processes that hash small files: threads would only wait for the interpreter's lock.

A helper is a Python process of its own, started without a shell, that is given the handle of the folder and lines of
JSON, and answers with lines of JSON. It ends with its standard input, so none outlives who started it.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from queue import SimpleQueue

from theriac.errors import UserError
from theriac.manifest.walking import Found, Top


class Helpers:
    """Helper processes for one folder, started when they are first needed. Use it as a context manager.

    Args:
        top: The folder.
        count: How many there may be; as many threads may ask at a time.
    """

    def __init__(self, top: Top, count: int) -> None:
        self._top = top
        self._free: SimpleQueue[_Helper | None] = SimpleQueue()
        self._all: list[_Helper] = []
        for _ in range(count):
            self._free.put(None)

    def __enter__(self) -> "Helpers":
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._all:
            helper.end()

    def digests(self, batch: Sequence[Found]) -> list[str] | None:
        """Returns the digests of files in one folder, or None if no helper can be started or it was ended.

        Raises:
            UserError: As hashing them here would.
        """
        helper = self._free.get()
        try:
            if helper is None:
                helper = _Helper(self._top)
                self._all.append(helper)
            return helper.ask(batch)
        except (OSError, ValueError):  # cannot be started, or was killed
            return None
        finally:
            self._free.put(helper)


class _Helper:
    def __init__(self, top: Top) -> None:
        handle = top.fileno()
        # -P: nothing is imported from the folder that we happen to be in, which may be the one that is looked at
        command = [sys.executable, "-P", "-m", "theriac.manifest.helping", str(handle), str(top.path)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(handle,)
        )

    def ask(self, batch: Sequence[Found]) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(batch).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if isinstance(answer, dict):
            raise UserError(answer["what"], where=answer["where"], do=answer["do"])
        return [str(digest) for digest in answer]

    def end(self) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._process.wait()


def main() -> None:
    """Answers what comes on standard input until it ends."""
    from theriac.manifest.working import digests_of

    with Top.inherited(int(sys.argv[1]), sys.argv[2]) as top:
        for line in sys.stdin.buffer:
            batch = [
                Found(path, folder, name, size, tuple(state)) for path, folder, name, size, state in json.loads(line)
            ]
            answer: list[str] | dict[str, str | None]
            try:
                answer = digests_of(top, batch)
            except UserError as error:
                answer = {"what": error.what, "where": str(error.where), "do": error.do}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
