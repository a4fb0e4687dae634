"""Reading, cutting, editing and rebuilding Keras functional models as flat graphs."""

from kgraft.graph.build import (
    as_model,
    clone_built,
    clone_call,
    clone_graph,
    clone_op,
    copy_weights,
    rebuild,
    set_weights,
    thawed,
    unconstrained,
)
from kgraft.graph.chain import Block, Chain, split_chain
from kgraft.graph.cuts import (
    block_macs,
    check_cuts,
    choose_cuts,
    costly_cuts,
    find_cuts,
    flattened_map,
    read_cuts,
)
from kgraft.graph.frozen import frozen_chain, frozen_graph
from kgraft.graph.hashes import graph_sha256
from kgraft.graph.ir import Call, Graph, Ref, concat, prune
from kgraft.graph.logits import closing_calls, logits_graph
from kgraft.graph.macs import count_macs, total_macs
from kgraft.graph.normalization import (
    fold_batch_norm,
    remember_few_batches,
    synchronize_statistics,
    without_training_layers,
)
from kgraft.graph.plain import with_plain_layers
from kgraft.graph.trace import trace_model
from kgraft.graph.walk import batch_slices, run_calls

__all__ = [
    "Block",
    "Call",
    "Chain",
    "Graph",
    "Ref",
    "as_model",
    "batch_slices",
    "block_macs",
    "check_cuts",
    "choose_cuts",
    "clone_built",
    "clone_call",
    "clone_graph",
    "clone_op",
    "closing_calls",
    "concat",
    "copy_weights",
    "costly_cuts",
    "count_macs",
    "find_cuts",
    "flattened_map",
    "fold_batch_norm",
    "frozen_chain",
    "frozen_graph",
    "graph_sha256",
    "logits_graph",
    "prune",
    "read_cuts",
    "rebuild",
    "remember_few_batches",
    "run_calls",
    "set_weights",
    "split_chain",
    "synchronize_statistics",
    "thawed",
    "total_macs",
    "trace_model",
    "unconstrained",
    "with_plain_layers",
    "without_training_layers",
]
