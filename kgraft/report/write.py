"""Writes the report beside the student."""

import contextlib
from pathlib import Path

from kgraft.data.write import writing_aside
from kgraft.errors import KgraftError
from kgraft.report.json_report import to_json
from kgraft.report.markdown import to_markdown
from kgraft.report.records import RunReport

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"


def write_report(report: RunReport, workdir: str | Path) -> tuple[Path, Path]:
    """Writes `report.json` and `report.md`.

    Both are rendered before either is written, and both are written aside before either takes its
    name: no report is half there.

    Args:
        report: the run's report.
        workdir: an existing folder.

    Returns:
        The two paths.

    Raises:
        KgraftError: the folder cannot be written to.
    """
    texts = {JSON_NAME: to_json(report), MARKDOWN_NAME: to_markdown(report)}
    paths = {name: Path(workdir, name) for name in texts}
    try:
        with contextlib.ExitStack() as stack:
            asides = {n: stack.enter_context(writing_aside(path)) for n, path in paths.items()}
            for name, aside in asides.items():
                aside.write_text(texts[name], encoding="utf-8")
    except OSError as error:
        raise KgraftError(f"cannot write the report to {workdir}: {error}") from error
    return paths[JSON_NAME], paths[MARKDOWN_NAME]
