"""All ranks at one store, then connected to each other; or a message that says who waits for whom.

A rank that does not come, or does not get through to another one, would otherwise let all ranks
wait for as long as a message may take, and pay for it.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from torch import distributed as dist

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.pretrain.launch import Ranks, leave_words_to_first

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0
_LATER_S = 60.0  # rank 0, which knows who is missing, is the first to give up
_MOST_NAMED = 16
_NETWORK = (
    "Set GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME on accelerators) to the network interface "
    "that joins the nodes (`ip address` shows them), and see that no firewall is between them"
)


def store_of(ranks: Ranks, *, patience_s: float) -> Any:
    """The store through which the ranks meet; in rank 0 of an srun step it is opened.

    Raises:
        UserError: It cannot be reached; names where rank 0 is.
    """
    timeout, server = timedelta(seconds=patience_s), ranks.server
    try:
        if server is None:
            store, _, _ = next(
                dist.rendezvous(str(ranks.rendezvous), ranks.rank, ranks.world, timeout=timeout)
            )
            return store
        return dist.TCPStore(
            server.address if server.listening is None else "127.0.0.1",
            server.port,
            is_master=server.listening is not None,
            master_listen_fd=server.listening.detach() if server.listening else None,
            timeout=timeout,
            wait_for_workers=False,  # it would not say for whom
        )
    except RuntimeError as error:
        raise UserError(
            f"{_who(ranks)} cannot reach rank 0{_place_of_first(ranks)} in {patience_s:.0f} s: "
            f"{_cause(error)}. Rank 0 may have died (see what the log says of it), a firewall may "
            "close the port (set MASTER_PORT to an open one), or this node has no way to that "
            "address (set MASTER_ADDR to one that it reaches, or unset it)"
        ) from error


class Arrival:
    """The ranks' way from their launcher into one process group.

    Args:
        ranks: This process's place.
        patience_s: How long to wait for the others at each stage.

    Raises:
        UserError: The store of the ranks cannot be reached.
    """

    def __init__(self, ranks: Ranks, *, patience_s: float) -> None:
        self.ranks, self.patience = ranks, patience_s
        self._store = store_of(ranks, patience_s=patience_s)
        self._stages = 0

    def store_for(self, purpose: str, *, timeout_s: float) -> Any:
        """The store for the process groups."""
        self._store.set_timeout(timedelta(seconds=timeout_s))
        return dist.PrefixStore(purpose, self._store)

    def all_came(self) -> None:
        """Wait until every rank is at the store.

        Raises:
            UserError: Some do not come; names them. Or rank 0, which counts them, has died.
        """
        self._all("came")

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """A block in which the ranks connect to each other; waits until all of them have.

        Raises:
            UserError: Some do not get through; names them, or what this rank met.
        """
        self._stages += 1
        begun, connected = f"begun-{self._stages}", f"connected-{self._stages}"
        _stage(self._store, begun).set(f"rank-{self.ranks.rank}", self.ranks.where)
        patience = self.patience + (0.0 if self.ranks.is_first else _LATER_S)
        # The block is within torch, which does not come back before a message's timeout.
        guard = threading.Timer(patience, self._give_up, [begun, connected])
        guard.daemon = True
        guard.start()
        try:
            yield
        except RuntimeError as error:
            raise UserError(
                f"{_who(self.ranks)} cannot connect to the other ranks: {_cause(error)}. {_NETWORK}"
            ) from error
        finally:
            guard.cancel()
        self._all(connected)

    def _all(self, name: str) -> None:
        """Come to a stage and wait for all."""
        stage = _stage(self._store, name)
        stage.set(f"rank-{self.ranks.rank}", self.ranks.where)
        count = stage.add("count", 1)
        if not self.ranks.is_first:
            self._await_verdict(stage)
            return
        pause, end = _SHORTEST_PAUSE, time.monotonic() + self.patience
        while count < self.ranks.world:
            if time.monotonic() >= end:
                stage.set("verdict", "missing")
                raise UserError(self._missing(stage))
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            count = stage.add("count", 0)
        stage.set("verdict", "all")

    def _await_verdict(self, stage: Any) -> None:
        patience = self.patience + _LATER_S
        try:
            stage.wait(["verdict"], timedelta(seconds=patience))
        except RuntimeError as error:
            raise UserError(
                f"{_who(self.ranks)} waits for rank 0{_place_of_first(self.ranks)}, which does not "
                f"answer ({_cause(error)}): it has died, or its node has; see what the log says "
                "of it. Start the same command again to go on from the last checkpoint"
            ) from error
        verdict = b""
        with suppress(RuntimeError):  # rank 0 has told it, says why in its log, and is gone
            verdict = stage.get("verdict")
        if verdict != b"all":
            leave_words_to_first()

    def _missing(self, *stages: Any) -> str:
        """What rank 0 says of the ranks that have not come to the first stage that any lacks."""
        ranks = self.ranks
        for stage in stages:
            came = {
                rank: stage.get(f"rank-{rank}").decode()
                for rank in range(ranks.world)
                if stage.check([f"rank-{rank}"])
            }
            missing = [rank for rank in range(1, ranks.world) if rank not in came]
            if missing:
                break
        else:
            return f"{_who(ranks)} is not connected to the other ranks, which are. {_NETWORK}"
        nodes = ranks.step.nodes if ranks.step else ()
        silent = [node for node in nodes if node not in {*came.values(), ranks.where}]
        of_node = f" (no rank of {_some(silent)})" if silent else ""
        port = f" at {ranks.server.address}:{ranks.server.port}" if ranks.server else ""
        return (
            f"{_who(ranks)} waits{port} for {len(missing)} of {ranks.world} ranks, which after "
            f"{self.patience:.0f} s have not come or are not connected: "
            f"{_some(_ranges(missing))}{of_node}. See what the log says of them; they may have "
            f"died, or no way leads from their nodes to this one. {_NETWORK}"
        )

    def _give_up(self, *names: str) -> None:
        """End this process, whose main thread is within torch and cannot be told."""
        store = self._store.clone()  # a call that waits holds its connection
        begun, stage = (_stage(store, name) for name in names)
        if self.ranks.is_first:
            log.error("%s", self._missing(begun, stage))
            stage.set("verdict", "missing")
        elif not stage.check(["verdict"]):
            log.error("%s is not connected to the other ranks. %s", _who(self.ranks), _NETWORK)
        os._exit(1)


def _stage(store: Any, name: str) -> Any:
    """Where ranks tell that they have got so far."""
    return dist.PrefixStore(name, store)


def _who(ranks: Ranks) -> str:
    job = f", job {ranks.step.job}" if ranks.step else ""
    return f"rank {ranks.rank} of {ranks.world} (on {ranks.where}{job})"


def _place_of_first(ranks: Ranks) -> str:
    if ranks.server is None:
        return ""
    return f" on {ranks.server.host} at {ranks.server.address}:{ranks.server.port}"


def _cause(error: BaseException) -> str:
    """The first line of an error: torch adds the stack of its own code."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _ranges(numbers: list[int]) -> list[str]:
    """1, 2, 3, 7 → `1-3`, `7`."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def _some(names: Iterable[str]) -> str:
    named = list(names)
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return ", ".join(named[:_MOST_NAMED]) + more
