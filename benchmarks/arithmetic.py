"""The multiply-adds that training steps require, and what measured times make of them."""

import math
from collections.abc import Iterable, Mapping, Sequence

from keras import layers as kl

from kgraft.graph import Call, Graph, count_macs


def step_macs(span: Sequence[Graph], suffix: Sequence[Graph], *, padding: bool = True) -> int:
    """Counts the multiply-adds one training step cannot do without, for one example.

    Every layer runs forward. A layer with weights to train needs their gradient, and a layer with
    such weights in front of it needs the gradient of what it takes; each is as much work as the
    forward run. So a trained layer counts three times, the first one of the span twice, and a
    frozen layer behind the span twice. What lies before the span is in the cache.

    Args:
        span: the graphs that train, in order: of each student block the entry adapter, the body
            and the exit adapter, as far as it has them.
        suffix: the teacher's frozen graphs from the span's exit to the logits.
        padding: count products with the zeros around an image too, as papers do.

    Returns:
        Multiply-adds.
    """
    total, moves = 0, False
    for graph, trains in [*((g, True) for g in span), *((g, False) for g in suffix)]:
        macs = count_macs(graph) if padding else _macs_inside(graph)
        moving = {graph.input: moves}
        for call in graph.calls:
            weights = trains and bool(getattr(call.op, "trainable_variables", ()))
            reads = any(moving.get(value, False) for value in call.inputs)
            total += macs[call.name] * (1 + weights + reads)
            moving.update(dict.fromkeys(call.outputs, weights or reads))
        moves = moving[graph.output]
    return total


def _macs_inside(graph: Graph) -> dict[str, int]:
    """Multiply-adds by call without those that meet zero padding."""
    macs = count_macs(graph)
    return {call.name: round(macs[call.name] * _share_inside(call, graph)) for call in graph.calls}


def _share_inside(call: Call, graph: Graph) -> float:
    """Which share of a convolution's products lies inside the image."""
    conv = call.op
    if not isinstance(conv, kl.Conv2D) or conv.padding != "same":
        return 1.0
    axes = zip(
        graph.shapes[call.inputs[0]][1:3],
        graph.shapes[call.output][1:3],
        conv.kernel_size,
        conv.strides,
        conv.dilation_rate,
        strict=True,
    )
    return math.prod(
        taps_inside(size or 1, places or 1, taps=taps, stride=stride, dilation=dilation)
        / ((places or 1) * taps)
        for size, places, taps, stride, dilation in axes
    )


def taps_inside(size: int, places: int, *, taps: int, stride: int, dilation: int) -> int:
    """Counts the taps of a kernel that lie inside an axis padded to "same", over all places.

    Args:
        size: pixels of the axis.
        places: where the kernel is applied.
        taps: of the kernel.
        stride: between places.
        dilation: between taps.

    Returns:
        At most `places * taps`.
    """
    reach = (taps - 1) * dilation + 1
    before = max((places - 1) * stride + reach - size, 0) // 2
    positions = (p * stride + t * dilation - before for p in range(places) for t in range(taps))
    return sum(0 <= position < size for position in positions)


def peak_fraction(*, macs: float, seconds: float, operations_per_second: float) -> float:
    """Returns which share of the machine's rate some work had.

    Args:
        macs: multiply-adds the work requires, two operations each.
        seconds: time it took.
        operations_per_second: floating-point operations a second of the machine at best.
    """
    return 2 * macs / seconds / operations_per_second


def ratios(
    times: Mapping[str, float], *, of: Mapping[str, str], to: Mapping[str, str]
) -> dict[str, float]:
    """Divides measured times by one another.

    Args:
        times: by variant.
        of: names for keys to the variants that are divided.
        to: names for keys to the variants that they are divided by.

    Returns:
        `NAME_NAME` to ratio, for every pair.
    """
    return {f"{slow}_{fast}": times[of[slow]] / times[to[fast]] for slow in of for fast in to}


def mean(values: Iterable[float]) -> float:
    """Returns the mean."""
    found = list(values)
    return sum(found) / len(found)


def fitted_exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Fits `y = c * x ** exponent` by least squares of the logarithms.

    Args:
        xs: two different values or more, above 0.
        ys: one for each, above 0.

    Returns:
        The exponent: 1 for linear growth, 0 for none.
    """
    log_x, log_y = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_x, mean_y = mean(log_x), mean(log_y)
    spread = sum((x - mean_x) ** 2 for x in log_x)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(log_x, log_y, strict=True)) / spread
