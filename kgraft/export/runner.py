"""Runs a `.tflite` file in LiteRT as if it were a function from images to logits."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kgraft.errors import KgraftError, one_line
from kgraft.export.quiet import quiet_stderr


def load_interpreter(model: str | Path | bytes, *, threads: int = 1) -> Interpreter:
    """Reads a `.tflite` file and checks that it is whole, without preparing it to run.

    Args:
        model: path of the file, or the file itself.
        threads: threads that one run may use.

    Returns:
        An interpreter without allocated tensors.

    Raises:
        KgraftError: the file is missing.
        KgraftError: it is not a TFLite file, or not a whole one.
    """
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise KgraftError(f"no TFLite file at {model}")
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    try:
        with quiet_stderr():
            return Interpreter(**source, num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise KgraftError(f"{_shown(model)} is not a TFLite file: {one_line(error)}") from error


def open_interpreter(model: str | Path | bytes, *, threads: int = 1) -> Interpreter:
    """Opens a `.tflite` file, ready to run.

    Args:
        model: path of the file, or the file itself.
        threads: threads that one run may use.

    Returns:
        An interpreter with its tensors allocated.

    Raises:
        KgraftError: as for `load_interpreter`.
        KgraftError: the file has ops that LiteRT cannot run.
    """
    interpreter = load_interpreter(model, threads=threads)
    try:
        with quiet_stderr():
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise KgraftError(f"LiteRT cannot run {_shown(model)}: {one_line(error)}") from error
    return interpreter


# How many images run side by side where there are many. Each has an interpreter of its own, which
# packs the weights once more.
SIDE_BY_SIDE = min(8, os.cpu_count() or 1)


class TFLiteRunner:
    """A `.tflite` file as a callable.

    Images run one at a time, as on a device, spread over `threads` interpreters of one thread each:
    the logits do not depend on how many there are. A quantised input or output is converted from
    and to float as the file says.

    Attributes:
        classes: how many logits the file gives.
    """

    def __init__(self, path: str | Path | bytes, threads: int = 1):
        """Opens the file.

        Args:
            path: path of the file, or the file itself.
            threads: how many images run side by side.

        Raises:
            KgraftError: as for `open_interpreter`.
        """
        self._interpreters = [open_interpreter(path) for _ in range(max(1, threads))]
        self._input = self._interpreters[0].get_input_details()[0]
        self._output = self._interpreters[0].get_output_details()[0]
        self.classes = int(self._output["shape"][-1])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of some images.

        Args:
            images: `[n, height, width, channels]`, preprocessed as the student expects.

        Returns:
            Float32 logits `[n, classes]`.

        Raises:
            KgraftError: the images have another shape than the file takes, or it does not run.
        """
        wanted = tuple(int(size) for size in self._input["shape"][1:])
        if images.shape[1:] != wanted:
            raise KgraftError(f"the file takes images of {wanted}; got {images.shape[1:]}")
        logits = np.empty((len(images), self.classes), np.float32)
        workers = len(self._interpreters)
        if workers == 1:
            self._fill(0, images, logits)
            return logits
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda worker: self._fill(worker, images, logits), range(workers)))
        return logits

    def together(self, images: np.ndarray) -> np.ndarray:
        """Computes the logits of some images in one run, which takes a file of any batch.

        Args:
            images: `[n, height, width, channels]`, as the file takes them.

        Returns:
            Float32 logits `[n, classes]`.

        Raises:
            KgraftError: the file does not take several images at once.
        """
        interpreter = self._interpreters[0]
        try:
            with quiet_stderr():
                interpreter.resize_tensor_input(self._input["index"], images.shape, strict=True)
                interpreter.allocate_tensors()
                interpreter.set_tensor(self._input["index"], quantize(images, self._input))
                interpreter.invoke()
            return dequantize(interpreter.get_tensor(self._output["index"]), self._output)
        except (ValueError, RuntimeError) as error:
            raise KgraftError(
                f"does not take {len(images)} images at once: {one_line(error)}"
            ) from error
        finally:
            with quiet_stderr():
                interpreter.resize_tensor_input(self._input["index"], (1, *images.shape[1:]))
                interpreter.allocate_tensors()

    def _fill(self, worker: int, images: np.ndarray, logits: np.ndarray) -> None:
        interpreter = self._interpreters[worker]
        for position in range(worker, len(images), len(self._interpreters)):
            image = quantize(images[position : position + 1], self._input)
            try:
                interpreter.set_tensor(self._input["index"], image)
                interpreter.invoke()
            except (ValueError, RuntimeError) as error:
                raise KgraftError(f"does not run: {one_line(error)}") from error
            result = interpreter.get_tensor(self._output["index"])
            logits[position] = dequantize(result, self._output)[0]


def quantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Turns real values into what a tensor of a `.tflite` file holds.

    Args:
        values: any shape, float or integer.
        details: the tensor's details as the interpreter gives them.

    Returns:
        The same shape in the tensor's type: `round(values / scale) + zero_point`, saturated, where
        it is quantised.
    """
    dtype, (scale, zero_point) = details["dtype"], details["quantization"]
    if not np.issubdtype(dtype, np.integer) or scale == 0:
        return np.asarray(values, dtype)
    limits = np.iinfo(dtype)
    steps = np.round(np.asarray(values, np.float32) / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Turns what a tensor of a `.tflite` file holds into real values.

    Args:
        values: any shape, in the tensor's type.
        details: the tensor's details as the interpreter gives them.

    Returns:
        Float32 of the same shape: `(values - zero_point) * scale` where it is quantised.
    """
    scale, zero_point = details["quantization"]
    real = np.asarray(values, np.float32)
    if not np.issubdtype(details["dtype"], np.integer) or scale == 0:
        return real
    return (real - zero_point) * np.float32(scale)


def _shown(model: str | Path | bytes) -> str:
    return "the model" if isinstance(model, bytes) else str(model)
