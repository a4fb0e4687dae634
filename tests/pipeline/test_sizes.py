"""What the user is told of the student's size before it is trained."""

import dataclasses

import keras
from keras import layers as kl
from small_models import conv

from kgraft import api
from kgraft.grafting import fuse
from kgraft.graph import total_macs
from kgraft.pipeline.job import open_job
from kgraft.pipeline.sizes import size_lines, tell_of_size
from kgraft.pipeline.stopwatch import Stopwatch
from kgraft.students import Start, make_student


def started(world, tmp_path, model=None, **flags):
    config = world.config(workdir=str(tmp_path), start="random", **flags)
    job = open_job(config, Stopwatch(say=None), model)
    return job, make_student(job.chain, job.recipes, Start("random", None, 0))


def normalised_teacher():
    """A network that is not understood: nothing in it can be thinned."""
    image = keras.Input((16, 16, 3))
    x = kl.LayerNormalization(name="norm0")(conv(image, 8, 1, name="stem"))
    for index in (1, 2):
        x = conv(kl.LayerNormalization(name=f"norm{index}a")(x), 8, name=f"conv{index}")
        x = kl.LayerNormalization(name=f"norm{index}b")(x)
    return keras.Model(image, kl.Dense(4, name="out")(kl.GlobalAveragePooling2D(name="pool")(x)))


def test_what_the_student_has_of_the_teacher_is_told(world, tmp_path, capsys):
    job, student = started(world, tmp_path)
    tell_of_size(job, student)
    fused = fuse(student).graph
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "the student has" in line]
    whole = job.chain.graph
    assert line.startswith(
        f"kgraft: the student has {fused.parameters:,} of {whole.parameters:,} parameters "
    )
    assert f" and {total_macs(fused):,} of {total_macs(whole):,} multiply-adds (" in line


def test_a_student_that_is_hardly_smaller_is_warned_of_with_the_reasons(world, tmp_path):
    cuts = ("norm1a", "norm2a")
    flags = {"teacher_cuts": cuts, "graft": "all"}
    job, student = started(world, tmp_path, normalised_teacher(), **flags)
    told, warning = size_lines(job.chain.graph, fuse(student).graph, student)
    assert told.endswith("multiply-adds (100.0%)")
    assert warning == (
        "warning: the student is hardly smaller than the teacher (block0, block1 kept at full "
        "width around Conv2D, LayerNormalization; block2 kept at full width around Conv2D, "
        "GlobalAveragePooling2D, LayerNormalization): graft more blocks, or other ones, or give "
        "another --student"
    )
    plain = [dataclasses.replace(block, notes=()) for block in student]
    assert "than the teacher: graft" in size_lines(job.chain.graph, fuse(student).graph, plain)[1]


def test_nothing_is_told_where_the_teacher_is_kept(world, tmp_path, capsys):
    job, student = started(world, tmp_path, student="keep", compress="prune", formats=("sparse",))
    tell_of_size(job, student)
    assert "the student has" not in capsys.readouterr().err


def test_a_run_tells_it_before_it_trains(world, tmp_path, capsys):
    api.distill(world.config(workdir=str(tmp_path / "run"), steps=(1, 1)))
    told = capsys.readouterr().err
    assert 0 < told.index("kgraft: the student has ") < told.index("kgraft: training 3 phases")
