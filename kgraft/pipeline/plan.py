"""The phases a run will have, from its settings alone; needs no TensorFlow."""

from kgraft.config import RunConfig
from kgraft.phases import Span, choose_phases, list_spans
from kgraft.students.recipes import assign_recipes


def plan_phases(config: RunConfig) -> tuple[Span, ...]:
    """Lists the phases of a run, in the order they are trained.

    Args:
        config: the settings. Of a number of blocks the teacher, once opened, may come to fewer.

    Raises:
        KgraftError: `--graft` or `--student` cannot be read or names blocks there are not.
        KgraftError: `--phases` names a phase there is not.
    """
    cuts = config.teacher.cuts
    blocks = cuts if isinstance(cuts, int) else len(cuts) + 1
    recipes = assign_recipes(
        config.student.graft,
        config.student.source,
        blocks,
        keep_all=bool(config.compress.techniques),
    )
    grafted = [index for index, recipe in enumerate(recipes) if recipe.kind != "keep"]
    spans = list_spans(grafted, config.train.order)
    choose_phases(config.phases, [span.name for span in spans])
    return spans
