"""What a collective operation costs by its size and by where its members are.

All-gather and reduce-scatter go round a ring, as NCCL and RCCL did them when the published points
were measured: their latency grows with the number of ranks. All-reduce between nodes goes up and
down a tree, whose latency grows with the logarithm of the nodes. Costs as in Thakur, Rabenseifner
and Gropp (2005), "Optimization of collective communication operations in MPICH".
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Links:
    """What messages go over.

    Args:
        node_bytes_s: Between devices of a node, reached, bytes/s.
        network_bytes_s: Between a node and the others, reached, all adapters, bytes/s.
        node_hop_s: Latency of a message between devices of a node, s.
        hop_s: Latency of a message between nodes, s.
    """

    node_bytes_s: float
    network_bytes_s: float
    node_hop_s: float
    hop_s: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """Ranks that communicate with each other.

    Args:
        members: How many.
        nodes: Over how many nodes they are spread evenly.
        beside: Groups of the same kind that share a node's adapters.
    """

    members: int
    nodes: int
    beside: int = 1


def gathering_s(size: float, group: Group, links: Links) -> float:
    """Seconds of an all-gather, or of a reduce-scatter, round a ring.

    Args:
        size: Bytes of the whole, of which each member has its part.
        group: Who takes part.
        links: What it goes over.
    """
    hop, speed = _slowest(group, links)
    return (group.members - 1) * (hop + size / group.members / speed)


def all_reduce_s(size: float, group: Group, links: Links) -> float:
    """Seconds of an all-reduce: round a ring in each node, then over a tree of nodes.

    Args:
        size: Bytes that each member has and wants summed.
        group: Who takes part.
        links: What it goes over.
    """
    inside = Group(members=group.members // group.nodes, nodes=1)
    seconds = 2 * gathering_s(size, inside, links)
    if group.nodes > 1:
        speed = links.network_bytes_s / group.beside
        seconds += 2 * math.log2(group.nodes) * links.hop_s
        seconds += 2 * (group.nodes - 1) / group.nodes * size / speed
    return seconds


def _slowest(group: Group, links: Links) -> tuple[float, float]:
    """Latency and bandwidth of the slowest link of a ring, for which all the others wait."""
    if group.nodes == 1:
        return links.node_hop_s, links.node_bytes_s
    return links.hop_s, min(links.node_bytes_s, links.network_bytes_s / group.beside)
