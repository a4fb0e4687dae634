from absl import flags
from tuning_cases import settings

from kgraft.cli import distill_flags, entry
from kgraft.tuning.candidate import candidate_run
from kgraft.tuning.flagfile import flag_lines


def test_the_lines_are_read_back_to_the_same_run():
    values = {"block1": "inner", "block1_ratio": 0.35, "block2_rate": 1.7e-4, "steps_one": 30}
    start = settings("block1=inner:0.5|drop", labels=None, mixed_views=7, formats=("int8",)).run
    run = candidate_run(values, start)
    flag_values = flags.FlagValues()
    distill_flags.define_flags(flag_values)
    entry.parse(flag_values, flag_lines(run))
    assert distill_flags.build_config(flag_values) == run
