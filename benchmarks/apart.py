"""A variant in a process of its own, so that two libraries' threads do not meet.

Run as `python -m benchmarks.apart` by `Apart`; the two talk in lines of JSON.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any

from kgraft.errors import KgraftError


class Apart:
    """A function that lives in another process and is called there; it idles between calls."""

    def __init__(self, make: str, **settings: Any) -> None:
        """Starts the process and makes the function in it.

        Args:
            make: what makes it, as `module:name`.
            **settings: arguments of `make`, plain values.

        Raises:
            KgraftError: it could not be made there; the reason is named.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.apart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._ask({"make": make, "settings": settings})
        except KgraftError:
            self._end()
            raise

    def __call__(self, **arguments: Any) -> Any:
        """Calls the function.

        Args:
            **arguments: its arguments, plain values.

        Returns:
            What it returns.

        Raises:
            KgraftError: the call failed there; the reason is named.
        """
        return self._ask(arguments)

    def __enter__(self) -> "Apart":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        # At the end of its input the other process is done.
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _ask(self, question: Any) -> Any:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None and pipe_out is not None
        try:
            pipe_in.write(json.dumps(question) + "\n")
            pipe_in.flush()
            answer = json.loads(pipe_out.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise KgraftError("expected an answer of a benchmark's process; it has died") from error
        if "error" in answer:
            raise KgraftError(answer["error"])
        return answer["value"]


def serve() -> None:
    """Answers the lines of standard input until it ends."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run: Any = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if run is None:
                module, _, name = question["make"].partition(":")
                run = getattr(importlib.import_module(module), name)(**question["settings"])
                answer: dict[str, Any] = {"value": None}
            else:
                answer = {"value": run(**question)}
        except Exception as error:
            answer = {"error": _one_line(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, KgraftError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    serve()
