import contextlib
import socket
import threading
import types

import pytest
from tuning_cases import record, settings

from kgraft.errors import KgraftError
from kgraft.grafting.locks import file_lock
from kgraft.tuning import run
from kgraft.tuning.oracles import worker_lock
from kgraft.tuning.records import TrialStore
from kgraft.tuning.roles import Role


def test_the_chief_waits_for_the_start_while_a_worker_may_do_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_WAIT_SECONDS", 0.01)
    store, workers = TrialStore(tmp_path), tmp_path / "workers"
    store.start({})
    waiting = threading.Thread(target=run._await_start, args=(store, workers))
    with file_lock(worker_lock(workers, "chief"), wait=None):
        with file_lock(worker_lock(workers, "one"), wait=None):
            waiting.start()
            waiting.join(0.1)
            assert waiting.is_alive()
            store.save(record("start", 0.5, 0.5))
            waiting.join(5)
            assert not waiting.is_alive()
        # Nobody is left who could do it.
        (tmp_path / "trials" / "start.json").unlink()
        run._await_start(store, workers)


def test_the_start_is_tried_once_more_after_the_search(tmp_path, monkeypatch):
    store = TrialStore(tmp_path)
    store.start({})
    bench = types.SimpleNamespace(
        config=settings(),
        judge=types.SimpleNamespace(views=(), note=""),
        untrained=lambda _: (_ for _ in ()).throw(KgraftError("it was tried")),
    )
    laboratory = types.SimpleNamespace(bench=bench, store=store)
    with contextlib.ExitStack() as other:
        assert other.enter_context(file_lock(tmp_path / "start.lock", wait=None))
        # The worker that was at it dies during the search.
        tuner = types.SimpleNamespace(search=other.close)
        monkeypatch.setattr(run, "await_chief", lambda *_, **__: True)
        monkeypatch.setattr(run, "open_tuner", lambda *_, **__: tuner)
        run._search(laboratory, tmp_path, Role("one", shared=True), lambda _: None)
    assert store.find("start").error == "it was tried"


def test_a_chief_whose_trials_are_all_done_does_not_wait_for_workers(tmp_path):
    store = TrialStore(tmp_path)
    store.start({})
    chief = Role("chief", shared=True, chief=True)
    assert run._has_work(Role(), store, 1, pytest.fail)
    assert run._has_work(chief, store, 1, lambda _: None)
    store.save(record("0", 0.5, 0.5))
    assert not run._has_work(chief, store, 1, lambda _: None)
    # A worker would ask a chief that serves, which ends it.
    with socket.socket() as serving:
        serving.bind(("127.0.0.1", 0))
        serving.listen()
        port = serving.getsockname()[1]
        worker = Role("one", shared=True, host="127.0.0.1", port=port)
        assert run._has_work(worker, store, 1, lambda _: None)


def test_a_search_ends_where_its_space_has_no_further_points(tmp_path, monkeypatch):
    store, said = TrialStore(tmp_path), []
    store.start({})
    store.save(record("start", 0.5, 0.5))
    bench = types.SimpleNamespace(config=settings(), judge=types.SimpleNamespace(views=(), note=""))
    laboratory = types.SimpleNamespace(bench=bench, store=store)
    tuner = types.SimpleNamespace(search=lambda: store.save(record("0", 0.5, 0.5)))
    monkeypatch.setattr(run, "open_tuner", lambda *_, **__: tuner)
    chief = Role("chief", shared=True, chief=True, host="127.0.0.1")
    trials = bench.config.trials
    run._search(laboratory, tmp_path, chief, said.append)
    assert said[-1] == f"1 of {trials} trials: the space has no further points"
    # Nobody listens there any more, and a worker that comes late does not wait for it.
    late = Role("late", shared=True, host="127.0.0.1", port=9)
    assert not run._has_work(late, store, trials, pytest.fail)
    assert not run._has_work(chief, store, trials, pytest.fail)
    assert run._has_work(chief, store, trials + 1, pytest.fail)


def test_a_chief_does_not_share_its_port(tmp_path, monkeypatch):
    store = TrialStore(tmp_path)
    store.start({})
    bench = types.SimpleNamespace(config=settings(), judge=types.SimpleNamespace(views=(), note=""))
    laboratory = types.SimpleNamespace(bench=bench, store=store)
    monkeypatch.setattr(run, "open_tuner", pytest.fail)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        chief = Role("chief", shared=True, chief=True, host="127.0.0.1", port=port)
        with pytest.raises(KgraftError, match=f"the chief needs 127.0.0.1:{port} for itself"):
            run._search(laboratory, tmp_path, chief, lambda _: None)
