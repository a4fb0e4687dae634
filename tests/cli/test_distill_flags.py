import dataclasses
import pathlib

import pytest
from absl import flags

from kgraft import config
from kgraft.cli import distill_flags, entry, teach
from kgraft.errors import KgraftError

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.flags"))
NEEDED = ("--teacher=x.keras", "--dataset=folder:x")


def parsed(*arguments):
    flag_values = flags.FlagValues()
    distill_flags.define_flags(flag_values)
    entry.parse(flag_values, arguments)
    return distill_flags.build_config(flag_values)


def test_defaults_are_those_of_the_config():
    assert parsed(*NEEDED) == config.RunConfig(
        teacher=config.TeacherConfig("x.keras"), data=config.DataConfig("folder:x")
    )


def test_every_setting_has_a_flag():
    stages = {section.config for section in distill_flags.SECTIONS}
    stage_names = ("teacher", "data", "student", "train", "compress", "export")
    fields = {
        (stage, field.name)
        for stage in stages
        for field in dataclasses.fields(stage)
        if stage is not config.RunConfig or field.name not in stage_names
    }
    listed = [
        (section.config, name) for section in distill_flags.SECTIONS for name in section.helps
    ]
    assert set(listed) == fields
    assert len(set(listed)) == len(listed)


def test_the_names_users_know():
    flag_values = flags.FlagValues()
    distill_flags.define_flags(flag_values)
    names = (
        "teacher teacher_cuts graft student student_cuts dataset data_dir eval_dataset "
        "eval_data_dir shots images seed augment loss feature_weight steps strategy workdir formats"
    )
    assert set(names.split()) <= set(flag_values)


def test_flags_reach_their_config():
    run = parsed(
        *NEEDED,
        "--teacher_cuts=a,b",
        "--student=zoo:resnet18",
        "--student_cuts=c,d",
        "--graft=1",
        "--loss=kl",
        "--steps=10,20",
        "--eval_dataset=npz:test.npz",
        "--formats=int8",
        "--workdir=out",
        "--resume",
    )
    assert run.teacher.cuts == ("a", "b")
    assert (run.student.source, run.student.cuts, run.student.graft) == (
        "zoo:resnet18",
        ("c", "d"),
        "1",
    )
    assert (run.train.loss, run.train.steps) == ("kl", (10, 20))
    assert run.data.eval_dataset == "npz:test.npz"
    assert run.export.formats == ("int8",)
    assert (run.workdir, run.resume) == ("out", True)


def test_images_take_the_place_of_default_shots():
    run = parsed(*NEEDED, "--images=50")
    assert (run.data.shots, run.data.images) == (None, 50)


def test_images_beside_given_shots():
    with pytest.raises(KgraftError, match="got --shots=5 and --images=50"):
        parsed(*NEEDED, "--shots=5", "--images=50")
    assert parsed(*NEEDED, "--shots=5", "--shots=none", "--images=50").data.images == 50


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--teacher=", "--teacher is missing"),
        ("--dataset=cifar10", "--dataset must be tfds:NAME, folder:PATH"),
        ("--eval_dataset=cifar10", "--eval_dataset must be tfds:NAME, folder:PATH"),
        ("--augment=flip", "--augment must be one of none, crop_flip, imagenet; got 'flip'"),
        ("--loss=huber", "--loss must be one of normalized_mse, mse, kl; got 'huber'"),
        ("--strategy=tpu", "--strategy must be one of auto, one_device, mirrored, multi_worker"),
        ("--formats=int4", "--formats must be one of saved_model, float32, float16, dynamic, int8"),
        ("--preprocess=x", "--preprocess must be one of"),
        ("--teacher_outputs=x", "--teacher_outputs must be one of"),
        ("--start=x", "--start must be one of teacher, random; got 'x'"),
        ("--shots=0", "--shots must be at least 1; got 0"),
        ("--seed=-1", "--seed must be from 0 to 4294967295; got -1"),
        ("--steps=-1", "--steps must be at least 0; got -1"),
        ("--batch=0", "--batch must be at least 1; got 0"),
        ("--block_rate=0", "--block_rate must be above 0; got 0.0"),
        ("--feature_weight=-1", "--feature_weight must be at least 0; got -1.0"),
        ("--teacher_cuts=0", "--teacher_cuts must be at least 1; got 0"),
    ],
)
def test_values_out_of_range_name_their_flag(argument, message):
    with pytest.raises(KgraftError) as error:
        parsed(*NEEDED, argument)
    assert str(error.value).startswith(message)


def test_teacher_and_dataset_are_required():
    with pytest.raises(KgraftError, match="--teacher is missing: "):
        parsed("--dataset=folder:x")
    with pytest.raises(KgraftError, match="--dataset is missing: "):
        parsed("--teacher=x.keras")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_flagfiles_of_the_project(path):
    command = teach if path.stem.endswith("_teacher") else distill_flags
    flag_values = flags.FlagValues()
    command.define_flags(flag_values)
    entry.parse(flag_values, [f"--flagfile={path}"])
    assert not pathlib.Path(command.build_config(flag_values).workdir).is_absolute()
    head = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert any(f"--flagfile=configs/{path.name}" in line for line in head)
    assert any("inutes" in line for line in head)
    assert any("xpected" in line or "esult" in line for line in head)


def test_the_flagfiles_there_are():
    assert {path.stem for path in CONFIGS} == {
        "cifar10",
        "cifar10_paper",
        "cifar100",
        "cifar100_paper",
        "cifar10_resnet56",
        "fashion_mnist",
        "fashion_mnist_teacher",
        "imagenet",
        "imagenet_resnet34",
    }
