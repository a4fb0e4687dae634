"""Chief and workers by Keras Tuner's environment variables, in processes of their own."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

TRIALS = 12
_PATIENCE = 1500


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(world, folder, name, port):
    settings = world.flags(
        teacher=str(world.folder / "teacher.keras"),
        vary=("block1_ratio=0.25|0.5|0.75", "batch=2|4|8|16", "block_rate=1e-3|1e-2"),
        trials=TRIALS,
        prune="off",
        workdir=str(folder),
    )
    arguments = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in settings.items()
    ]
    environment = {
        **os.environ,
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "kgraft.cli.tune", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ongoing(folder):
    try:
        return json.loads((folder / "tuner" / "oracle.json").read_text())["ongoing_trials"]
    except (OSError, ValueError):
        return {}


def worker_of(folder, trial):
    path = folder / "trials" / f"{trial}.json"
    return json.loads(path.read_text())["worker"] if path.exists() else None


@pytest.mark.slow
def test_one_of_two_workers_is_killed_and_all_trials_are_done(world, tmp_path):
    folder, port = tmp_path / "work", free_port()
    chief, one, two = (start(world, folder, name, port) for name in ("chief", "one", "two"))
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            lost, done = ongoing(folder).get("two"), list((folder / "trials").glob("*"))
            if lost and len(done) >= 4 and folder / "trials" / f"{lost}.json" not in done:
                break
            assert time.monotonic() < end, one.communicate(timeout=1)
            time.sleep(0.1)
        two.kill()
        two.wait()
        # It may have been faster than the signal.
        finished = worker_of(folder, lost) == "two"
        printed, said = chief.communicate(timeout=_PATIENCE)
        assert chief.returncode == 0, said
        assert one.wait(timeout=60) == 0
    finally:
        for process in (chief, one, two):
            process.kill()
            process.wait()
    content = json.loads((folder / "search.json").read_text())
    records = {r["trial"]: r for r in content["trials"] if r["trial"] != "start"}
    assert len(records) == TRIALS
    assert {record["status"] for record in records.values()} == {"trained"}
    assert {record["worker"] for record in records.values()} == {"one", "two"}
    assert records[lost]["worker"] == ("two" if finished else "one")
    assert "search.json" in printed


@pytest.mark.slow
def test_a_chief_that_is_killed_is_started_again(world, tmp_path):
    folder, port = tmp_path / "work", free_port()
    chief, one = (start(world, folder, name, port) for name in ("chief", "one"))
    try:
        end = time.monotonic() + _PATIENCE
        while len(list((folder / "trials").glob("*"))) < 4:
            assert time.monotonic() < end, one.communicate(timeout=1)
            time.sleep(0.1)
        chief.kill()
        chief.wait()
        chief = start(world, folder, "chief", port)
        while chief.poll() is None and time.monotonic() < end:
            if one.poll():
                # It was asking at that moment.
                assert "does not answer any more" in one.communicate()[1]
                one = start(world, folder, "one", port)
            time.sleep(0.1)
        assert chief.poll() == 0, chief.communicate(timeout=1)
        assert one.wait(timeout=60) == 0
    finally:
        for process in (chief, one):
            process.kill()
            process.wait()
    content = json.loads((folder / "search.json").read_text())
    assert len([r for r in content["trials"] if r["status"] == "trained"]) == TRIALS + 1
