"""That what the documents name is there: links, flags, files and modules."""

import functools
import importlib
import pathlib
import re

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
FLAGFILES = sorted((ROOT / "configs").rglob("*.flags"))
# The modules that define the flags of a command.
COMMANDS = ("benchmark", "compare", "distill_flags", "export", "teach", "tune")
OUR_OTHERS = {"flagfile", "dry_run", "help", "name"}  # --name=value stands for any
# Flags of schedulers, LiteRT's and other tools, and of benchmarks/.
FOREIGN = {
    *("array", "dependency", "gpus", "parsable", "wrap"),
    *("check", "logdir", "num_threads", "eval"),
    *("axes", "full", "measure", "out", "rounds"),
}


def identify(path):
    return str(path.relative_to(ROOT))


def anchors(text):
    """The names by which the headings of a page are linked to."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_links_lead_somewhere(path):
    text = re.sub(r"\s*\n\s*", " ", path.read_text("utf-8"))
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@functools.cache
def known_flags():
    known = set(OUR_OTHERS)
    for module in COMMANDS:
        found = flags.FlagValues()
        importlib.import_module(f"kgraft.cli.{module}").define_flags(found)
        known |= set(found)
    assert "teacher" in known and "shots_list" in known
    return known


@pytest.mark.parametrize("path", [*DOCUMENTS, *FLAGFILES], ids=identify)
def test_flags_exist(path):
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9_]*[a-z0-9])", path.read_text("utf-8")))
    unknown = named - known_flags() - FOREIGN
    assert {name for name in unknown if name.removeprefix("no") not in known_flags()} == set()


@pytest.mark.parametrize("path", [*DOCUMENTS, *FLAGFILES], ids=identify)
def test_files_of_the_project_exist(path):
    text = path.read_text("utf-8")
    for name in re.findall(r"(?<![\w./])(?:configs|benchmarks|tests|docs)/[\w/.*-]*\w", text):
        assert list(ROOT.glob(name)), name


def test_every_module_is_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    sections = dict(re.findall(r"^\*\*(\w+)/\*\*(.*?)(?=^\*\*\w+/\*\*|^## |\Z)", text, re.M | re.S))
    for path in sorted((ROOT / "kgraft").glob("*/*.py")):
        if path.name != "__init__.py":
            assert f"`{path.name}`" in sections[path.parent.name], identify(path)
