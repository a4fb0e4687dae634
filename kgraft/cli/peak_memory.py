"""A process of its own that runs one file, to say how much memory that takes."""

import json
import resource
import sys

_RUNS = 10


def main() -> None:
    """Runs the `.tflite` or `.onnx` file of the command line ten times and prints JSON.

    `mb` is by how many MiB loading and running it raised the peak of this process, which has
    loaded the runtime and nothing else.
    """
    path, threads = sys.argv[1], int(sys.argv[2])
    before = (_run_onnx if path.endswith(".onnx") else _run_tflite)(path, threads)
    print(json.dumps({"mb": _peak_mb() - before}))


def _run_tflite(path: str, threads: int) -> float:
    """Runs a file; returns what was in use before it was opened."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    before = _start()
    interpreter = Interpreter(path, num_threads=threads)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    for _ in range(_RUNS):
        interpreter.invoke()
    return before


def _run_onnx(path: str, threads: int) -> float:
    """Runs a file; returns what was in use before it was opened."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    before = _start()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # An open batch has a name in place of a number.
    images = {
        end.name: np.zeros([n if isinstance(n, int) else 1 for n in end.shape], np.float32)
        for end in session.get_inputs()
    }
    for _ in range(_RUNS):
        session.run(None, images)
    return before


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
