"""Layouts made up for tests of what is chosen among them."""

from workflow_scripts.forecast.options import Option


def option(strategy="full_shard", nodes=1, *, total_s=3600.0, memory=10e9, **more):
    """A layout that can be, of so many nodes of eight devices, and so many seconds."""
    given = {
        "strategy": strategy, "nodes": nodes, "ranks": 8 * nodes, "batch": 256 * nodes,
        "memory_bytes": memory, "fits": True, "step_s": 1.0, "compute_s": 0.8,
        "communication_s": 0.2, "images_per_s": 256.0 * nodes, "efficiency": 1.0,
        "epoch_s": total_s / 10, "total_s": total_s, "segments": 1, "walltime_minutes": 60,
        "node_hours": nodes * total_s / 3600, "kwh": None, "kg_co2": None, "refused": None,
    }  # fmt: skip
    return Option(**(given | more))


def too_large(strategy="ddp", nodes=1, memory=90e9):
    """A layout for which a device has too little memory."""
    return option(strategy, nodes, memory=memory, fits=False, refused="a device needs 90.0 GB")
