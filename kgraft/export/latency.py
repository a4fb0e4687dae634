"""Milliseconds for one image in LiteRT, on the machine the run happens on."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kgraft.export.records import Timing
from kgraft.export.runner import open_interpreter, quantize

_BURST = 5
_WARM_UP = 3


def measure_latency(
    model: str | Path | bytes, *, threads: int = 1, runs: int = 50, seconds: float = 4.0
) -> float:
    """Measures the median time of one run at batch 1.

    Args:
        model: path of a `.tflite` file, or the file itself.
        threads: threads one run may use; the report's figures use one.
        runs: how many runs are timed, if they fit in the time.
        seconds: no further run starts after this long; at least one burst of runs is timed.

    Returns:
        Milliseconds.

    Raises:
        KgraftError: LiteRT cannot run the file.
    """
    return measure_latencies({"": model}, threads=threads, runs=runs, seconds=seconds)[""]


def measure_latencies(
    models: Mapping[str, str | Path | bytes],
    *,
    threads: int = 1,
    runs: int = 50,
    seconds: float = 4.0,
) -> dict[str, float]:
    """Measures the median time of several files.

    Args:
        models: as for `measure_timings`, as are the others.
        threads: threads one run may use.
        runs: how many runs of each file are timed, if they fit in the time.
        seconds: time per file after which no further round of runs starts.

    Returns:
        Name to median milliseconds, in the order given.

    Raises:
        KgraftError: LiteRT cannot run one of the files.
    """
    timings = measure_timings(models, threads=threads, runs=runs, seconds=seconds)
    return {name: timing.typical_ms for name, timing in timings.items()}


def measure_timings(
    models: Mapping[str, str | Path | bytes],
    *,
    threads: int = 1,
    runs: int = 50,
    seconds: float = 4.0,
) -> dict[str, Timing]:
    """Measures several files in turns, so that a busy moment of the machine meets all of them.

    Args:
        models: name to path of a `.tflite` file, or the file itself.
        threads: threads one run may use.
        runs: how many runs of each file are timed, if they fit in the time.
        seconds: time per file after which no further round of runs starts.

    Returns:
        Name to times, in the order given.

    Raises:
        KgraftError: LiteRT cannot run one of the files.
    """
    interpreters = {name: _ready(model, threads) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    end = time.perf_counter() + seconds * len(models)
    for _ in range(max(1, -(-runs // _BURST))):
        for name, interpreter in interpreters.items():
            # The first run of a burst finds the caches full of another model.
            times[name] += _timed_runs(interpreter, _BURST + 1)[1:]
        if time.perf_counter() > end:
            break
    return {name: _timing(taken, threads) for name, taken in times.items()}


def _timing(seconds: list[float], threads: int) -> Timing:
    taken = 1000 * np.array(seconds)
    return Timing(
        threads=threads,
        median_ms=float(np.median(taken)),
        p95_ms=float(np.percentile(taken, 95)),
        mean_ms=float(taken.mean()),
        runs=len(taken),
    )


def _ready(model: str | Path | bytes, threads: int) -> Interpreter:
    interpreter = open_interpreter(model, threads=threads)
    details = interpreter.get_input_details()[0]
    # Noise rather than zeros: denormal and all-zero values can run at another speed.
    noise = np.random.default_rng(0).uniform(0, 1, details["shape"])
    interpreter.set_tensor(details["index"], quantize(noise, details))
    _timed_runs(interpreter, _WARM_UP)
    return interpreter


def _timed_runs(interpreter: Interpreter, count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    return times
