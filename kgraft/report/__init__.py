"""What a run tells: records, and the same in JSON, Markdown and on the terminal."""

from kgraft.report.benchmark import (
    BenchmarkRow,
    benchmark_json,
    benchmark_table,
    read_benchmark,
)
from kgraft.report.environment import peak_memory_mb, versions
from kgraft.report.records import ModelRow, RunReport, Skipped
from kgraft.report.table import format_table
from kgraft.report.write import JSON_NAME, MARKDOWN_NAME, write_report

__all__ = [
    "JSON_NAME",
    "MARKDOWN_NAME",
    "BenchmarkRow",
    "ModelRow",
    "RunReport",
    "Skipped",
    "benchmark_json",
    "benchmark_table",
    "format_table",
    "peak_memory_mb",
    "read_benchmark",
    "versions",
    "write_report",
]
