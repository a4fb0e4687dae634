"""The third stage: what each technique leaves of the kernels, and that it is trained."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
from keras import layers as kl
from small_models import state

from kgraft.compress import pruning, restore_quantized, to_tf_keras
from kgraft.compress import stage as stages
from kgraft.compress.pruning import wrap_pruning
from kgraft.compress_config import CompressConfig
from kgraft.errors import KgraftError
from kgraft.export import DeviceInput, TFLiteRunner, export_student, verify_exports
from kgraft.export.runner import load_interpreter
from kgraft.grafting import Checkpoints

from .conftest import SHAPE, make_model

PRUNED = ("conv1", "conv2", "conv3", "logits")


def kernels(model):
    return {name: np.asarray(model.get_layer(name).kernel) for name in PRUNED}


def assert_same_weights(one, other):
    for mine, theirs in zip(state(*one.variables), state(*other.variables), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(scope="module")
def pruned(stage):
    return stage.run("prune", sparsity_allocation="uniform")


def test_half_of_each_kernel_is_zero(pruned):
    for kernel in kernels(pruned.model).values():
        assert abs(np.sum(kernel == 0) - kernel.size / 2) <= 1
    assert isinstance(pruned.model, keras.Model) and pruned.quantized is None
    assert np.asarray(pruned.model.get_layer("depthwise").kernel).all()


def test_half_of_all_kernels_is_zero_where_it_is_missed_least(stage, pruned):
    made = stage.run("prune")
    found = {name: np.mean(kernel == 0) for name, kernel in kernels(made.model).items()}
    total = sum(np.sum(kernel == 0) for kernel in kernels(made.model).values())
    assert total == pytest.approx(sum(k.size for k in kernels(made.model).values()) / 2, abs=4)
    # The widest kernel has the most to spare.
    assert max(found, key=found.get) == "conv3" and min(found.values()) < 0.4
    assert made.outcomes[0].sparsity == pytest.approx(0.5, abs=0.01)


def test_what_is_told_of_pruning(pruned):
    (result,), (outcome,) = pruned.results, pruned.outcomes
    assert (result.name, result.steps, outcome.layers) == ("three/prune", 12, 4)
    assert outcome.sparsity == pytest.approx(0.5, abs=0.01)
    assert [left.name for left in outcome.left] == ["depthwise"]


def test_weights_are_kept_from_when_the_sparsity_is_there(stage):
    # A student that is the teacher, which a rate this high makes worse and worse.
    stage = dataclasses.replace(stage, student=make_model(1, 12))
    settings = {"compress_rate": 0.3, "feature_weight": 0.0}
    solved = stage.run("prune", **settings)
    assert solved.results[0].kept_step == 0
    assert solved.outcomes[0].sparsity == pytest.approx(0.5, abs=0.01)
    rising = stage.run("prune", sparsity_schedule="polynomial", **settings)
    assert rising.results[0].kept_step >= 6
    assert rising.outcomes[0].sparsity == pytest.approx(0.5, abs=0.01)


def test_pruned_in_closed_form_a_student_is_nearer_to_what_it_was(stage):
    settings = {"compress_rate": 1e-9, "sparsity": 0.7, "select": "last"}
    solved, constant = (
        stage.run("prune", sparsity_schedule=schedule, **settings)
        for schedule in ("solved", "constant")
    )
    images = stage.heldout.views.astype("float32")
    was = np.asarray(stage.student(images))
    errors = [np.square(np.asarray(made.model(images)) - was).mean() for made in (solved, constant)]
    assert errors[0] < 0.5 * errors[1]
    zeros = [
        sum(np.sum(k == 0) for k in kernels(made.model).values()) for made in (solved, constant)
    ]
    assert abs(zeros[0] - zeros[1]) <= 4


def test_the_closed_form_is_told_of_before_it_begins(stage, monkeypatch):
    happened = []
    original = pruning.solve_pruned

    def solve(*args, **kwargs):
        happened.append("solved")
        return original(*args, **kwargs)

    monkeypatch.setattr(pruning, "solve_pruned", solve)
    stage.run("prune", compress_steps=2, on_progress=happened.append)
    first, second, *others = happened
    assert (first.phase.name, first.step, len(first.losses)) == ("three/prune", 0, 0)
    assert second == "solved" and "solved" not in others


def test_two_of_four_input_channels_are_zero(stage):
    before = state(*stage.student.variables)
    made = stage.run("prune", sparsity_pattern="2:4", select="last")
    assert made.results[0].kept_step == 12
    for old, new in zip(before, state(*stage.student.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    for name in ("conv2", "conv3", "logits"):
        kernel = kernels(made.model)[name]
        groups = kernel.reshape(-1, kernel.shape[-2] // 4, 4, kernel.shape[-1])
        assert (np.sum(groups == 0, axis=2) == 2).all()


def test_blocks_of_four_inputs_are_zero_together(stage):
    made = stage.run("prune", sparsity_pattern="block", sparsity_schedule="constant")
    blocks = kernels(made.model)["logits"].reshape(4, 4, 5)
    assert set(np.unique(np.sum(blocks == 0, axis=1))) == {0, 4}
    assert np.sum(blocks == 0) == 40
    left = {layer.name: layer.why for layer in made.outcomes[0].left}
    assert left["conv1"] == "block sparsity is for dense layers"
    assert kernels(made.model)["conv1"].all()


def test_kernels_have_as_many_values_as_clusters(stage):
    made = stage.run("cluster")
    assert max(len(np.unique(kernel)) for kernel in kernels(made.model).values()) <= 6
    assert made.outcomes[0].distinct <= 6
    assert made.results[0].heldout_loss_end < made.results[0].heldout_loss_start


def test_few_weights_are_not_clustered(stage):
    made = stage.run("cluster", clusters=70, compress_steps=2)
    left = {layer.name: layer.why for layer in made.outcomes[0].left}
    assert left["conv2"] == "its kernel has no more than --clusters=70 weights"


def test_weights_that_pruning_leaves_are_counted(stage):
    # conv2 has 64 weights, of which 32 stay.
    uniform = {"sparsity_allocation": "uniform"}
    made = stage.run("prune+cluster", clusters=40, compress_steps=2, **uniform)
    left = {layer.name: layer.why for layer in made.outcomes[1].left}
    assert left["conv2"] == "pruning leaves its kernel fewer than --clusters=40 weights"
    assert np.sum(kernels(made.model)["conv2"] == 0) == 32
    kernel = kernels(made.model)["conv3"]
    assert len(np.unique(kernel)) <= 40 and np.sum(kernel == 0) >= kernel.size // 2


def test_a_technique_that_finds_nothing_to_do_is_refused(stage):
    message = "--compress=cluster would leave every kernel of the student as it is: .*fewer than"
    with pytest.raises(KgraftError, match=message):
        stage.run("prune+cluster", sparsity=0.98, clusters=30, compress_steps=2)


def test_training_makes_a_pruned_student_better(stage, pruned):
    untrained = stage.run("prune", sparsity_allocation="uniform", compress_rate=1e-9)
    assert pruned.results[0].heldout_loss_end < untrained.results[0].heldout_loss_end


def test_clustering_by_muon_keeps_zeros_and_clusters(stage):
    settings = {"optimizer": "muon", "select": "last", "sparsity_allocation": "uniform"}
    made = stage.run("prune+cluster", **settings)
    for kernel in kernels(made.model).values():
        assert np.sum(kernel == 0) >= kernel.size // 2 and len(np.unique(kernel)) <= 6


def test_the_optimiser_is_that_of_the_other_stages(stage):
    """Muon moves a kernel by about as much in all directions, Adam does not."""
    spreads = []
    for optimizer in ("muon", "adam"):
        made = stage.run("quantize", optimizer=optimizer, compress_steps=2, select="last")
        after = kernels(made.quantized.floats)["conv2"]
        moved = after - kernels(stage.student)["conv2"]
        sizes = np.linalg.svd(moved.reshape(-1, moved.shape[-1]), compute_uv=False)
        spreads.append(sizes[0] / sizes[-1])
    assert spreads[0] < 3 < 10 < spreads[1]


def test_layers_that_the_closed_form_does_not_know_lose_their_smallest_weights(stage):
    keras.utils.set_random_seed(5)
    image = keras.Input(SHAPE)
    x = kl.Rescaling(1 / 127.5, -1, name="pixels")(image)
    x = kl.SeparableConv2D(8, 3, name="separable")(x)
    x = kl.GlobalAveragePooling2D(name="pool")(kl.ReLU(name="relu")(x))
    student = keras.Model(image, kl.Dense(5, name="logits")(x), name="student")
    before = np.abs(np.asarray(student.get_layer("separable").pointwise_kernel))
    wrapped = wrap_pruning(
        to_tf_keras(student), CompressConfig("prune", sparsity_allocation="uniform"), ()
    )
    wrapped.begin(stage.bank, 0)
    after = np.asarray(wrapped.strip().get_layer("separable").pointwise_kernel)
    np.testing.assert_array_equal(after == 0, before < np.median(before))


def with_norm():
    """A student with a BatchNorm that has no kernel before it to fold into."""
    keras.utils.set_random_seed(4)
    image = keras.Input(SHAPE)
    norm = kl.BatchNormalization(name="norm")
    x = kl.ReLU(name="relu")(norm(kl.Rescaling(1 / 127.5, -1, name="pixels")(image)))
    x = kl.GlobalAveragePooling2D(name="pool")(kl.Conv2D(8, 3, name="conv")(x))
    norm.set_weights([np.float32(values) for values in ([1, 2, 3], [0, 1, 0], [1] * 3, [4] * 3)])
    return keras.Model(image, kl.Dense(5, name="logits")(x), name="student")


@pytest.mark.parametrize("technique", ["prune", "cluster"])
def test_norms_that_did_not_fold_run_as_at_inference(stage, technique, monkeypatch):
    student = with_norm()
    before = state(*student.get_layer("norm").variables)
    original = stages.train_wrapped

    def compared(wrapped, *args, **training):
        images = stage.bank.views[:4].astype("float32")
        wrapped.begin(stage.bank, 0)
        said, wanted = (np.asarray(wrapped.model(images, training=t)) for t in (True, False))
        np.testing.assert_allclose(said, wanted, rtol=1e-5, atol=1e-5)
        return original(wrapped, *args, **training)

    monkeypatch.setattr(stages, "train_wrapped", compared)
    made = dataclasses.replace(stage, student=student).run(technique)
    after = made.model.get_layer("norm")
    assert after.trainable
    for old, new in zip(before, state(*after.variables), strict=True):
        np.testing.assert_array_equal(old, new)
    kernel, old = (np.asarray(m.get_layer("conv").kernel) for m in (made.model, student))
    assert not np.array_equal(kernel[kernel != 0], old[kernel != 0])


def test_a_checkpoint_of_another_student_is_named(stage, tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    stage.run("prune", checkpoints=checkpoints, compress_steps=2)
    other = dataclasses.replace(stage, student=make_model(2, 12))
    with pytest.raises(KgraftError, match=r"the checkpoint three/prune-\w+ are of another student"):
        other.run("prune", checkpoints=checkpoints, compress_steps=2)


BY_MUON = {"optimizer": "muon", "select": "last"}


@pytest.fixture(scope="module")
def both(stage, tmp_path_factory):
    """Pruned and quantised, and the checkpoint folder."""
    folder = tmp_path_factory.mktemp("both")
    checkpoints = Checkpoints(folder, {"run": 1})
    return stage.run("prune+quantize", checkpoints=checkpoints, **BY_MUON), folder


def test_what_is_finished_is_not_trained_again(stage, both, tmp_path, monkeypatch):
    first, folder = both
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    checkpoints = Checkpoints(tmp_path, {"run": 1})
    trained = []
    original = stages.train_wrapped

    def noted(wrapped, phase, **training):
        trained.append(phase.name)
        return original(wrapped, phase, **training)

    monkeypatch.setattr(stages, "train_wrapped", noted)
    second = stage.run("prune+quantize", checkpoints=checkpoints, **BY_MUON)
    assert trained == [] and second.results == first.results
    assert_same_weights(second.model, first.model)
    assert_same_weights(second.quantized.floats, first.quantized.floats)
    # Killed between the techniques, and with another setting of the second one.
    (name,) = tmp_path.glob("three_quantize*.json")
    name.unlink()
    third = stage.run("prune+quantize", checkpoints=checkpoints, **BY_MUON)
    assert trained == ["three/quantize"]
    assert_same_weights(third.quantized.floats, first.quantized.floats)


def test_other_settings_have_other_checkpoints():
    def names(**changes):
        return stages.checkpoint_names(CompressConfig("prune+quantize", **changes))

    assert names() == names(clusters=5) and len(set(names())) == 2
    assert not set(names()) & {*names(sparsity=0.25), *names(compress_rate=0.5)}
    assert not set(names()) & {*names(compress_views=2)}
    assert "compress_views" not in CompressConfig("prune").settings("prune")
    # What pruning alone made can be quantised later.
    assert names()[0] == stages.checkpoint_names(CompressConfig("prune"))[0]


def test_a_rate_that_is_too_high_is_named(stage):
    with pytest.raises(KgraftError, match=r"three/prune: the .*; lower --compress_rate \(now 1e\+"):
        stage.run("prune", compress_rate=1e30, loss="mse")


def exported(stage, made, folder):
    """The int8_qat file, verified."""
    images = stage.heldout.views.astype("float32")
    files = export_student(
        made.model, folder=folder, formats=["int8_qat"], quantized=made.quantized
    )
    return files, verify_exports(
        files, made.model, images, calibration=images, quantized=made.quantized
    )


@pytest.fixture(scope="module")
def quantized(stage):
    # Little, as this student has learnt nothing before and would soon be another one.
    return stage.run("quantize", compress_rate=1e-4)


@pytest.fixture(scope="module")
def int8_file(stage, quantized, tmp_path_factory):
    """The file of `quantized`, verified; nothing changes it."""
    return exported(stage, quantized, tmp_path_factory.mktemp("int8"))


def test_the_file_says_what_the_emulated_model_says(stage, quantized, int8_file):
    files, (found,) = int8_file
    assert found.ok, found.why
    images = stage.heldout.views.astype("float32")
    said = TFLiteRunner(files[0].path)(images)
    emulated = np.asarray(quantized.quantized.model(images, training=False))
    step = (emulated.max() - emulated.min()) / 255
    assert np.abs(said - emulated).max() < 3 * step
    assert quantized.model is stage.student
    assert quantized.results[0].heldout_loss_end <= quantized.results[0].heldout_loss_start


def test_each_depthwise_channel_of_the_file_has_a_scale(stage, int8_file):
    files, _ = int8_file
    details = load_interpreter(files[0].path).get_tensor_details()
    channels = stage.student.get_layer("depthwise").kernel.shape[2]
    (found,) = [d for d in details if list(d["shape"]) == [1, 3, 3, channels]]
    assert found["dtype"] == np.int8
    assert len(found["quantization_parameters"]["scales"]) == channels


def test_other_weights_than_those_trained_are_caught(stage, quantized, int8_file):
    files, _ = int8_file
    wrong = keras.models.clone_model(quantized.quantized.floats)
    wrong.set_weights(quantized.quantized.floats.get_weights())
    kernel = wrong.get_layer("conv3").kernel
    kernel.assign(np.asarray(kernel)[..., ::-1])
    other = dataclasses.replace(quantized.quantized, floats=wrong)
    images = stage.heldout.views.astype("float32")
    (found,) = verify_exports(files, quantized.model, images, calibration=images, quantized=other)
    assert not found.ok and "holds other weights than the student in 1 layers" in found.why


@pytest.fixture(params=["muon", pytest.param("adam", marks=pytest.mark.slow)])
def pruned_and_quantized(request, stage, both):
    if request.param == "muon":
        return both[0]
    return stage.run("prune+quantize", optimizer=request.param, select="last")


def test_quantising_keeps_zeros(stage, tmp_path, pruned_and_quantized):
    """Muon moves weights that have no gradient too."""
    made = pruned_and_quantized
    zeros = {name: kernel == 0 for name, kernel in kernels(made.model).items()}
    for name, kernel in kernels(made.quantized.floats).items():
        assert (kernel[zeros[name]] == 0).all() and not (kernel[~zeros[name]] == 0).any()
    _, (found,) = exported(stage, made, tmp_path)
    assert "holds other weights" not in found.why and found.layers


def channels(model):
    """Every output channel of every kernel, flat."""
    return [row for k in kernels(model).values() for row in k.reshape(-1, k.shape[-1]).T]


@pytest.fixture(scope="module")
def clustered(stage, tmp_path_factory):
    folder, technique = tmp_path_factory.mktemp("clustered"), "prune+cluster+quantize"
    checkpoints = Checkpoints(folder, {})
    settings = {"sparsity_allocation": "uniform", "select": "last"}
    made = stage.run(technique, **settings, checkpoints=checkpoints)
    return technique, made, folder


def test_quantising_keeps_zeros_and_clusters(clustered):
    _, made, _ = clustered
    # Of a convolution's kernel each channel may have values of its own, as it has its own scale.
    assert max(len(np.unique(row)) for row in channels(made.quantized.floats)) <= 6
    after = kernels(made.quantized.floats)
    for name, kernel in kernels(made.model).items():
        assert len(np.unique(kernel)) <= 6 and not np.array_equal(kernel, after[name])
        assert np.sum(kernel == 0) >= kernel.size // 2
        assert np.sum(after[name] == 0) >= kernel.size // 2


def test_a_quantised_student_is_put_together_again(stage, clustered):
    technique, made, folder = clustered
    settings = {"clusters": 6, "compress_steps": 12, "compress_rate": 3e-3}
    config = CompressConfig(technique, sparsity_allocation="uniform", **settings)
    arrays = Checkpoints(folder, {}).arrays(stages.checkpoint_names(config)[-1])
    again = restore_quantized(made.model, config, arrays)
    assert_same_weights(again.floats, made.quantized.floats)
    images = stage.heldout.views.astype("float32")
    said, wanted = (np.asarray(q.model(images)) for q in (again, made.quantized))
    np.testing.assert_array_equal(said, wanted)
    with pytest.raises(KgraftError, match="the quantised weights are of another student"):
        restore_quantized(made.model, config, arrays[1:])


def test_a_sparse_file_is_smaller_and_held_against_every_weight(stage, pruned, tmp_path):
    files = export_student(pruned.model, folder=tmp_path, formats=["float32", "sparse"])
    images = stage.heldout.views.astype("float32")
    found = verify_exports(files, pruned.model, images, calibration=images)
    assert [check.why for check in found] == ["", ""] and found[1].ops["DENSIFY"] == 4
    assert files[1].bytes < files[0].bytes
    wrong = keras.models.clone_model(pruned.model)
    wrong.set_weights(pruned.model.get_weights())
    kernel = np.array(wrong.get_layer("conv3").kernel)
    kernel.flat[np.flatnonzero(kernel)[0]] *= 1.01
    wrong.get_layer("conv3").kernel.assign(kernel)
    assert (
        "other weights than the student in 1 layers"
        in verify_exports(files, wrong, images, calibration=images)[1].why
    )


def test_formats_of_compressed_students_need_one(stage, quantized, tmp_path):
    with pytest.raises(
        KgraftError, match="needs a student trained with int8 emulated; got none: d"
    ):
        export_student(stage.student, folder=tmp_path / "a", formats=["int8_qat"])
    with pytest.raises(
        KgraftError, match="needs a pruned student; this one's kernels have no zero"
    ):
        export_student(stage.student, folder=tmp_path / "a", formats=["sparse"])
    takes = DeviceInput("unit", inside=True)
    with pytest.raises(KgraftError, match="preprocessed images; got --preprocess_inside: leave it"):
        export_student(
            stage.student,
            folder=tmp_path / "a",
            formats=["int8_qat"],
            quantized=quantized.quantized,
            takes=takes,
        )
    assert not (tmp_path / "a").exists()
