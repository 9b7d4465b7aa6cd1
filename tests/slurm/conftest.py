"""One real Slurm for all tests that want it."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing, sweep


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running two-node Slurm, left as found by each test: no jobs, both nodes up."""
    lacking = missing()
    if lacking and (os.environ.get("CI") or os.environ.get("ORBWEAVER_REQUIRE_SLURM")):
        pytest.fail(lacking)
    if lacking:
        pytest.skip(lacking)
    sweep()
    # Whoever ends the tests ends the jobs as well.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Cluster() as cluster:
        yield cluster
    signal.signal(signal.SIGTERM, before)
