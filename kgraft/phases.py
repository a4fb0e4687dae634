"""The phases of a graft schedule by number and name, and how they are shared out.

Like the settings, this needs no TensorFlow: `--dry_run` lists the phases, and a wrong list is
answered at once.
"""

import dataclasses
import re
from collections.abc import Sequence

from kgraft.errors import KgraftError

ALL = "all"
_PART = re.compile(r"\d+(-\d+)?|one(/block\d+)?|two(/blocks\d+-\d+)?")


@dataclasses.dataclass(frozen=True)
class Span:
    """Where a phase works.

    Attributes:
        name: `one/block3` or `two/blocks3-4`.
        stage: 1 for single blocks, 2 for growing spans.
        first, last: its blocks, both included.
    """

    name: str
    stage: int
    first: int
    last: int


def list_spans(grafted: Sequence[int], order: str) -> tuple[Span, ...]:
    """Lists the phases of the paper's two stages, in the order they are trained.

    Args:
        grafted: numbers of the blocks that are replaced, ascending.
        order: `forward` or `backward`, the end that stage two grows from.

    Returns:
        Every block alone, then spans that grow by one grafted block until all are in. A single
        grafted block has no stage two.
    """
    if order == "forward":
        growing = [(grafted[0], last) for last in grafted[1:]]
    else:
        growing = [(first, grafted[-1]) for first in reversed(grafted[:-1])]
    one = [Span(f"one/block{block}", 1, block, block) for block in grafted]
    two = [Span(f"two/blocks{first}-{last}", 2, first, last) for first, last in growing]
    return (*one, *two)


def check_phases(text: str) -> None:
    """Checks the form of `--phases`, whatever phases there are.

    Args:
        text: `all`, or numbers, ranges, names and stages, separated by commas.

    Raises:
        KgraftError: a part is none of these.
    """
    for part in _parts(text):
        if not _PART.fullmatch(part):
            raise KgraftError(
                "--phases must be all, or phases by number or name separated by commas, such as "
                f"0-2,4 or one/block3, or by stage, one or two; got {part!r}"
            )


def check_side_by_side(text: str) -> None:
    """Checks `--side_by_side`.

    Args:
        text: `auto`, `off` or how many processes.

    Raises:
        KgraftError: it is none of these.
    """
    if text not in ("auto", "off") and not re.fullmatch("[1-9][0-9]*", text):
        raise KgraftError(
            f"--side_by_side must be auto, off or a whole number above 0; got {text!r}"
        )


def choose_phases(text: str, names: Sequence[str]) -> tuple[str, ...] | None:
    """Finds the phases that `--phases` asks for.

    Args:
        text: `all`, or numbers from 0, ranges, names and stages (`one`), separated by commas.
        names: all phases in the order of the graft schedule.

    Returns:
        Names in that order, each once; None for `all`, which asks for the whole run.

    Raises:
        KgraftError: a part is not of the right form, or there is no such phase.
    """
    check_phases(text)
    if text == ALL:
        return None
    chosen: set[str] = set()
    for part in _parts(text):
        found = [n for n in names if part in (n, n.partition("/")[0])] or _numbered(part, names)
        if not found:
            listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
            raise KgraftError(f"--phases={text}: there is no phase {part}; there are {listed}")
        chosen.update(found)
    return tuple(name for name in names if name in chosen)


def _parts(text: str) -> list[str]:
    return [] if text == ALL else [part.strip() for part in text.split(",")]


def _numbered(part: str, names: Sequence[str]) -> list[str]:
    """The names a number or a range stands for; nothing where one of them is out of range."""
    first, _, last = part.partition("-")
    if not first.isdecimal():
        return []
    start, stop = int(first), int(last or first)
    return list(names[start : stop + 1]) if start <= stop < len(names) else []
