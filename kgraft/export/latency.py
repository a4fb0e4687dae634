"""Milliseconds for one image, on the machine the run happens on: in LiteRT, or in ONNX Runtime."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kgraft.errors import KgraftError, one_line
from kgraft.export.onnx_file import is_onnx, open_session
from kgraft.export.records import Timing
from kgraft.export.runner import open_interpreter, quantize

_BURST = 5
_WARM_UP = 3


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
        KgraftError: a file's runtime cannot run it.
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
        models: name to path of a `.tflite` or `.onnx` file, or a `.tflite` file itself.
        threads: threads one run may use.
        runs: how many runs of each file are timed, if they fit in the time.
        seconds: time per file after which no further round of runs starts.

    Returns:
        Name to times, in the order given.

    Raises:
        KgraftError: a file's runtime cannot run it.
    """
    runners = {name: ready_run(model, threads=threads) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    end = time.perf_counter() + seconds * len(models)
    for _ in range(max(1, -(-runs // _BURST))):
        for name, run in runners.items():
            # The first run of a burst finds the caches full of another model.
            times[name] += _timed_runs(run, _BURST + 1)[1:]
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


def ready_run(model: str | Path | bytes, *, threads: int = 1) -> Callable[[], object]:
    """Opens a file and returns one run of it at batch 1, warm.

    Args:
        model: path of a `.tflite` or `.onnx` file, or a `.tflite` file itself.
        threads: threads one run may use.

    Raises:
        KgraftError: the file's runtime cannot run it.
    """
    run = _onnx_run(model, threads) if is_onnx(model) else _litert_run(model, threads)
    _timed_runs(run, _WARM_UP)
    return run


def _litert_run(model: str | Path | bytes, threads: int) -> Callable[[], object]:
    interpreter = open_interpreter(model, threads=threads)
    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], quantize(_noise(details["shape"]), details))
    return interpreter.invoke


def _onnx_run(path: str | Path, threads: int) -> Callable[[], object]:
    session = open_session(path, threads=threads)
    ends = session.get_inputs()
    if [end.type for end in ends] != ["tensor(float)"]:
        takes = ", ".join(end.type for end in ends) or "nothing"
        raise KgraftError(f"{path} must take one tensor(float), an image; it takes {takes}")
    # An open batch has a name in place of a number.
    shape = [size if isinstance(size, int) else 1 for size in ends[0].shape]
    image = {ends[0].name: np.float32(_noise(shape))}
    try:
        session.run(None, image)
    except Exception as error:  # the runtime's error classes are not public
        reason = one_line(error)
        raise KgraftError(f"{path} does not run on an image {shape}: {reason}") from error
    return lambda: session.run(None, image)


def _noise(shape: Sequence[int]) -> np.ndarray:
    # Noise rather than zeros: denormal and all-zero values can run at another speed.
    return np.random.default_rng(0).uniform(0, 1, shape)


def _timed_runs(run: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times
