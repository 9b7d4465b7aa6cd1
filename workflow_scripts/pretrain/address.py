"""Where other nodes reach this one: the address and the port that rank 0 tells."""

import errno
import os
import socket
from collections.abc import Mapping

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.pretrain.launch_slurm import Step

_LOOPBACK = "127.0.0.1"
_NOBODY = "192.0.2.1"  # is no host's (RFC 5737)
_PORT = 9  # any will do: nothing is sent
_BACKLOG = 65535  # more ranks than the kernel keeps waiting; it takes its own limit


def listen(environment: Mapping[str, str] = os.environ) -> socket.socket:
    """A listening socket on a port that the kernel chose, or on MASTER_PORT.

    Raises:
        UserError: MASTER_PORT is taken or is no port.
    """
    text = environment.get("MASTER_PORT", "0")
    if not text.isdigit() or int(text) > 65535:
        raise UserError(f"MASTER_PORT is {text!r}; it must be a port, or unset for a free one")
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", int(text)), family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both, backlog=_BACKLOG,
        )  # fmt: skip
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES) or text == "0":
            raise
        raise UserError(
            f"MASTER_PORT is {text}, which on {socket.gethostname()} cannot be listened at "
            f"({error.strerror}); unset it, and a free port is taken"
        ) from error


def own_address(step: Step, environment: Mapping[str, str] = os.environ) -> str:
    """The address at which the step's other nodes reach this one.

    MASTER_ADDR if it is set. Otherwise the address that this node itself would use to reach
    another node of the step; if that one's name does not resolve, what this host's own name
    resolves to, as `hostname -i` does; if that is nothing that others reach, the address on the
    network that the default route leads to. A host that has none of them has only itself.
    """
    if given := environment.get("MASTER_ADDR"):
        if not any(map(_is_ours, _resolved(given))):
            log.warning(
                "MASTER_ADDR is %s, which is no address of %s, where rank 0 is: if the other ranks "
                "cannot reach it, unset it", given, step.node,
            )  # fmt: skip
        return given
    others = [node for node in step.nodes if node != step.node]
    if not others:
        return _LOOPBACK
    return (
        _towards(others[0]) or _outside(_resolved(socket.gethostname())) or _towards(_NOBODY)
        or _LOOPBACK
    )  # fmt: skip


def _towards(host: str) -> str | None:
    """Our address on the way to a host; None if its name or the way is not known."""
    for address in _resolved(host):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as way:
                way.connect((address, _PORT))  # finds the way and sends nothing
                return str(way.getsockname()[0])
        except OSError:
            continue
    return None


def _is_ours(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as here:
            here.bind((address, 0))
    except OSError:
        return False
    return True


def _resolved(host: str) -> list[str]:
    """A host's addresses."""
    try:
        found = socket.getaddrinfo(host, _PORT, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return [str(address[0]) for *_, address in found]


def _outside(addresses: list[str]) -> str | None:
    """The first that is not this host's alone."""
    local = ("127.", "::1", "fe80:")
    return next((one for one in addresses if not one.startswith(local)), None)
