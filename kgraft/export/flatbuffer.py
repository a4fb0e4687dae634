"""Reads from a `.tflite` file what it is made of, without running it."""

import collections
import dataclasses

from ai_edge_litert import schema_py_generated as schema

_BUILTIN_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
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
        float_tensors: how many tensors are floating-point.
    """

    ops: dict[str, int]
    custom_ops: tuple[str, ...]
    static: bool
    float_tensors: int


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
        static=not any(_open_shape(tensor) for tensor in tensors),
        float_tensors=sum(tensor.Type() in _FLOAT_TYPES for tensor in tensors),
    )


def _op_name(code: schema.OperatorCode) -> tuple[str, bool]:
    # Files from before the 128th op hold the number in the deprecated byte only.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return (code.CustomCode() or b"CUSTOM").decode(errors="replace"), True
    return _BUILTIN_NAMES.get(number, f"BUILTIN_{number}"), False


def _open_shape(tensor: schema.Tensor) -> bool:
    return any(tensor.ShapeSignature(i) < 0 for i in range(tensor.ShapeSignatureLength()))
