"""Measurements of speed and memory. They print what they find and never assert a time.

    pip install -e ".[benchmarks]" -c constraints.txt
    python -m benchmarks.step --json
    python -m benchmarks.distillation --json
    python -m benchmarks.scaling --json
    python -m benchmarks.export --json
    python -m benchmarks.trials --json
    python -m benchmarks.shared_blocks --json

Each has `--help`. `python -m benchmarks.report` puts what lies in docs/performance/ into the tables
of docs/performance.md.
"""
