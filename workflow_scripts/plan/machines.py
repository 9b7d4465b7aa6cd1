"""Machines that are built in, by name: `machines.yaml`."""

from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parent / "machines.yaml"
BUILT_IN: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
# Of a device's memory; the rest is the driver's, the libraries' and what lies between allocations.
USABLE = 0.9
# What those leave out; a test holds them to the defaults of the configuration's `Machine`.
DEFAULTS: dict[str, Any] = {
    "node_watts": None,
    "idle_watts": None,
    "limits": [],
    "start_minutes": 3.0,
    "storage_gb_s": 1.0,
    "constants": {},
}
