"""Where a network can be cut, and where it should be."""

import itertools

import keras
import pytest
from graph_cases import cuts_by_trying, drawn_model, networks
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as kl
from small_models import small_model

from kgraft.errors import KgraftError
from kgraft.graph import (
    block_macs,
    check_cuts,
    choose_cuts,
    costly_cuts,
    count_macs,
    find_cuts,
    flattened_map,
    read_cuts,
    trace_model,
)


def in_order(graph, cuts):
    made = [value for call in graph.calls for value in call.outputs]
    return [made.index(cut) for cut in cuts] == sorted(made.index(cut) for cut in cuts)


def test_cuts_of_small_models_are_those_found_by_trying(small_teacher):
    graph = trace_model(small_teacher)
    cuts = find_cuts(graph)
    assert set(cuts) == cuts_by_trying(graph)
    assert in_order(graph, cuts)


def test_cuts_of_real_architectures_are_those_found_by_trying(application):
    graph = trace_model(application)
    cuts = find_cuts(graph)
    assert set(cuts) == cuts_by_trying(graph)
    assert in_order(graph, cuts)
    assert len(cuts) > 20


def test_cuts_that_are_read_by_what_makes_features():
    image = keras.Input((8, 8, 3))
    x = kl.Conv2D(4, 3, padding="same", name="conv")(kl.Rescaling(2.0, name="pixels")(image))
    x = kl.ReLU(name="relu")(kl.BatchNormalization(name="norm")(x))
    y = kl.Conv2D(4, 1, name="inside")(x)
    x = kl.Add(name="add")([x, y])
    x = kl.GlobalAveragePooling2D(name="pool")(x)
    graph = trace_model(keras.Model(image, kl.Dense(2, name="logits")(x)))
    # conv and norm are read by what keeps features as they are, inside is not on every path.
    names = ["pixels", "relu", "add", "pool"]
    assert read_cuts(graph) == tuple(graph.call(name).output for name in names)


@given(networks)
@settings(max_examples=8, deadline=None)
def test_cuts_of_drawn_networks_are_those_found_by_trying(pieces):
    graph = trace_model(drawn_model(pieces))
    assert set(find_cuts(graph)) == cuts_by_trying(graph)


def test_no_cut_lies_beside_a_skip_connection():
    cuts = find_cuts(trace_model(small_model("residual")))
    assert cuts == (
        "stem",
        "stem_norm",
        "stem_relu",
        "res0_add",
        "res0_out",
        "res1_add",
        "res1_out",
        "res2_add",
        "res2_out",
        "pool",
    )


@pytest.fixture(scope="module")
def graph():
    return trace_model(small_model("residual"))


ALL = (
    "Cuts: stem, stem_norm, stem_relu, res0_add, res0_out, res1_add, res1_out, res2_add, "
    "res2_out, pool"
)


def test_good_cuts_pass(graph):
    check_cuts(graph, ())
    check_cuts(graph, ("stem", "res0_out", "pool"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("res0_ad",), "the model has no layer 'res0_ad'. Nearest: res0_add"),
        (("xyz",), "the model has no layer 'xyz'. Cuts: stem"),
        (
            ("res0_a",),
            "no cut at 'res0_a': 'stem_relu' is needed past it too (a skip connection). Nearest: ",
        ),
        (("res1_a",), "no cut at 'res1_a': 'res0_out' is needed past it too (a skip connection)"),
        (("logits",), "'logits' is the output of the model, which ends the last block by itself. "),
        (("input",), "the model has no layer 'input'. "),
    ],
)
def test_bad_cuts_are_named_with_the_valid_ones(graph, names, message):
    with pytest.raises(KgraftError) as error:
        check_cuts(graph, names)
    assert str(error.value).startswith(f"--teacher_cuts: {message}")
    assert str(error.value).endswith(ALL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("names", [("res0_add", "stem"), ("stem", "stem", "res0_add")])
def test_cuts_out_of_order_or_repeated(graph, names):
    with pytest.raises(KgraftError) as error:
        check_cuts(graph, names, flag="student_cuts")
    assert str(error.value) == (
        "--student_cuts: cuts must be in the order of the network, each once; got "
        f"{','.join(names)}; right would be stem,res0_add"
    )


def costs(graph, cuts, macs):
    """Multiply-adds of the blocks between cuts, counted call by call."""
    totals = [0]
    for call in graph.calls:
        totals[-1] += macs[call.name]
        if call.output in cuts:
            totals.append(0)
    return totals


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_chosen_cuts_are_the_best_of_all(graph, data):
    cuts = find_cuts(graph)
    numbers = st.integers(0, 9)
    macs = {call.name: data.draw(numbers, call.name) for call in graph.calls}
    chosen_from = data.draw(st.lists(st.sampled_from(cuts), unique=True))
    candidates = tuple(cut for cut in cuts if cut in chosen_from)
    blocks = data.draw(st.integers(1, len(candidates) + 1))
    chosen = choose_cuts(graph, blocks, macs=macs, candidates=candidates)
    best = min(
        sum(cost**2 for cost in costs(graph, some, macs))
        for some in itertools.combinations(candidates, blocks - 1)
    )
    assert len(chosen) == blocks - 1
    check_cuts(graph, chosen)
    assert set(chosen) <= set(candidates)
    assert sum(cost**2 for cost in costs(graph, chosen, macs)) == best


def test_chosen_blocks_of_a_real_network_cost_about_the_same(application):
    graph = trace_model(application)
    macs = count_macs(graph)
    cuts = choose_cuts(graph, 5, macs=macs, candidates=find_cuts(graph))
    share = max(costs(graph, cuts, macs)) / sum(macs.values())
    assert share < 0.35


def test_more_blocks_than_cuts(graph):
    cuts = find_cuts(graph)
    assert choose_cuts(graph, 12, macs=count_macs(graph), candidates=cuts) == cuts


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_costly_cuts_leave_no_block_without_multiply_adds(graph, data):
    cuts = find_cuts(graph)
    macs = {call.name: data.draw(st.integers(0, 1), call.name) for call in graph.calls}
    found = costly_cuts(graph, cuts, macs=macs)
    blocks = costs(graph, found, macs)
    assert block_macs(graph, found, macs=macs) == tuple(blocks)
    assert all(blocks) or not any(macs.values())
    for cut in {*cuts} - {*found}:
        more = tuple(name for name in cuts if name in found or name == cut)
        assert not all(costs(graph, more, macs))


def test_of_cuts_that_cost_the_same_a_preferred_one_stays(graph):
    macs = {call.name: int(call.name in ("stem", "res1_a", "logits")) for call in graph.calls}
    cuts = find_cuts(graph)
    assert costly_cuts(graph, cuts, macs=macs) == ("stem", "res1_add")
    found = costly_cuts(graph, cuts, macs=macs, prefer=("stem_relu", "res0_out", "pool"))
    assert found == ("stem_relu", "pool")


def test_values_of_many_places_laid_flat():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(image)
    x = keras.layers.Flatten(name="flat")(keras.layers.MaxPooling2D(name="pool")(x))
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dense(64, name="wide")(keras.layers.Dropout(0.5, name="drop")(x))
    x = keras.layers.ReLU(name="relu")(x)
    graph = trace_model(keras.Model(image, keras.layers.Dense(2, name="out")(x)))
    found = {cut: flattened_map(graph, cut) for cut in find_cuts(graph)}
    flat = dict.fromkeys(("flat", "norm", "drop"), "pool")
    assert found == {**dict.fromkeys(("conv", "pool", "wide", "relu")), **flat}


@pytest.mark.parametrize(
    "head", [keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D]
)
def test_pooled_values_and_those_of_one_place_are_not_many_places(head):
    image = keras.Input((1, 1, 3))
    one = trace_model(keras.Model(image, keras.layers.Flatten(name="flat")(image)))
    assert flattened_map(one, "flat") is None
    image = keras.Input((4, 4, 3))
    pooled = trace_model(keras.Model(image, head(name="pooled")(image)))
    assert flattened_map(pooled, "pooled") is None
