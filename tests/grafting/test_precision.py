"""The precision a graft computes in, and that nothing but the compute changes."""

import dataclasses

import keras
import numpy as np
import pytest
from grafting_cases import GraftFactory, make_bank, make_chain, make_teacher, read_weights

import kgraft.grafting.precision as precision
from kgraft.errors import KgraftError
from kgraft.grafting import Phase, check_xla, choose_compute, train_phase
from kgraft.grafting.precision import student_computes_in

_PHASE = Phase("one/block1", 1, 2, 24, 1e-2, 1e-2, batch=8)
_LAST = dataclasses.replace(_PHASE, name="two/blocks0-2", start=0, stop=3, stage=2)


def _trained(made, compute, phase=_PHASE):
    made = {**made, "chain": compute.chain, "dtype": compute.dtype}
    result = train_phase(phase, **made)
    return result, read_weights(made["student"])


@pytest.mark.parametrize("phase", [_PHASE, _LAST], ids=lambda p: p.name)
def test_frozen_copies_give_the_weights_of_the_teacher_itself(graft: GraftFactory, phase) -> None:
    made = graft(batchnorm=True)
    train_phase(phase, **made)
    wanted = read_weights(made["student"])
    made = graft(batchnorm=True)
    compute = choose_compute("float32", made["chain"], made["heldout"])
    _, got = _trained(made, compute, phase)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_bfloat16_learns_and_weights_stay_float32(graft: GraftFactory) -> None:
    made = graft()
    compute = choose_compute("bfloat16", made["chain"], made["heldout"])
    result, weights = _trained(made, compute)
    assert result.dtype == compute.dtype == "bfloat16"
    assert result.heldout_loss_end < 0.8 * result.heldout_loss_start
    assert {w.dtype for w in weights} == {np.dtype("float32")}
    wanted = graft()
    train_phase(_PHASE, **wanted)
    difference = [
        np.abs(a - b).max() for a, b in zip(weights, read_weights(wanted["student"]), strict=True)
    ]
    assert 0 < max(difference) < 0.2


def test_a_kept_block_of_the_span_computes_as_the_chain_does(graft: GraftFactory) -> None:
    made = graft(kept=(1,))
    compute = choose_compute("bfloat16", made["chain"], made["heldout"])
    result, _ = _trained(made, compute, _LAST)
    assert result.heldout_loss_end < result.heldout_loss_start


def test_policies_are_put_back_also_after_an_error(graft: GraftFactory) -> None:
    student = graft()["student"]
    policies = {layer.dtype_policy.name for b in student for layer in b.body.layers}
    with pytest.raises(RuntimeError), student_computes_in(student, "bfloat16"):
        computing = [layer.compute_dtype for block in student for layer in block.body.layers]
        raise RuntimeError
    # The layer that makes the logits is the last of the last block.
    assert computing[-1] == "float32"
    assert set(computing[:-1]) == {"bfloat16"}
    assert {layer.dtype_policy.name for b in student for layer in b.body.layers} == policies


_NONE = "the processor has none of amx_bf16, avx512_bf16"
_INTEL = "avx512_bf16 without amx_bf16 is no faster than float32 on this processor"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("AuthenticAMD avx512_bf16", ""),
        ("GenuineIntel avx512_bf16 amx_bf16", ""),
        ("GenuineIntel avx512_bf16", _INTEL),
        ("AuthenticAMD avx2", _NONE),
        ("", _NONE),
    ],
)
def test_which_processors_are_faster_in_bfloat16(monkeypatch, words: str, wanted: str) -> None:
    monkeypatch.setattr(precision, "_processor", lambda: frozenset(words.split()))
    assert precision.missing_bfloat16() == wanted


def test_auto_says_what_the_processor_lacks(monkeypatch) -> None:
    chain = make_chain(make_teacher())
    monkeypatch.setattr(precision, "_processor", frozenset)
    found = choose_compute("auto", chain, make_bank(chain))
    assert found.dtype == "float32"
    assert found.note == _NONE


def test_auto_takes_bfloat16_only_where_the_teacher_agrees_with_itself(monkeypatch) -> None:
    chain = make_chain(make_teacher())
    bank = make_bank(chain)
    monkeypatch.setattr(precision, "missing_bfloat16", lambda: "")
    found = choose_compute("auto", chain, bank)
    assert found.dtype == "bfloat16"
    wanted = "in bfloat16 the teacher agrees with itself on 100.00% of the held-out views"
    assert found.note == wanted
    # A teacher whose two classes tie but for what bfloat16 rounds away.
    kernel, bias = chain.blocks[-1].graph.layers[-1].get_weights()
    chain.blocks[-1].graph.layers[-1].set_weights([1e-6 * kernel, 100 + 1e-6 * bias])
    bank = make_bank(chain)
    wanted = bank.logits.argmax(-1)
    monkeypatch.setattr(precision, "_check_copies", lambda *_: None)
    bank.logits[:] = np.roll(np.eye(5, dtype="float32")[wanted], 1, axis=1)
    found = choose_compute("auto", chain, bank)
    assert found.dtype == "float32"
    assert "of the held-out views" in found.note


class Stubborn(keras.layers.Layer):
    """Cannot be made with another dtype."""

    def __init__(self, name=None, trainable=True):
        super().__init__(name=name, trainable=trainable)

    def get_config(self):
        return {"name": self.name}

    def call(self, x):
        return x * 1.0


class Wordless(Stubborn):
    """Says nothing of why it cannot be made again."""

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("layer", "reason"), [(Stubborn, "Stubborn"), (Wordless, "NotImplementedError")]
)
def test_a_layer_that_cannot_compute_in_bfloat16(
    layer: type[keras.layers.Layer], reason: str
) -> None:
    image = keras.Input([8, 8, 3])
    x = keras.layers.Conv2D(4, 3, name="relu0")(image)
    x = keras.layers.Conv2D(4, 3, name="relu1")(layer()(x))
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    chain = make_chain(keras.Model(image, x))
    wanted = rf"--precision=bfloat16 needs a teacher whose layers .*\(.*{reason}"
    with pytest.raises(KgraftError, match=wanted):
        choose_compute("bfloat16", chain, make_bank(chain))


class Forgetful(keras.layers.Layer):
    """Leaves what it multiplies by out of its settings."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def get_config(self):
        return super().get_config()

    def call(self, x):
        return x * self.factor


@pytest.mark.parametrize(("factor", "fails"), [(1.0, False), (2.0, True)])
def test_copies_that_compute_something_else(factor: float, fails: bool) -> None:
    image = keras.Input([8, 8, 3])
    x = keras.layers.Conv2D(4, 3, name="relu0", activation="relu")(image)
    x = Forgetful(factor)(keras.layers.Conv2D(4, 3, name="relu1", activation="relu")(x))
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    chain = make_chain(keras.Model(image, x))
    bank = make_bank(chain)
    if not fails:
        choose_compute("float32", chain, bank)
        return
    with pytest.raises(KgraftError, match="copies of the teacher's layers put out other logits"):
        choose_compute("auto", chain, bank)
    with pytest.raises(KgraftError, match="copies of the teacher's layers put out other logits"):
        choose_compute("bfloat16", chain, bank)


def test_xla_is_refused_without_a_gpu(monkeypatch) -> None:
    check_xla(False)
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(KgraftError, match="--xla is for GPUs"):
        check_xla(True)


def test_xla_gives_the_same_weights(graft: GraftFactory) -> None:
    few = dataclasses.replace(_PHASE, steps=4)
    wanted, got = graft(), graft()
    train_phase(few, **wanted)
    train_phase(few, **got, xla=True)
    pairs = zip(read_weights(got["student"]), read_weights(wanted["student"]), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=1e-5)
