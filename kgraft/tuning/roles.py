"""Chief and workers: who this process is, that it lives, and how a worker finds its chief."""

import contextlib
import dataclasses
import errno
import pathlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc

from kgraft.errors import KgraftError, one_line
from kgraft.grafting.locks import file_lock
from kgraft.tuning.oracles import worker_lock

WORKERS = "workers"
# As long as Keras Tuner's own client.
_PATIENCE_SECONDS = 3600.0
_WAIT_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
# Whoever asks whether a worker lives holds its lock for an instant: one is not the end.
_RESTS = (0.1, 0.2, 0.3, 0.4, 0.0)
_VARIABLES = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")


@dataclasses.dataclass(frozen=True)
class Role:
    """What this process does in a search of several.

    Attributes:
        name: its name, from Keras Tuner's environment variable.
        shared: whether there are several.
        chief: whether it shares the trials out and writes the results.
        host: of the chief's machine.
        port: the chief's.
    """

    name: str = "alone"
    shared: bool = False
    chief: bool = False
    host: str = ""
    port: int = 0

    @property
    def works(self) -> bool:
        """Whether it does trials."""
        return not (self.shared and self.chief)

    @property
    def reports(self) -> bool:
        """Whether it writes the results."""
        return self.chief or not self.shared


def find_role(environment: Mapping[str, str]) -> Role:
    """Reads Keras Tuner's environment variables.

    Args:
        environment: the process's.

    Raises:
        KgraftError: some are set and others are not, the port is no number, or the host an IPv6
            address.
    """
    given = [name for name in _VARIABLES if environment.get(name)]
    if not given or given == [_VARIABLES[2]]:
        return Role()
    if len(given) < len(_VARIABLES):
        missing = ", ".join(name for name in _VARIABLES if name not in given)
        raise KgraftError(
            f"{', '.join(given)} is set and {missing} is not: chief and workers need all three"
        )
    host, port, name = (environment[variable] for variable in _VARIABLES)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise KgraftError(f"{_VARIABLES[1]} must be a port, 1 to 65535; got {port!r}")
    if ":" in host:
        raise KgraftError(f"{_VARIABLES[0]} must be a name or an IPv4 address; got {host!r}")
    return Role(name, shared=True, chief="chief" in name, host=host, port=int(port))


@contextlib.contextmanager
def held_alive(workers: pathlib.Path, role: Role) -> Iterator[None]:
    """Holds this process's lock, by which others know that it lives.

    Args:
        workers: the folder of the locks, in the shared work folder.
        role: this process's.

    Raises:
        KgraftError: another process holds it.
    """
    for rest in _RESTS:
        with file_lock(worker_lock(workers, role.name), wait=None) as held:
            if held:
                yield
                return
        time.sleep(rest)
    raise KgraftError(
        f"another process is at work in {workers.parent} as {role.name}: wait for it, or "
        f"give this one a {_VARIABLES[2]} of its own (docs/tuning.md)"
    )


@contextlib.contextmanager
def serving(role: Role) -> Iterator[None]:
    """Sees to it that a chief has its address for itself before it serves there.

    gRPC shares a port with others that do (SO_REUSEPORT), so that two chiefs at one address would
    each get some of the other's workers, and both searches would be mixed.

    Args:
        role: this process's; for one that is no chief nothing is done.

    Raises:
        KgraftError: another process listens there, or it is no address of this machine.
    """
    if not role.chief:
        yield
        return
    _check_address(role)
    try:
        yield
    except RuntimeError as error:
        # Keras Tuner's server, where another process was faster by an instant.
        if "Failed to bind" not in str(error):
            raise
        raise KgraftError(_taken(role)) from error


def _check_address(role: Role) -> None:
    try:
        found = socket.getaddrinfo(role.host, role.port, type=socket.SOCK_STREAM)
        # One is enough for gRPC: a name may have an IPv6 address on a machine without IPv6.
        failed = [reason for one in found if (reason := _failed_to_bind(*one)) is not None]
    except (OSError, UnicodeError) as error:
        raise KgraftError(_not_served(role, error)) from error
    for reason in failed:
        if reason.errno == errno.EADDRINUSE:
            raise KgraftError(_taken(role)) from reason
    if len(failed) == len(found):
        raise KgraftError(_not_served(role, failed[0])) from failed[0]


def _failed_to_bind(family: int, kind: int, protocol: int, _: str, address: Any) -> OSError | None:
    try:
        with socket.socket(family, kind, protocol) as tried:
            # Connections of a chief that was killed linger on; whoever listens is in the way still.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        return error
    return None


def _taken(role: Role) -> str:
    return (
        f"the chief needs {role.host}:{role.port} for itself, and another chief or program listens "
        f"there: wait for it, or give chief and workers another {_VARIABLES[1]} (docs/tuning.md)"
    )


def _not_served(role: Role, error: Exception) -> str:
    return (
        f"the chief cannot listen at {role.host}:{role.port} ({one_line(error)}): "
        f"{_VARIABLES[0]} must be an address of the machine that the chief runs on, and "
        f"{_VARIABLES[1]} a port that it may open (docs/tuning.md)"
    )


def await_chief(role: Role, *, ended: Callable[[], bool], say: Callable[[str], None]) -> bool:
    """Waits for the chief, which may be started after its workers.

    Keras Tuner's client waits as well, but does not see that the search has ended without it.

    Args:
        role: a worker's.
        ended: whether the search is over, with nothing left for a worker.
        say: told that it waits, and for whom.

    Returns:
        Whether the chief answers; False where the search has ended.

    Raises:
        KgraftError: nobody answers within an hour.
    """
    given_up = time.monotonic() + _PATIENCE_SECONDS
    told = False
    # The chief first: it serves until a worker has asked in vain.
    while not _answers(role):
        if ended():
            return False
        if not told:
            say(f"waiting for the chief at {role.host}:{role.port}")
            told = True
        if time.monotonic() > given_up:
            raise KgraftError(
                f"no chief answers at {role.host}:{role.port}, where {_VARIABLES[0]} and "
                f"{_VARIABLES[1]} say it is: start kgraft-tune there with {_VARIABLES[2]}=chief "
                "(docs/tuning.md)"
            )
        time.sleep(_WAIT_SECONDS)
    return True


@contextlib.contextmanager
def answered(role: Role) -> Iterator[None]:
    """Turns the loss of the chief into an error of one line.

    Args:
        role: a worker's.

    Raises:
        KgraftError: a request found no answer.
    """
    try:
        yield
    except grpc.RpcError as error:
        code = getattr(error, "code", None)
        reason = code().name if callable(code) else type(error).__name__
        raise KgraftError(
            f"the chief at {role.host}:{role.port} does not answer any more ({reason}): start "
            "chief and workers again with the same flags; they go on where they were"
        ) from error


def _answers(role: Role) -> bool:
    try:
        with socket.create_connection((role.host, role.port), timeout=_ANSWER_SECONDS):
            return True
    except (OSError, UnicodeError):
        return False
