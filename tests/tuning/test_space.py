import pytest
from tuning_cases import settings

from kgraft.errors import KgraftError
from kgraft.tuning.domains import choice, real
from kgraft.tuning.space import Space, open_space

SPACE = Space({
    "block2_rate": real(1e-4, 1e-2, log=True),
    "block2_ratio": real(0.25, 0.75, step=0.25),
    "block2": choice("keep", "width", "depth:2"),
    "teacher_cuts": choice("a", "a+b", "3"),
    "steps_one": choice(0, 50),
    "block_rate": choice(1e-3, 1e-2),
    "loss": choice("mse", "kl"),
    "temperature": choice(1.0, 4.0),
})


def test_parameters_come_after_what_they_depend_on():
    names = SPACE.ordered()
    for name in names:
        for parent, _ in SPACE.conditions(name):
            assert names.index(parent) < names.index(name)


def test_parts_exist_only_where_they_do_something():
    cuts = ("teacher_cuts", ("a+b", "3"))
    assert SPACE.conditions("block2") == (cuts,)
    assert SPACE.conditions("block2_ratio") == (cuts, ("block2", ("width",)))
    assert SPACE.conditions("block2_rate") == (
        cuts,
        ("block2", ("width", "depth:2")),
        ("steps_one", (50,)),
    )
    assert SPACE.conditions("block_rate") == (("steps_one", (50,)),)
    assert SPACE.conditions("temperature") == (("loss", ("kl",)),)
    assert SPACE.conditions("loss") == ()


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("colour=1|2", "there is no parameter 'colour'; there are teacher_cuts, steps_one"),
        ("block1_ratio=0.9..0.3", "block1_ratio is an empty range"),
        ("block3=keep|drop", "block3: the teacher is cut into 3 blocks, 0 to 2"),
        ("block1_ratio=0.5..1.5", "block1_ratio=1.5: .* ratio above 0 and up to 1"),
        ("loss=mse|hint", "loss=hint: --loss must be one of"),
        ("steps_one=1.0..5.0", "steps_one=1.0: --steps must be a whole number; got 1.0"),
        ("batch=a|b", "batch=a: --batch must be a whole number; got 'a'"),
        ("batch=0|32", "batch=0: --batch must be at least 1"),
        ("block1_rate=0.0..1.0", "block1_rate=0.0: --block_rate must be above 0"),
        ("block0_ratio=0.25|0.5", "block0_ratio does nothing: block 0 is keep; give block0"),
        ("block0_rate=0.25|0.5", "block0_rate does nothing: block 0 is kept"),
        ("temperature=1|4", "temperature does nothing with --loss=normalized_mse"),
        ("block1=width|keep", "block1=width needs a ratio: add block1_ratio, or give width:0.5"),
        ("block1=widht|keep", "block1 must be of width, inner, .*; got 'widht'"),
    ],
)
def test_bad_spaces_are_refused_by_name(vary, message):
    with pytest.raises(KgraftError, match=f"--space: {message}"):
        settings(vary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "zoo:small"}, "--student=zoo:small: a search is over recipes"),
        ({"steps": (1, 2, 3)}, "--steps must be one number or two"),
        ({"block_rate": (0.1, 0.2)}, "--block_rate must be one number"),
    ],
)
def test_starts_that_cannot_be_varied(changes, message):
    with pytest.raises(KgraftError, match=message):
        settings(**changes)


@pytest.mark.parametrize(
    ("vary", "steps", "stage"),
    [
        ("block_rate=1e-3|1e-2", (0, 100), "steps_one"),
        ("block1_rate=1e-3|1e-2", (0, 100), "steps_one"),
        ("adapter_rate_two=1e-3|1e-2", (100, 0), "steps_two"),
    ],
)
def test_a_rate_of_a_stage_without_steps_is_refused(vary, steps, stage):
    name, text = vary.partition("=")[0], ",".join(map(str, steps))
    wanted = f"{name} does nothing: with --steps={text} {stage} is 0 and is not varied"
    with pytest.raises(KgraftError, match=wanted):
        settings(vary, steps=steps)
    assert settings(vary, steps=steps[::-1])
    assert settings(vary, f"{stage}=0|50", steps=steps)


@pytest.mark.parametrize(
    ("augment", "vary"),
    [
        ("crop_flip", "augment=none|crop_flip"),
        ("none", "augment=crop_flip|imagenet"),
        ("imagenet", "augment=none"),
    ],
)
def test_no_augmentation_beside_others_is_refused(augment, vary):
    with pytest.raises(KgraftError, match="--space: augment cannot be none in some trials and"):
        settings(vary, augment=augment)
    assert settings("augment=crop_flip|imagenet", augment="crop_flip")
    assert settings("batch=8|16", augment="none")


def test_a_file_and_what_the_flags_say(tmp_path):
    file = tmp_path / "space.py"
    file.write_text(
        "from kgraft.tuning import choice\n"
        "SPACE = {'batch': choice(8, 16), 'order': choice('forward', 'backward')}\n"
    )
    space = open_space(str(file), ("batch=32|64",))
    assert space.parameters == {"batch": choice(32, 64), "order": choice("forward", "backward")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SPACE = 3", "must set SPACE to a dict of parameters; got int"),
        ("x = 1", "must set SPACE to a dict of parameters; got NoneType"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("import sys; sys.exit(0)", r"space.py: SystemExit: 0"),
    ],
)
def test_files_that_set_no_space(tmp_path, text, message):
    file = tmp_path / "space.py"
    file.write_text(text)
    with pytest.raises(KgraftError, match=message):
        open_space(str(file), ())


def test_nothing_to_vary():
    with pytest.raises(KgraftError, match="--space is missing: give a file such as"):
        open_space(None, ())
    with pytest.raises(KgraftError, match=r"there is no nowhere\.py"):
        open_space("nowhere.py", ())
    with pytest.raises(KgraftError, match="--vary must be NAME=VALUES"):
        open_space(None, ("batch",))
