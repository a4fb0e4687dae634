import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest

from kgraft.errors import KgraftError
from kgraft.export import (
    Timing,
    find_tool,
    float32_bytes,
    from_json,
    from_log,
    litert_tool,
    time_by_tool,
)

# The lines of benchmark_model that matter, of a warm-up and of the timed runs.
LOG = """\
INFO: STARTING!
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/student_int8.tflite]
INFO: The input model file size (MB): 0.219
INFO: count=35 first=19105 curr=13909 min=13585 max=19105 avg=14452.5 std=1240 p5=1 median=2 p95=3
INFO: count=70 first=14941 curr=14066 min=13728 max=16145 avg=14290.9 std=452 p5=13800 \
median=14200 p95=15000
INFO: Inference timings in us: Init: 52687, First inference: 19105, Warmup (avg): 14452.5, \
Inference (avg): 14290.9
INFO: Memory footprint delta from the start of the tool (MB): init=21.9492 overall=34.5234
"""


def test_the_output_of_benchmark_model():
    graph, timing, memory = from_log(LOG)
    assert graph == "/data/local/tmp/student_int8.tflite" and memory == 34.5234
    assert dataclasses.astuple(timing) == (4, 14.2, 15.0, pytest.approx(14.2909), 70)


def test_an_older_benchmark_model_tells_the_mean_alone():
    old = LOG.replace(" p5=13800 median=14200 p95=15000", "").replace("overall=34.5234", "")
    _, timing, memory = from_log(old)
    assert (timing.median_ms, timing.p95_ms, memory) == (None, None, None)
    assert timing.typical_ms == pytest.approx(14.2909)


def test_a_single_timed_run_is_not_the_warm_up():
    """Of runs that all took the same time benchmark_model tells no mean."""
    before, _, after = LOG.partition("INFO: count=70")
    after = after[after.index("INFO: Inference timings") :]
    single = f"{before}INFO: count=1 curr=2200000 p5=2200000 median=2200000 p95=2200000\n{after}"
    _, timing, _ = from_log(single)
    assert dataclasses.astuple(timing) == (4, 2200.0, 2200.0, 2200.0, 1)
    same = single.replace("count=1 curr=2200000", "count=3 curr=2200000(all same)")
    assert from_log(same)[1].runs == 3 and from_log(same)[1].mean_ms == 2200.0


@pytest.mark.parametrize(
    "text", ["", "adb: no devices/emulators found\n", LOG.split("Inference")[0]]
)
def test_no_output_of_benchmark_model(text):
    with pytest.raises(KgraftError, match="expected the output of benchmark_model, with a line"):
        from_log(text)


def test_json_that_is_not_the_tools():
    with pytest.raises(KgraftError, match="expected the JSON of litert-benchmark; it lacks 'lat"):
        from_json({"num_threads": 1})


def test_the_tool_that_comes_with_the_runtime_measures_in_turns(student, tmp_path):
    tool = Path(sys.executable).with_name("litert-benchmark")
    assert find_tool() in (tool, Path(shutil.which("benchmark_model") or tool))
    path = tmp_path / "student.tflite"
    path.write_bytes(float32_bytes(student))
    times = time_by_tool(tool, {"b": path, "a": path}, threads=1, runs=9)
    assert list(times) == ["b", "a"]
    for timing in times.values():
        assert (timing.threads, timing.runs) == (1, 9)
        assert 0 <= timing.median_ms <= timing.p95_ms < 1000


def script(folder, name, body):
    tool = folder / name
    tool.write_text(f"#!{sys.executable}\n{body}")
    tool.chmod(0o755)
    return tool


def test_the_native_tool_is_asked_and_read(tmp_path):
    asked = str(tmp_path / "asked")
    said = f"import sys\nopen({asked!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    tool = script(tmp_path, "benchmark_model", said + f"print({LOG!r})\n")
    times = time_by_tool(tool, {"x": Path("x.tflite")}, threads=4, runs=30)
    assert times == {"x": Timing(4, 14.2, 15.0, pytest.approx(14.2909), 210)}
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["--graph=x.tflite --num_runs=10 --warmup_runs=5 --num_threads=4"] * 3


def test_a_tool_that_fails(tmp_path):
    tool = script(
        tmp_path,
        "litert-benchmark",
        "print('ok')\nimport sys\nsys.exit('cannot run this op\\nINFO: bye')\n",
    )
    with pytest.raises(KgraftError, match=r"litert-benchmark failed on x\.tflite: cannot run this"):
        time_by_tool(tool, {"x": Path("x.tflite")}, threads=1, runs=3)
    with pytest.raises(KgraftError, match="nowhere cannot be run on x"):
        time_by_tool(tmp_path / "nowhere", {"x": Path("x.tflite")}, threads=1, runs=3)


def test_the_native_tool_on_path_comes_first(tmp_path, monkeypatch):
    tool = script(tmp_path, "benchmark_model", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tool() == tool
    tool.unlink()
    monkeypatch.setattr(litert_tool.sys, "executable", str(tmp_path / "python"))
    assert find_tool() is None


def test_results_of_rounds_are_medians(tmp_path):
    numbers = json.dumps([1.0, 9.0, 2.0])
    body = (
        "import json, sys, pathlib\n"
        f"left = pathlib.Path({str(tmp_path / 'left')!r})\n"
        f"todo = json.loads(left.read_text()) if left.exists() else {numbers}\n"
        "out = next(a for a in sys.argv if a.startswith('--result_json=')).split('=')[1]\n"
        "ms = todo[0]\n"
        "json.dump({'num_threads': 1, 'latency': {'median_ms': ms, 'p95_ms': 2 * ms, 'avg_ms': ms,"
        " 'num_runs': 5}}, open(out, 'w'))\n"
        "left.write_text(json.dumps(todo[1:]))\n"
    )
    tool = script(tmp_path, "litert-benchmark", body)
    times = time_by_tool(tool, {"x": Path("x.tflite")}, threads=1, runs=15)
    assert times == {"x": Timing(1, 2.0, 4.0, 2.0, 15)}
