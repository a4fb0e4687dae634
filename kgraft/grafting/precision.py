"""Which precision the graft computes in: the frozen teacher's copy, and the student's policy."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from keras import layers as kl

from kgraft.errors import KgraftError, keras_reason
from kgraft.grafting.bank import ViewBank
from kgraft.grafting.span import Student, run_teacher
from kgraft.graph import Chain, Graph, closing_calls, frozen_chain

# What rounding of folded weights may come to, of the largest logit; more is another function.
_COPIES_DIFFER = 0.01
_COMPARED = 8
# How much agreement with itself a teacher in bfloat16 may lose and still be taken by `auto`.
_AGREEMENT_LOSS = 0.003
# AMX multiplies bfloat16 several times faster than float32. AVX512-BF16 does twice as fast on AMD's
# processors; on Intel's it shares what float32 has, and steps were measured a quarter slower.
_AMX, _AVX512, _AMD = "amx_bf16", "avx512_bf16", "AuthenticAMD"
# The first generation of GPUs that multiplies bfloat16.
_GPU_GENERATION = 8


@dataclasses.dataclass(frozen=True)
class Compute:
    """What training runs in place of the teacher, and how the student computes.

    Attributes:
        chain: inference copies of the teacher's blocks; the teacher itself is not touched.
        dtype: `float32` or `bfloat16`; weights that train are float32 in both.
        note: why this dtype, for the report.
    """

    chain: Chain
    dtype: str
    note: str


def choose_compute(precision: str, chain: Chain, heldout: ViewBank) -> Compute:
    """Makes the frozen copies of the teacher in the precision asked for.

    Args:
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the device multiplies it and
            the teacher names the same classes in it.
        chain: the teacher; it does not change.
        heldout: views to compare the teacher with itself on.

    Returns:
        The copies.

    Raises:
        KgraftError: `bfloat16` was asked for and a layer cannot compute in it.
        KgraftError: the copies compute something else than the teacher, as where a layer of a
            user's own leaves a setting out of its `get_config`.
    """
    if precision == "auto":
        found = _auto(chain, heldout)
    else:
        found = Compute(_frozen(chain, precision), precision, f"--precision={precision}")
    exact = found.chain if found.dtype == "float32" else _frozen(chain, "float32")
    _check_copies(exact, heldout)
    return found


def _auto(chain: Chain, heldout: ViewBank) -> Compute:
    missing = missing_bfloat16()
    if missing:
        return Compute(_frozen(chain, "float32"), "float32", missing)
    try:
        frozen = _frozen(chain, "bfloat16")
    except KgraftError as error:
        return Compute(_frozen(chain, "float32"), "float32", str(error))
    agreement = _agreement(frozen, heldout)
    note = f"in bfloat16 the teacher agrees with itself on {agreement:.2%} of the held-out views"
    if agreement < 1 - _AGREEMENT_LOSS:
        return Compute(_frozen(chain, "float32"), "float32", note)
    return Compute(frozen, "bfloat16", note)


def _frozen(chain: Chain, dtype: str) -> Chain:
    try:
        return frozen_chain(chain, dtype=dtype)
    except (NotImplementedError, TypeError, ValueError) as error:
        if dtype == "float32":
            raise
        raise KgraftError(
            f"--precision={dtype} needs a teacher whose layers compute in it; give "
            f"--precision=float32 ({keras_reason(error)})"
        ) from None


def _check_copies(frozen: Chain, heldout: ViewBank) -> None:
    views = next(iter(heldout.activation_batches(0)))[:_COMPARED]
    teacher = heldout.logits[: len(views)]
    apart = np.abs(run_teacher(frozen.blocks, tf.constant(views)).numpy() - teacher).max()
    if not apart <= _COPIES_DIFFER * np.abs(teacher).max():
        raise KgraftError(
            f"copies of the teacher's layers put out other logits than the teacher, by {apart:.3g} "
            f"where the largest is {np.abs(teacher).max():.3g}: expected layers whose get_config "
            "has all that they compute by, as each is made again from it"
        )


def _agreement(frozen: Chain, heldout: ViewBank) -> float:
    def classes(entry: tf.Tensor) -> tf.Tensor:
        return tf.argmax(run_teacher(frozen.blocks, entry), -1)

    signature = [tf.TensorSpec([None, *frozen.graph.input_shape[1:]], tf.float32)]
    run = tf.function(classes, input_signature=signature, autograph=False).get_concrete_function()
    found = [run(tf.constant(batch)).numpy() for batch in heldout.activation_batches(0)]
    return float(np.mean(np.concatenate(found) == heldout.logits.argmax(-1)))


def missing_bfloat16() -> str:
    """Says why bfloat16 brings nothing on this machine; empty where it does."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        generations = [found.get("compute_capability", (0, 0))[0] for found in details]
        if min(generations) >= _GPU_GENERATION:
            return ""
        return f"a GPU has compute capability {min(generations)}, below {_GPU_GENERATION}"
    words = _processor()
    if _AMX in words or {_AVX512, _AMD} <= words:
        return ""
    if _AVX512 in words:
        return f"{_AVX512} without {_AMX} is no faster than float32 on this processor"
    return f"the processor has none of {_AMX}, {_AVX512}"


def _processor() -> frozenset[str]:
    """Reads vendor and instruction flags of the first processor; empty where they are not told."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    lines = text.partition("\n\n")[0].splitlines()
    told = [line.partition(":")[2] for line in lines if line.startswith(("flags", "vendor_id"))]
    return frozenset(" ".join(told).split())


def check_xla(xla: bool) -> None:
    """Refuses XLA where there is no GPU.

    Args:
        xla: whether it was asked for.

    Raises:
        KgraftError: it was, and there is none.
    """
    if xla and not tf.config.list_physical_devices("GPU"):
        raise KgraftError(
            "--xla is for GPUs, and this machine has none that TensorFlow can use: on a CPU it "
            "makes steps about 30 times slower; leave it out"
        )


@contextlib.contextmanager
def student_computes_in(student: Student, dtype: str) -> Iterator[None]:
    """Lets the layers of replaced blocks compute in a precision while something is traced.

    Weights stay float32, and so does the layer that makes the logits. The layers' own policies
    are put back.

    Args:
        student: blocks of the student; kept ones are left alone.
        dtype: `float32` changes nothing; `bfloat16`.
    """
    if dtype == "float32":
        yield
        return
    before = [(layer, layer.dtype_policy) for layer in _span_layers(student)]
    try:
        for layer, _ in before:
            layer.dtype_policy = f"mixed_{dtype}"
        yield
    finally:
        for layer, policy in before:
            layer.dtype_policy = policy


def _span_layers(student: Student) -> list[kl.Layer]:
    parts = [part for block in student if not block.kept for part in block.pieces]
    return [layer for part in parts for layer in part.layers if not _makes_logits(part, layer)]


def _makes_logits(part: Graph, layer: kl.Layer) -> bool:
    made = closing_calls(part) if len(part.output_shape) == 2 else ()
    return any(call.op is layer for call in made)
