import pytest

from kgraft.config import DataConfig, RunConfig, StudentConfig, TeacherConfig, TrainConfig
from kgraft.errors import KgraftError

NEEDED = {"teacher": "model.keras", "dataset": "folder:images"}


def test_flags_become_fields():
    config = RunConfig.from_flags(
        **NEEDED, teacher_cuts="a, b", steps=5, formats="int8", graft="1-2", workdir="w", seed=3
    )
    assert config.teacher.cuts == ("a", "b")
    assert config.train.steps == (5, 5)
    assert config.export.formats == ("int8",)
    assert (config.student.graft, config.workdir, config.data.seed) == ("1-2", "w", 3)


def test_lists_become_tuples_and_counts_stay():
    config = RunConfig.from_flags(**NEEDED, teacher_cuts=3, student_cuts=["a"], steps=[1, 2])
    assert (config.teacher.cuts, config.student.cuts, config.train.steps) == (3, ("a",), (1, 2))


def test_images_take_the_place_of_the_default_shots():
    data = RunConfig.from_flags(**NEEDED, images=7).data
    assert (data.shots, data.images) == (None, 7)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"dataset": "folder:x"}, "teacher is missing"),
        ({**NEEDED, "stesp": 3}, "unknown settings: stesp"),
        ({**NEEDED, "shots": 2.5}, "--shots must be a whole number; got 2.5"),
        ({**NEEDED, "shots": 0}, "--shots must be at least 1; got 0"),
        ({**NEEDED, "mixed_views": "some"}, "--mixed_views must be auto or a whole number; got 's"),
        ({**NEEDED, "mixed_views": None}, "--mixed_views must be auto or a whole number; got None"),
        ({**NEEDED, "mixed_views": -1}, "--mixed_views must be at least 0; got -1"),
        ({**NEEDED, "heldout_views": 513}, "--heldout_views must be at most 512, .*; got 513"),
        ({**NEEDED, "shots": 1, "images": 1}, "give --shots .* or --images"),
        ({**NEEDED, "dataset": "images"}, "--dataset must be tfds:NAME, folder:PATH"),
        ({**NEEDED, "formats": "int4"}, "--formats must be one of saved_model, float32"),
        ({**NEEDED, "formats": "int8,int8"}, "--formats must name each format once"),
        (
            {**NEEDED, "formats": "int8_q"},
            "int8_qat, aeq_int8, aeq_int4, aeq_mixed, onnx; got 'int8_q'",
        ),
        (
            {**NEEDED, "formats": "int8_qat"},
            "--formats=int8_qat needs --compress=quantize; got",
        ),
        (
            {**NEEDED, "formats": "sparse", "compress": "cluster"},
            "--formats=sparse needs --compress=prune; got --compress=cluster",
        ),
        (
            {**NEEDED, "formats": "int8", "compress": "prune+quantize"},
            "--compress=prune.quantize trains for the file int8_qat, which is not among "
            "--formats=int8: add it, or leave quantize out",
        ),
        (
            {**NEEDED, "compress": "prune,quantize"},
            "--compress must be none, or different ones of prune, cluster, quantize joined by .,",
        ),
        ({**NEEDED, "compress": "prune+prune"}, "got 'prune.prune'"),
        ({**NEEDED, "sparsity": 1.0}, "--sparsity must be a share between 0 and 1, such as 0.5; g"),
        (
            {**NEEDED, "sparsity": 0.6, "sparsity_pattern": "2:4"},
            "--sparsity_pattern=2:4 is a sparsity of 0.5; got --sparsity=0.6",
        ),
        ({**NEEDED, "sparsity_pattern": "4:8"}, "--sparsity_pattern must be one of unstructured"),
        ({**NEEDED, "sparsity_allocation": "erk"}, "--sparsity_allocation must be one of lamp, u"),
        ({**NEEDED, "sparsity_schedule": "linear"}, "--sparsity_schedule must be one of solved"),
        ({**NEEDED, "clusters": 2}, "--clusters must be at least 3; got 2"),
        ({**NEEDED, "compress_steps": 1}, "--compress_steps must be at least 2; got 1"),
        ({**NEEDED, "compress_views": -1}, "--compress_views must be at least 0; got -1"),
        (
            {**NEEDED, "compress": "prune", "compress_views": 4, "augment": "none"},
            "--compress_views are further views of the same images, and --augment=none has no",
        ),
        ({**NEEDED, "compress_rate": 0}, "--compress_rate must be above 0; got 0"),
        ({**NEEDED, "min_agreement": 97}, "--min_agreement must be a share of images from 0 to 1"),
        ({**NEEDED, "target_bytes": 0}, "--target_bytes must be above 0; got 0"),
        ({**NEEDED, "target_bytes": 1.5}, "--target_bytes must be a whole number; got 1.5"),
        ({**NEEDED, "target_latency_ms": -1}, "--target_latency_ms must be above 0; got -1"),
        ({**NEEDED, "loss": "mae"}, "--loss must be one of normalized_mse, mse, kl; got 'mae'"),
        ({**NEEDED, "block_rate": 0}, "--block_rate must be above 0; got 0"),
        ({**NEEDED, "block_rate": float("inf")}, "--block_rate must be finite; got inf"),
        ({**NEEDED, "feature_weight": "x"}, "--feature_weight must be a number; got 'x'"),
        ({**NEEDED, "seed": 2**32}, "--seed must be from 0 to 4294967295; got 4294967296"),
        ({**NEEDED, "seed": -1}, "--seed must be from 0 to 4294967295; got -1"),
        ({**NEEDED, "teacher_cuts": 1001}, "--teacher_cuts must be names of cuts or at most 1000"),
        ({**NEEDED, "steps": (1.5, 2)}, "--steps must be a whole number; got 1.5"),
        ({**NEEDED, "batch": 8.0}, "--batch must be a whole number; got 8.0"),
        ({**NEEDED, "steps": -1}, "--steps must be at least 0; got -1"),
        ({**NEEDED, "fake_quant": "int4"}, "--fake_quant must be one of none, int8; got 'int4'"),
        ({**NEEDED, "cache_dtype": "int8"}, "--cache_dtype must be one of float32, float16; got"),
        ({**NEEDED, "spill_mb": -1}, "--spill_mb must be at least 0; got -1"),
    ],
)
def test_what_is_refused_and_why(flags, message):
    with pytest.raises(KgraftError, match=message):
        RunConfig.from_flags(**flags)


def test_how_a_run_is_shared_out():
    config = RunConfig.from_flags(**NEEDED, phases=3, side_by_side=2)
    assert (config.phases, config.side_by_side) == ("3", "2")
    with pytest.raises(KgraftError, match="--phases must be all, or phases by number or name"):
        RunConfig.from_flags(**NEEDED, phases="some")
    with pytest.raises(KgraftError, match="--side_by_side must be auto, off or a whole number"):
        RunConfig.from_flags(**NEEDED, side_by_side=0)


def test_settings_as_plain_values():
    config = RunConfig(TeacherConfig("m.keras"), DataConfig("npz:x.npz"))
    settings = config.to_dict()
    assert settings["teacher"]["source"] == "m.keras"
    stages = {"teacher", "student", "data", "train", "compress", "export"}
    assert set(settings) == {*stages, "workdir", "resume", "phases", "side_by_side"}
    assert (config.student, config.train) == (StudentConfig(), TrainConfig())
