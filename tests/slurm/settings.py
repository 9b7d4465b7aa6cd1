"""The configuration files of a pretended Frontier: two nodes, each with eight GPUs."""

import socket
from dataclasses import dataclass
from pathlib import Path

NODES = ("frontier00001", "frontier00002")
ACCOUNT = "geo123"
CORES = 64
GPUS = 8


@dataclass(frozen=True)
class Ports:
    """The TCP ports of one cluster's daemons; `nodes` in the order of NODES."""

    controller: int
    accounting: int
    database: int
    nodes: tuple[int, ...]


def write_settings(folder: Path, ports: Ports) -> None:
    """Write every configuration file into `folder`/etc, and the pretended devices beside it."""
    etc, devices = folder / "etc", folder / "devices"
    etc.mkdir()
    devices.mkdir()
    for name in (f"gpu{number}" for number in range(GPUS)):
        (devices / name).touch()
    (etc / "slurm.conf").write_text(_slurm(folder, ports))
    (etc / "gres.conf").write_text(f"Name=gpu File={devices}/gpu[0-{GPUS - 1}]\n")
    # Nothing here uses control groups, yet slurmd ends where it finds none, and with version 2 it
    # asks systemd for some: let it take an empty folder for those of version 1.
    (folder / "cgroup").mkdir()
    (etc / "cgroup.conf").write_text(
        f"CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint={folder}/cgroup\n"
    )
    database = etc / "slurmdbd.conf"
    database.touch(mode=0o600)  # slurmdbd refuses one that others can read
    database.write_text(_slurmdbd(folder, ports))


def _slurm(folder: Path, ports: Ports) -> str:
    host = socket.gethostname().split(".")[0]
    settings = {
        "ClusterName": "frontier",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports.controller,
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket",
        "CredType": "cred/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": f"{folder}/spool/%n",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": f"{folder}/%n.pid",
        "SlurmdParameters": "config_overrides",  # believe the cores and memory written below
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "GresTypes": "gpu",
        "AllowSpecResourcesUsage": "YES",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "ReturnToService": 2,
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": ports.accounting,
        "AccountingStoragePass": folder / "munge" / "socket",  # munge's way to the accounting
        "AccountingStorageEnforce": "associations",
        # A test must not wait for what a site does every minute or two.
        "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,bf_interval=1",
        "PriorityType": "priority/basic",
        "SlurmdTimeout": 20,
        "KillWait": 10,
    }
    lines = [f"{key}={value}" for key, value in settings.items()]
    lines += [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CORES}"
        f" CoresPerSocket={CORES} RealMemory=500000 Gres=gpu:{GPUS} Features=nvme"
        for name, port in zip(NODES, ports.nodes, strict=True)
    ]
    every = "Nodes=" + ",".join(NODES)
    lines += [
        f"PartitionName=batch {every} Default=YES MaxTime=12:00:00 OverSubscribe=EXCLUSIVE",
        f"PartitionName=extended {every} MaxTime=1-00:00:00 OverSubscribe=EXCLUSIVE",
    ]
    return "\n".join(lines) + "\n"


def _slurmdbd(folder: Path, ports: Ports) -> str:
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge/socket",
        "DbdHost": socket.gethostname().split(".")[0],
        "DbdAddr": "127.0.0.1",
        "DbdPort": ports.accounting,
        "SlurmUser": "root",
        "PidFile": folder / "slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "127.0.0.1",
        "StoragePort": ports.database,
        "StorageUser": "slurm",
        "StoragePass": "slurm",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
