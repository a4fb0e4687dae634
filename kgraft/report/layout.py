"""Text cells laid out as a table: for a terminal, and as Markdown."""

from collections.abc import Sequence


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Lays text cells out for a terminal: names to the left, figures to the right."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Lays text cells out as a Markdown table."""
    rule = ("---", *("---:" for _ in table[0][1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (table[0], rule, *table[1:]))
