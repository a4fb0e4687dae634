"""Blocks between neighbouring cuts, and the chain of them that is the teacher."""

import dataclasses
import itertools

from kgraft.graph.ir import Graph, prune


@dataclasses.dataclass(frozen=True)
class Block:
    """The piece between two neighbouring cuts.

    Attributes:
        index: place in the chain, from 0.
        graph: the piece itself, sharing the model's layers.
    """

    index: int
    graph: Graph

    @property
    def name(self) -> str:
        """`block0`, `block1`, ..."""
        return f"block{self.index}"

    @property
    def entry_cut(self) -> str:
        """Name of the value the block takes."""
        return self.graph.input

    @property
    def exit_cut(self) -> str:
        """Name of the value the block makes."""
        return self.graph.output


@dataclasses.dataclass(frozen=True)
class Chain:
    """The blocks in order; run one after another they are the whole graph.

    Attributes:
        graph: the whole.
        cuts: names of the values between the blocks.
        blocks: one more than there are cuts.
    """

    graph: Graph
    cuts: tuple[str, ...]
    blocks: tuple[Block, ...]


def split_chain(graph: Graph, cuts: tuple[str, ...]) -> Chain:
    """Cuts a graph into its chain of blocks.

    Args:
        graph: the graph.
        cuts: valid cuts in order (see `check_cuts`).

    Returns:
        The chain; its blocks share the graph's layers.
    """
    ends = (graph.input, *cuts, graph.output)
    blocks = tuple(
        Block(index, _between(graph, start, end))
        for index, (start, end) in enumerate(itertools.pairwise(ends))
    )
    return Chain(graph, tuple(cuts), blocks)


def _between(graph: Graph, start: str, end: str) -> Graph:
    """The calls that lead from one value to another."""
    calls = graph.calls
    producer = graph.producer(start)
    if producer is not None:
        calls = calls[calls.index(producer) + 1 :]
    return prune(dataclasses.replace(graph, input=start, output=end, calls=calls))
