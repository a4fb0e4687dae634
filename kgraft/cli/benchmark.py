"""kgraft-benchmark: latency, memory and bytes of exported files, measured in turn in one run."""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from absl import flags

from kgraft.checks import at_least
from kgraft.cli import entry
from kgraft.cli.config_flags import Section, define_section, read_section
from kgraft.errors import KgraftError

ABOUT = (
    "Measures .tflite files (or .keras models, as float32) in LiteRT with XNNPACK, .onnx files in "
    "ONNX Runtime, one image at a time: median and 95th percentile, peak memory, bytes, and ratios "
    "to the first file. Files are measured in turns, so that a busy moment of the machine meets "
    "all of them. Prints the commands that do the same on a phone, and reads what they told."
)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is measured.

    Attributes:
        files: `.tflite`, `.onnx` or `.keras` files.
        teacher: a teacher, as kgraft-distill takes it, measured first; None for none.
        threads: thread counts, separated by commas; `all` is every core.
        runs: timed runs of each file at each thread count.
        tool: `auto` for LiteRT's own benchmark tool where there is one, `none` for this process.
        read: files with results to show too, separated by commas.
        output: file for the results as JSON; None for none.
    """

    files: tuple[str, ...] = ()
    teacher: str | None = None
    threads: str = "1,all"
    runs: int = 200
    tool: str = "auto"
    read: tuple[str, ...] = ()
    output: str | None = None

    def __post_init__(self) -> None:
        at_least("runs", self.runs, 1)
        parts = self.threads.split(",")
        if not all(part == "all" or (part.isdecimal() and int(part) > 0) for part in parts):
            raise KgraftError(
                "--threads must be whole numbers above 0 or all, separated by commas; got "
                f"{self.threads!r}"
            )
        if self.tool not in ("auto", "none"):
            raise KgraftError(f"--tool must be one of auto, none; got {self.tool!r}")
        if not (self.files or self.teacher or self.read):
            raise KgraftError(
                "expected .tflite, .onnx or .keras files to measure, or --read=FILE; got neither"
            )


BENCHMARK = Section(
    "benchmark",
    BenchmarkConfig,
    {
        "teacher": "a teacher in the form of kgraft-distill's --teacher, exported as float32 and "
        "measured first",
        "threads": "thread counts to measure at, separated by commas; all for every core",
        "runs": "timed runs of each file at each thread count",
        "tool": "auto: LiteRT's own benchmark tool (benchmark_model or litert-benchmark) where it "
        "is on PATH or beside this Python, and no file is one of ONNX; none: this process",
        "read": "results to show too, separated by commas: JSON of this command or of "
        "litert-benchmark, or what benchmark_model printed on a phone",
        "output": "file to write the results to as JSON; none for no file",
    },
)


def main() -> NoReturn:
    """Runs the command on `sys.argv`.

    Raises:
        SystemExit: always, with the command's exit code.
    """
    entry.run(
        "kgraft-benchmark",
        define_flags,
        build_config,
        execute,
        about=ABOUT,
        arguments="FILE ...",
        on_interrupt="nothing was written",
    )


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        flag_values: where the flags are defined.
    """
    define_section(BENCHMARK, flag_values)


def build_config(flag_values: flags.FlagValues, files: Sequence[str] = ()) -> BenchmarkConfig:
    """Makes the settings from the parsed flags.

    Args:
        flag_values: the parsed flags.
        files: the arguments that are no flags.

    Raises:
        KgraftError: a value is not valid, or there is nothing to do.
    """
    return BenchmarkConfig(files=tuple(files), **read_section(BENCHMARK, flag_values))


def execute(config: BenchmarkConfig) -> None:
    """Measures, then prints the table and what to do on devices.

    Args:
        config: the settings.

    Raises:
        KgraftError: a file cannot be measured, read or written.
    """
    _check_output(config.output)
    # Late, because these load TensorFlow and --help must not wait for it.
    from kgraft.pipeline import benchmarking
    from kgraft.report import benchmark_json, benchmark_table, read_benchmark

    read = [row for path in config.read for row in read_benchmark(pathlib.Path(path))]
    with tempfile.TemporaryDirectory() as scratch:
        files = benchmarking.open_files(
            config.files, teacher=config.teacher, scratch=pathlib.Path(scratch)
        )
        rows = (*_measured(config, files), *read)
    print(benchmark_table(rows))
    if config.output:
        _write(config.output, benchmark_json(rows))
    print(_on_devices([path for path in config.files if path.endswith(".tflite")], config.runs))


def _check_output(output: str | None) -> None:
    """Checks before anything is measured what could be known then."""
    if not output:
        return
    path = pathlib.Path(output)
    if not path.parent.is_dir():
        raise KgraftError(f"--output={output} must be in an existing folder; {path.parent} is none")
    if path.is_dir():
        raise KgraftError(f"--output={output} must be a file; it is a folder")
    if not os.access(path.parent, os.W_OK):
        raise KgraftError(f"--output={output} must be in a folder that can be written to")


def _write(output: str, text: str) -> None:
    from kgraft.data.write import writing_aside

    try:
        with writing_aside(output) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KgraftError(f"--output={output} cannot be written: {error.strerror}") from error


def _measured(config: BenchmarkConfig, files: Mapping[str, pathlib.Path]) -> tuple[Any, ...]:
    from kgraft.pipeline import benchmarking

    if not files:
        return ()
    return benchmarking.measure(
        files,
        threads=benchmarking.thread_counts(config.threads),
        runs=config.runs,
        own_tool=config.tool == "auto",
    )


def _on_devices(files: Sequence[str], runs: int) -> str:
    from kgraft.export import microcontroller_notes, phone_commands

    paths = [pathlib.Path(path) for path in files]
    if not paths:
        return ""
    notes = [line for path in paths for line in microcontroller_notes(path)]
    titles = ("\non an Android phone:", "\non a microcontroller, with LiteRT for Microcontrollers:")
    parts = zip(titles, (phone_commands(paths, runs=runs), notes), strict=True)
    return "\n".join(
        f"{title}\n" + "\n".join(f"  {line}" for line in part) for title, part in parts
    )


if __name__ == "__main__":
    main()
