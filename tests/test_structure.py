"""The house rules that a program can check: who imports whom, and how long things are."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted((ROOT / "kgraft").rglob("*.py"))

# A package imports only from packages before it, and the first stages know only the settings.
ORDER = (
    "errors",
    "interrupts",
    "phases",
    "checks",
    "compress_config",
    "data_config",
    "config",
    "data",
    "graph",
    "zoo",
    "teach",
    "students",
    "grafting",
    "compress",
    "export",
    "report",
    "pipeline",
    "comparison",
    "api",
    "tuning",
    "cli",
)
INDEPENDENT = ("data", "graph", "zoo")
APART = {"tuning": {"comparison"}, "comparison": {"tuning"}}
HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "numpy", "ai_edge_litert")
LIGHT = (
    "errors",
    "interrupts",
    "phases",
    "checks",
    "compress_config",
    "data_config",
    "config",
    "cli",
)
LONGEST_MODULE = 350
LONGEST_FUNCTION = 70


def package(path):
    """Returns the first name below kgraft: the package, or the module at the top."""
    return path.relative_to(ROOT / "kgraft").with_suffix("").parts[0]


def imported(nodes):
    """Yields the dotted name of every module that the import statements among `nodes` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_packages(tree):
    names = [name.split(".") for name in imported(ast.walk(tree))]
    return {parts[1] for parts in names if parts[0] == "kgraft" and len(parts) > 1}


def parse(path):
    return ast.parse(path.read_text("utf-8"))


def code_lines(function):
    """Returns the length of a function without its docstring."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    return total - (function.body[0].end_lineno - function.body[0].lineno + 1)


def identify(path):
    return str(path.relative_to(ROOT))


def test_every_package_has_its_place():
    found = {package(path) for path in MODULES} - {"__init__"}
    assert found <= set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_imports_follow_the_flow(path):
    name = package(path)
    if name == "__init__":
        return
    allowed = set(ORDER[: ORDER.index(name) + 1])
    if name in INDEPENDENT:
        allowed = {"errors", "checks", "data_config", "config", name}
    allowed -= APART.get(name, set())
    assert own_packages(parse(path)) & set(ORDER) <= allowed


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_imports_are_absolute(path):
    relative = [n for n in ast.walk(parse(path)) if isinstance(n, ast.ImportFrom) and n.level]
    assert not relative


@pytest.mark.parametrize(
    "path", [path for path in MODULES if package(path) in (*LIGHT, "__init__")], ids=identify
)
def test_nothing_heavy_before_the_flags_are_checked(path):
    top = {name.split(".")[0] for name in imported(parse(path).body)}
    assert not top & set(HEAVY)


def test_importing_the_package_and_its_settings_is_light():
    program = (
        "import sys, kgraft, kgraft.config\n"
        "import kgraft.cli.benchmark, kgraft.cli.compare, kgraft.cli.distill, kgraft.cli.export\n"
        "import kgraft.cli.peak_memory, kgraft.cli.teach, kgraft.cli.tune\n"
        "kgraft.RunConfig, kgraft.KgraftError, kgraft.__version__\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_modules_and_functions_stay_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST_MODULE
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: code_lines(node) for node in functions}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}
