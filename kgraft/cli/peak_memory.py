"""A process of its own that runs one file in LiteRT, to say how much memory that takes."""

import json
import resource
import sys


def main() -> None:
    """Runs the `.tflite` file of the command line ten times and prints JSON.

    `mb` is by how many MiB loading and running it raised the peak of this process, which has
    loaded the runtime and nothing else.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    path, threads = sys.argv[1], int(sys.argv[2])
    before = _start()
    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    for _ in range(10):
        interpreter.invoke()
    print(json.dumps({"mb": _peak_mb() - before}))


def _start() -> float:
    """Forgets the peak of the imports, where the system can, and returns what is in use."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass
    return _peak_mb()


def _peak_mb() -> float:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = [line.split() for line in file]
        return next(float(line[1]) / 2**10 for line in lines if line[0] == "VmHWM:")
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts in KiB, macOS in bytes.
        return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    main()
