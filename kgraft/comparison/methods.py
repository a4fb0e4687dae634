"""The methods by name."""

import dataclasses
from collections.abc import Callable, Sequence

from kgraft.comparison.config import METHODS
from kgraft.comparison.distiller import distiller
from kgraft.comparison.fskd import fskd
from kgraft.comparison.grafted import PAPER_PLANS, closed, kgraft, paper
from kgraft.comparison.mir import check_features, mir
from kgraft.comparison.pruned import check_prunable
from kgraft.comparison.setting import Outcome, Setting
from kgraft.comparison.whole_methods import finetune, fitnet, kd, kd_pruned
from kgraft.errors import KgraftError
from kgraft.graph import Chain
from kgraft.students import Recipe


@dataclasses.dataclass(frozen=True)
class Method:
    """One method of the table.

    Attributes:
        run: makes the student; its docstring names the source.
        prunes: whether it starts from the pruned teacher, which a student model is not.
        takes: whose updates it does: `budget` (the common one), `own` where its source states
            them for this teacher and else the budget, or `none`.
        reads_labels: whether it learns from the labels of the transfer images.
        plain_views: whether it learns from the views of the transfer images alone, without mixed
            ones and those of extra images.
        revision: raised with a change of the method that changes its results: cells of another
            revision are made again.
    """

    run: Callable[[Setting], Outcome]
    prunes: bool = False
    takes: str = "budget"
    reads_labels: bool = False
    plain_views: bool = False
    revision: int = 1

    @property
    def about(self) -> str:
        """The first line of its description."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


_METHODS = {
    "finetune": Method(finetune, prunes=True, reads_labels=True, plain_views=True),
    "kd": Method(kd),
    "kd_pruned": Method(kd_pruned, prunes=True),
    "distiller": Method(distiller),
    "fitnet": Method(fitnet),
    "fskd": Method(fskd, prunes=True, takes="none"),
    "mir": Method(mir, prunes=True),
    "paper": Method(paper, takes="own", plain_views=True),
    "closed": Method(closed, takes="none"),
    "kgraft": Method(kgraft),
}


def method(name: str) -> Method:
    """Returns the method of a name out of `METHODS`."""
    return _METHODS[name]


def check_methods(
    names: Sequence[str], chain: Chain, recipes: tuple[Recipe, ...], *, updates: int
) -> None:
    """Checks that the methods can work on this student with this budget.

    Args:
        names: the methods asked for.
        chain: the teacher.
        recipes: one per block of the teacher.
        updates: the common budget.

    Raises:
        KgraftError: a method that prunes is given another kind of student.
        KgraftError: nothing is replaced in front of the features that `mir` mimics.
        KgraftError: a method that takes the budget is given none.
    """
    pruning = [name for name in names if method(name).prunes]
    if pruning:
        try:
            check_prunable(chain, recipes)
        except KgraftError as error:
            raise KgraftError(
                f"--methods: for a pruned teacher, which is what {', '.join(pruning)} must start "
                f"from, {error}: leave out methods that prune, such as in "
                f"--methods={_without_pruning()}"
            ) from None
    if "mir" in names:
        check_features(chain, [i for i, recipe in enumerate(recipes) if recipe.kind != "keep"])
    classes = chain.graph.output_shape[-1]
    for name in names:
        if takes_budget(name, classes) and not updates:
            raise KgraftError(
                f"--steps=0 leaves {name} no updates, because all methods do as many as kgraft: "
                f"give --steps above 0, or only --methods={_without_budget(classes)}"
            )


def takes_budget(name: str, classes: int | None) -> bool:
    """Returns whether a method does as many updates as the common budget has.

    Args:
        name: of the method.
        classes: how many logits the teacher has.
    """
    takes = method(name).takes
    return takes == "budget" or (takes == "own" and classes not in PAPER_PLANS)


def _without_pruning() -> str:
    return ",".join(name for name in METHODS if not method(name).prunes)


def _without_budget(classes: int | None) -> str:
    return ",".join(name for name in METHODS if not takes_budget(name, classes))
