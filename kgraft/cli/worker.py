"""One of the processes of `--side_by_side`: a run whose settings come from its parent."""

import os
import pickle
import sys
import threading
from typing import Any, NoReturn

from kgraft.cli import entry
from kgraft.config import RunConfig


def main() -> NoReturn:
    """Runs the settings on stdin, one pickled `RunConfig` in hex on a line, while stdin is open.

    Raises:
        SystemExit: always, with the exit code of the run.
    """
    config = pickle.loads(bytes.fromhex(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    entry.finish("kgraft-distill", lambda: _distill(config))


def _end_with_parent() -> None:
    """The parent never writes again, so that what comes next is the end of the pipe."""
    sys.stdin.read()
    os._exit(entry.EXIT_INTERRUPTED)


def _distill(config: RunConfig) -> Any:
    entry.load_tensorflow(quiet=True)
    from kgraft import api
    from kgraft.pipeline.stopwatch import Stopwatch

    return api.run(config, Stopwatch())


if __name__ == "__main__":
    main()
