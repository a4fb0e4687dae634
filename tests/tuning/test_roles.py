import contextlib
import socket

import grpc
import pytest

from kgraft.errors import KgraftError
from kgraft.grafting.locks import file_lock
from kgraft.tuning import roles
from kgraft.tuning.oracles import worker_lock
from kgraft.tuning.roles import Role, answered, await_chief, find_role, held_alive

ADDRESS = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": "8000"}


def test_roles():
    assert find_role({}) == Role()
    assert find_role({"KERASTUNER_TUNER_ID": "x"}).works
    chief = find_role({**ADDRESS, "KERASTUNER_TUNER_ID": "chief"})
    assert (chief.works, chief.reports) == (False, True)
    worker = find_role({**ADDRESS, "KERASTUNER_TUNER_ID": "worker1"})
    assert (worker.works, worker.reports) == (True, False)
    assert (worker.host, worker.port) == ("127.0.0.1", 8000)


def test_variables_that_name_no_chief():
    with pytest.raises(KgraftError, match="KERASTUNER_TUNER_ID is not: chief and workers need all"):
        find_role(ADDRESS)
    for port in ("http", "0", "70000"):
        given = {**ADDRESS, "KERASTUNER_ORACLE_PORT": port, "KERASTUNER_TUNER_ID": "one"}
        with pytest.raises(KgraftError, match=f"ORACLE_PORT must be a port, .*; got '{port}'"):
            find_role(given)


def test_a_lock_that_is_held_for_an_instant_is_waited_for(tmp_path, monkeypatch):
    role, path = Role("one", shared=True), worker_lock(tmp_path, "one")
    with contextlib.ExitStack() as asking:
        asking.enter_context(file_lock(path, wait=None))
        with monkeypatch.context() as patch:
            patch.setattr(roles.time, "sleep", lambda _: None)
            with pytest.raises(KgraftError, match=r"another process is at work in .* as one"):
                held_alive(tmp_path, role).__enter__()
        monkeypatch.setattr(roles.time, "sleep", lambda _: asking.close())
        with held_alive(tmp_path, role), file_lock(path, wait=None) as free:
            assert not free


def worker_at(port):
    return Role("one", shared=True, host="127.0.0.1", port=port)


def never():
    return False


@pytest.fixture
def silent_port():
    """A port of this machine where nobody listens, kept from others for the while."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def test_a_worker_waits_for_a_chief_that_comes_later(monkeypatch):
    with socket.socket() as chief:
        chief.bind(("127.0.0.1", 0))
        monkeypatch.setattr(roles.time, "sleep", lambda _: chief.listen())
        said = []
        port = chief.getsockname()[1]
        assert await_chief(worker_at(port), ended=never, say=said.append)
        assert said == [f"waiting for the chief at 127.0.0.1:{port}"]


def test_a_worker_that_comes_after_the_search_does_not_wait(silent_port):
    said = []
    assert not await_chief(worker_at(silent_port), ended=lambda: True, say=said.append)
    assert said == []


def test_a_chief_that_never_comes_is_given_up(monkeypatch, silent_port):
    monkeypatch.setattr(roles, "_PATIENCE_SECONDS", -1.0)
    with pytest.raises(
        KgraftError, match=rf"no chief answers at 127.0.0.1:{silent_port}, where .*TUNER_ID=chief"
    ):
        await_chief(worker_at(silent_port), ended=never, say=lambda _: None)


def test_a_chief_that_is_lost_is_an_error_of_one_line(silent_port):
    with (
        grpc.insecure_channel(f"127.0.0.1:{silent_port}") as channel,
        pytest.raises(KgraftError, match=rf"chief at 127.0.0.1:{silent_port} .*\(UNAVAILABLE\)"),
        answered(worker_at(silent_port)),
    ):
        channel.unary_unary("/Oracle/GetSpace")(b"", timeout=30)
