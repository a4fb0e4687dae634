import contextlib
import socket
from concurrent import futures

import grpc
import pytest

from kgraft.errors import KgraftError
from kgraft.grafting.locks import file_lock
from kgraft.tuning import roles
from kgraft.tuning.oracles import worker_lock
from kgraft.tuning.roles import Role, answered, await_chief, find_role, held_alive, serving

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
    given = {**ADDRESS, "KERASTUNER_ORACLE_IP": "::1", "KERASTUNER_TUNER_ID": "one"}
    with pytest.raises(KgraftError, match="IP must be a name or an IPv4 address; got '::1'"):
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


def chief_at(port, host="127.0.0.1"):
    return Role("chief", shared=True, chief=True, host=host, port=port)


@contextlib.contextmanager
def grpc_server(port):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@pytest.fixture
def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_second_chief_on_the_same_port_is_refused(free_port):
    with grpc_server(free_port):
        with grpc_server(free_port):
            pass  # gRPC has nothing against it.
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(
                KgraftError,
                match=rf"the chief needs {host}:{free_port} for itself, and another chief or "
                r"program listens there: .* another KERASTUNER_ORACLE_PORT",
            ):
                serving(chief_at(free_port, host)).__enter__()
        with serving(worker_at(free_port)), serving(Role()):
            pass


def test_a_program_that_takes_the_port_in_the_last_moment(free_port):
    with (
        pytest.raises(KgraftError, match=rf"the chief needs 127.0.0.1:{free_port} for itself"),
        socket.socket() as program,
        serving(chief_at(free_port)),
    ):
        program.bind(("127.0.0.1", free_port))
        program.listen()
        grpc_server(free_port).__enter__()
    with pytest.raises(RuntimeError, match="it broke"), serving(chief_at(free_port)):
        raise RuntimeError("it broke")


def test_a_chief_on_a_machine_that_is_not_its_own(free_port):
    for host in ("192.0.2.1", "no.such.host.invalid", "a" * 70):
        with pytest.raises(
            KgraftError,
            match=rf"cannot listen at {host}:{free_port} \(.+\): KERASTUNER_ORACLE_IP must be an",
        ):
            serving(chief_at(free_port, host)).__enter__()


def test_a_chief_that_is_started_again_has_its_port(free_port):
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", free_port))
        listening.listen()
        with socket.create_connection(("127.0.0.1", free_port)) as worker:
            # The side that closes first keeps the address for a minute.
            listening.accept()[0].close()
            worker.recv(1)
    with pytest.raises(OSError, match="in use"), socket.socket() as plain:
        plain.bind(("127.0.0.1", free_port))
    with serving(chief_at(free_port)), grpc_server(free_port):
        pass
