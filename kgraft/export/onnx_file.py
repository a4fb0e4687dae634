"""ONNX, an optional extra: the student as a graph of standard ops, converted, run and verified."""

import collections
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeGuard

import keras
import numpy as np

from kgraft.errors import KgraftError, one_line
from kgraft.export.convert import serving
from kgraft.export.guards import Shape
from kgraft.export.judge import Demands, Reference, check_together, judge
from kgraft.export.names import INPUT_NAME, OUTPUT_NAME
from kgraft.export.quiet import quiet_stderr
from kgraft.export.records import DeviceInput, Verification

# Old enough for the runtimes of phones and browsers; all that a student needs is in it.
_OPSET = 15
_BATCH = "batch"
_SUFFIX = ".onnx"
_PACKAGES = ("tf2onnx", "onnx", "onnxruntime")


def check_onnx() -> None:
    """Checks that the converter and the runtime are there.

    Raises:
        KgraftError: one of them is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise KgraftError(
            f"--formats=onnx needs {', '.join(_PACKAGES[:-1])} and {_PACKAGES[-1]}, which are not "
            "all installed: in a checkout of kgraft pip install '.[onnx]', or leave it out"
        ) from error


def onnx_bytes(model: keras.Model, shape: Shape, takes: DeviceInput | None = None) -> bytes:
    """Converts a model to an ONNX file, `image` to `logits`, in float32.

    The ends are those of the other files: images are `[batch, height, width, channels]`.

    Args:
        model: functional classifier, `[batch, height, width, channels]` to `[batch, classes]`; it
            is copied, not changed.
        shape: `(height, width, channels)` of an image.
        takes: what is done inside and how many images it takes; None for nothing and one.

    Returns:
        The file.

    Raises:
        KgraftError: a package of the extra is not installed.
        KgraftError: the model has an op that the standard does not cover.
    """
    check_onnx()
    import tf2onnx

    serve, signature = serving(model, shape, takes or DeviceInput())
    try:
        with quiet_stderr():
            made, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=_OPSET)
    except Exception as error:  # what the converter raises depends on where it gives up
        reason = one_line(error)
        raise KgraftError(f"does not convert to ONNX: {reason}") from error
    # The converter leaves an op that it has none for as it is.
    strange = _strange_ops(made)
    if strange:
        ops = ", ".join(strange)
        raise KgraftError(f"does not convert to ONNX: the standard has no op for {ops}")
    _name_batch(made)
    return made.SerializeToString()


def _name_batch(proto: Any) -> None:
    """Calls an open batch so, where the converter counts its unknown sizes."""
    for end in (*proto.graph.input, *proto.graph.output):
        size = end.type.tensor_type.shape.dim[0]
        if size.dim_param:
            size.dim_param = _BATCH


def is_onnx(model: str | Path | bytes) -> TypeGuard[str | Path]:
    """Whether a model is an ONNX file, by its name; contents are those of TFLite files."""
    return not isinstance(model, bytes) and Path(model).suffix == _SUFFIX


def open_session(path: str | Path, *, threads: int = 1) -> Any:
    """Opens an ONNX file in ONNX Runtime, on the CPU.

    Args:
        path: path of the file.
        threads: threads that one run may use.

    Raises:
        KgraftError: onnxruntime is not installed.
        KgraftError: there is no such file, or ONNX Runtime cannot run it.
    """
    if not Path(path).is_file():
        raise KgraftError(f"no ONNX file at {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise KgraftError(
            f"{path} needs onnxruntime, which is not installed: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Idle threads that spin on would take their cores from whatever runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        with quiet_stderr():
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # the runtime's error classes are not public
        raise KgraftError(f"ONNX Runtime cannot run {path}: {one_line(error)}") from error


class OnnxRunner:
    """An ONNX file as a function from images to logits, in ONNX Runtime.

    Images run one at a time, as on a device, `threads` of them side by side.

    Attributes:
        static: whether the shapes of both ends are fixed, the batch aside.
        open_batch: whether the file takes any number of images.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        """Opens the file.

        Args:
            path: path of the file.
            threads: how many images run side by side.

        Raises:
            KgraftError: as for `open_session`.
        """
        self._session = open_session(path)
        self._threads = max(1, threads)
        shapes = [end.shape for end in (*self._session.get_inputs(), *self._session.get_outputs())]
        self.static = all(isinstance(size, int) for shape in shapes for size in shape[1:])
        self.open_batch = not all(isinstance(shape[0], int) for shape in shapes)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of some images.

        Args:
            images: `[n, height, width, channels]`, as the file takes them.

        Returns:
            Float32 logits `[n, classes]`.

        Raises:
            KgraftError: the file does not run on them.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            return np.concatenate(list(pool.map(self.together, np.split(images, len(images)))))

    def together(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of some images in one run, which takes a file of any batch.

        Args:
            images: `[n, height, width, channels]`, as the file takes them.

        Returns:
            Float32 logits `[n, classes]`.

        Raises:
            KgraftError: the file does not run on them.
        """
        try:
            (found,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: np.float32(images)})
        except Exception as error:  # the runtime's error classes are not public
            raise KgraftError(
                f"does not run on images {images.shape}: {one_line(error)}"
            ) from error
        return found


def verify_onnx(
    path: str | Path, reference: Reference, demands: Demands, *, threads: int = 1
) -> Verification:
    """Compares an ONNX file with the Keras student, in ONNX Runtime.

    Args:
        path: the file.
        reference: the student's answers.
        demands: what the file must keep to.
        threads: how many images run side by side.

    Returns:
        The comparison; `ok` is False, with `why`, where the file does not run, has ops that are not
        of the standard, leaves a shape open, or differs or disagrees too much.
    """
    path, found, faults = Path(path), None, []
    ops: dict[str, int] = {}
    strange: list[str] = []
    static = False
    try:
        runner = OnnxRunner(path, threads)
        ops, strange = _ops(path)
        static = runner.static and not runner.open_batch
        if strange:
            faults.append(f"has ops that are not of the ONNX standard: {', '.join(strange)}")
        if not static and not (demands.dynamic_batch and runner.static):
            faults.append("leaves a tensor's shape open")
        found = runner(reference.given)
        if demands.dynamic_batch:
            check_together(runner, reference, demands)
    except KgraftError as error:
        faults.append(str(error))
    judged = judge(path.name, reference, found, demands, faults=faults)
    return dataclasses.replace(judged, ops=ops, static=static, builtin_only=not strange)


def _ops(path: Path) -> tuple[dict[str, int], list[str]]:
    """How often each op occurs, and the names of those that are not of the standard."""
    import onnx

    proto = onnx.load(str(path))
    counted = collections.Counter(node.op_type for node in proto.graph.node)
    return dict(sorted(counted.items())), _strange_ops(proto)


def _strange_ops(proto: Any) -> list[str]:
    from onnx import defs

    nodes = proto.graph.node
    return sorted({node.op_type for node in nodes if not defs.has(node.op_type, node.domain)})
