"""The student's size held against the teacher's, before an hour goes into training it."""

from collections.abc import Sequence

from kgraft.grafting import fuse
from kgraft.graph import Graph, total_macs
from kgraft.pipeline.job import Job
from kgraft.pipeline.stopwatch import tell
from kgraft.students import StudentBlock

# A student that keeps as much of both is hardly smaller.
_MOST = 0.95


def tell_of_size(job: Job, student: Sequence[StudentBlock]) -> None:
    """Tells what the fused student will have of the teacher, and warns where that is nearly all.

    Args:
        job: the input of the run. Where it replaces no block there is nothing to tell.
        student: the student blocks; they do not change.
    """
    if all(block.kept for block in student):
        return
    for line in size_lines(job.chain.graph, fuse(tuple(student)).graph, student):
        tell(line)


def size_lines(teacher: Graph, fused: Graph, student: Sequence[StudentBlock]) -> tuple[str, ...]:
    """Says what a student has of its teacher's parameters and multiply-adds.

    Args:
        teacher: the whole teacher.
        fused: the whole student.
        student: its blocks, for the notes of how they were made.

    Returns:
        Lines to tell the user; the second, where there is one, begins with `warning`.
    """
    counts = {
        "parameters": (fused.parameters, teacher.parameters),
        "multiply-adds": (total_macs(fused), total_macs(teacher)),
    }
    had = [
        f"{ours:,} of {theirs:,} {what} ({ours / max(1, theirs):.1%})"
        for what, (ours, theirs) in counts.items()
    ]
    told = f"the student has {' and '.join(had)}"
    if any(ours < _MOST * theirs for ours, theirs in counts.values()):
        return (told,)
    advice = "graft more blocks, or other ones, or give another --student"
    return (
        told,
        f"warning: the student is hardly smaller than the teacher{_why(student)}: {advice}",
    )


def _why(student: Sequence[StudentBlock]) -> str:
    """The notes of the blocks, those of several in one, in brackets."""
    blocks: dict[str, list[str]] = {}
    for block in student:
        for note in block.notes:
            blocks.setdefault(note, []).append(block.name)
    notes = [f"{', '.join(names)} {note}" for note, names in blocks.items()]
    return f" ({'; '.join(notes)})" if notes else ""
