"""What a `.tflite` file is made of, read without running it, and written again."""

import collections
import dataclasses
import math

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BUILTIN_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
# What kernels for microcontrollers expect of weights, and the schema asks for.
_ALIGNMENT = 16
_BYTES = {
    schema.TensorType.INT8: 1,
    schema.TensorType.UINT8: 1,
    schema.TensorType.BOOL: 1,
    schema.TensorType.INT16: 2,
    schema.TensorType.FLOAT16: 2,
    schema.TensorType.INT64: 8,
    schema.TensorType.FLOAT64: 8,
}
_FLOAT_TYPES = frozenset({
    schema.TensorType.FLOAT16,
    schema.TensorType.FLOAT32,
    schema.TensorType.FLOAT64,
    schema.TensorType.BFLOAT16,
})


@dataclasses.dataclass(frozen=True)
class TFLiteContents:
    """What a `.tflite` file is made of.

    Attributes:
        ops: how often each op occurs; custom and flex ops under their own name.
        custom_ops: names of the ops that are not TFLite's own, sorted.
        static: whether every tensor has a fixed shape.
        open_batch: whether nothing is open but the first dimension of tensors.
        float_tensors: how many tensors are floating-point.
    """

    ops: dict[str, int]
    custom_ops: tuple[str, ...]
    static: bool
    open_batch: bool
    float_tensors: int


@dataclasses.dataclass(frozen=True)
class Op:
    """One op of a file's main graph.

    Attributes:
        name: name of the tensor it makes.
        op: TFLite's name of what it does.
        inputs: numbers of the tensors it reads; -1 for one that is left out.
        output: number of the tensor it makes.
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    output: int


def read_ops(data: bytes) -> tuple[tuple[Op, ...], frozenset[int]]:
    """Reads the ops of a `.tflite` file in the order they run.

    Args:
        data: a whole file that an interpreter has accepted.

    Returns:
        The ops of its main graph that make one tensor, and the numbers of the tensors that the file
        holds as constants.
    """
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    ops = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        if op.OutputsLength() == 1:
            output = op.Outputs(0)
            name = (graph.Tensors(output).Name() or b"").decode(errors="replace")
            code = _op_name(model.OperatorCodes(op.OpcodeIndex()))[0]
            inputs = tuple(op.Inputs(j) for j in range(op.InputsLength()))
            ops.append(Op(name, code, inputs, output))
    tensors = range(graph.TensorsLength())
    held = [model.Buffers(graph.Tensors(i).Buffer()).DataLength() for i in tensors]
    return tuple(ops), frozenset(i for i in tensors if held[i])


def read_contents(data: bytes) -> TFLiteContents:
    """Counts the ops and tensors of a `.tflite` file.

    Args:
        data: a whole file that an interpreter has accepted; the schema code reads without checks.

    Returns:
        Its contents, all subgraphs together.
    """
    model = schema.Model.GetRootAs(data, 0)
    codes = [_op_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    tensors = [graph.Tensors(i) for graph in graphs for i in range(graph.TensorsLength())]
    ops = collections.Counter(
        codes[graph.Operators(i).OpcodeIndex()][0]
        for graph in graphs
        for i in range(graph.OperatorsLength())
    )
    return TFLiteContents(
        ops=dict(sorted(ops.items())),
        custom_ops=tuple(sorted(name for name, custom in codes if custom)),
        static=not any(_open_dimensions(tensor) for tensor in tensors),
        open_batch=not any(_open_dimensions(tensor) - {0} for tensor in tensors),
        float_tensors=sum(tensor.Type() in _FLOAT_TYPES for tensor in tensors),
    )


def least_arena(data: bytes) -> int:
    """Computes the memory that activations need at the very least on a microcontroller.

    Args:
        data: a whole file of fixed shapes that an interpreter has accepted.

    Returns:
        Bytes of the tensors that the hungriest op reads and writes. What else an op needs, and how
        well tensors can be laid out, only the device knows.
    """
    ops, constants = read_ops(data)
    graph = schema.Model.GetRootAs(data, 0).Subgraphs(0)

    def size(number: int) -> int:
        tensor = graph.Tensors(number)
        shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
        return math.prod(shape) * _BYTES.get(tensor.Type(), 4)

    touched = [{*op.inputs, op.output} - constants - {-1} for op in ops]
    return max((sum(map(size, numbers)) for numbers in touched), default=0)


def pack_model(model: schema.ModelT, file: bytes) -> bytes:
    """Writes a changed model as a `.tflite` file.

    Args:
        model: the file's contents as objects; its buffers are replaced.
        file: the file that it was read from.
    """
    model.buffers = [_AlignedBuffer(buffer, file) for buffer in model.buffers]
    builder = flatbuffers.Builder(len(file) + 2**16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _AlignedBuffer(schema.BufferT):
    """A buffer that is written where the schema wants it; the generated code aligns to one byte."""

    def __init__(self, buffer: schema.BufferT, file: bytes):
        super().__init__(data=buffer.data)
        if buffer.offset > 1:
            # ai-edge-quantizer may put it behind the flatbuffer, which ends elsewhere from now on.
            self.data = np.frombuffer(file, "u1", buffer.size, buffer.offset)

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        """Writes the buffer and returns its place."""
        place = None
        if self.data is not None:
            data = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(data), _ALIGNMENT)
            builder.head = builder.Head() - len(data)
            builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
            place = builder.EndVector()
        schema.BufferStart(builder)
        if place is not None:
            schema.BufferAddData(builder, place)
        return schema.BufferEnd(builder)


def _op_name(code: schema.OperatorCode) -> tuple[str, bool]:
    # Files from before the 128th op hold the number in the deprecated byte only.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return (code.CustomCode() or b"CUSTOM").decode(errors="replace"), True
    return _BUILTIN_NAMES.get(number, f"BUILTIN_{number}"), False


def _open_dimensions(tensor: schema.Tensor) -> set[int]:
    count = tensor.ShapeSignatureLength()
    return {i for i in range(count) if tensor.ShapeSignature(i) < 0}
