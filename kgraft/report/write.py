"""Writes the report beside the student."""

import os
from pathlib import Path

from kgraft.errors import KgraftError
from kgraft.report.json_report import to_json
from kgraft.report.markdown import to_markdown
from kgraft.report.records import RunReport

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"


def write_report(report: RunReport, workdir: str | Path) -> tuple[Path, Path]:
    """Writes `report.json` and `report.md`.

    Both are rendered and written aside before either takes its name: no report is half there.

    Args:
        report: the run's report.
        workdir: an existing folder.

    Returns:
        The two paths.

    Raises:
        KgraftError: the folder cannot be written to.
    """
    texts = {JSON_NAME: to_json(report), MARKDOWN_NAME: to_markdown(report)}
    asides = {name: Path(workdir, f".{name}.partial") for name in texts}
    try:
        for name, text in texts.items():
            asides[name].write_text(text, encoding="utf-8")
        for name, aside in asides.items():
            os.replace(aside, Path(workdir, name))
    except OSError as error:
        for aside in asides.values():
            aside.unlink(missing_ok=True)
        raise KgraftError(f"cannot write the report to {workdir}: {error}") from error
    return Path(workdir, JSON_NAME), Path(workdir, MARKDOWN_NAME)
