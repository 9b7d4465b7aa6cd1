"""A disk without room: told before where the size is known, and midway with what came kept."""

import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fault_proxy import Fault, FaultProxy
from tests.web import Web
from workflow_scripts.errors import UserError
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings

DATA = random.Random(0).randbytes(2_500_000)
FAST = Settings(retries=1, timeout_s=5, first_wait_s=0.01)


@contextmanager
def small_disk(folder: Path, size: int):
    """A file system of so many bytes; where none may be mounted the test is skipped."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "orbweaver-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fetch(urls, folder, **known):
    remotes = [Remote(name=f"{n}.bin", urls=(url,), **known) for n, url in enumerate(urls)]
    return download(remotes, folder, client=Client(FAST), what="the test's files")


def test_room_is_checked_before_anything_is_asked_for(web: Web, tmp_path):
    with small_disk(tmp_path / "disk", 2**20) as disk:
        with pytest.raises(UserError) as error:
            fetch([web.url("a.bin")] * 3, disk / "raw", bytes=1_000_000)
        assert "the test's files: 3000000 bytes (0.0 GB) are still to come" in str(error.value)
        assert f"the file system of {disk} has 1048576 bytes" in str(error.value)
    assert web.requests() == []


def test_what_has_come_before_needs_no_room(web: Web, tmp_path):
    for number in range(3):
        web.put(f"{number}.bin", DATA[:1_000_000])
    urls = [web.url(f"{number}.bin") for number in range(3)]
    with small_disk(tmp_path / "disk", 3 * 2**20 + 2**18) as disk:
        fetch(urls[:2], disk, bytes=1_000_000)
        (disk / "1.bin").rename(disk / ".1.bin.part")  # has come, but was not verified yet
        assert len(fetch(urls, disk, bytes=1_000_000)) == 3


def test_a_size_that_the_server_tells_is_checked_then(web: Web, tmp_path):
    web.put("a.bin", DATA)
    with small_disk(tmp_path / "disk", 2**20) as disk:
        with pytest.raises(UserError, match=r"0\.bin: 2500000 bytes .* are still to come"):
            fetch([web.url("a.bin")], disk)
        assert sum(path.stat().st_size for path in disk.iterdir()) < 1000


def test_a_disk_that_fills_midway_keeps_what_came_and_goes_on_with_room(web, tmp_path):
    web.put("a.bin", DATA)
    with small_disk(tmp_path / "disk", 4 * 2**20) as disk, FaultProxy(web.port) as proxy:
        other = disk / "of-somebody-else"
        proxy.faults = [Fault(first=lambda: other.write_bytes(bytes(5 * 2**19)))]
        with pytest.raises(UserError) as error:
            fetch([proxy.url("a.bin")], disk, bytes=len(DATA))
        part = disk / ".0.bin.part"
        kept = part.stat().st_size
        assert 0 < kept < len(DATA)
        assert f"{disk}/0.bin: No space left on device after {kept} bytes" in str(error.value)
        assert part.read_bytes() == DATA[:kept]
        other.unlink()
        (found,) = fetch([proxy.url("a.bin")], disk, bytes=len(DATA))
        assert found.path.read_bytes() == DATA
    assert web.requests()[-1]["range"] == f"bytes={kept}-"


def test_a_full_disk_cannot_even_begin_a_file(web: Web, tmp_path):
    web.put("a.bin", DATA)
    with small_disk(tmp_path / "disk", 2**18) as disk:
        other = disk / "of-somebody-else"
        with pytest.raises(OSError, match="No space"):
            other.write_bytes(bytes(2**20))
        with pytest.raises(UserError, match="No space left on device"):
            fetch([web.url("chunked/a.bin")], disk)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from workflow_scripts.logs import log
from workflow_scripts.errors import UserError
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    download([Remote(name="a.bin", urls=(sys.argv[1],))], Path(sys.argv[2]),
             client=Client(Settings(retries=0)), what="test")
except UserError as error:
    print(error)
"""


def test_a_limit_on_the_size_of_files_is_told_likewise(web: Web, tmp_path):
    web.put("a.bin", DATA)
    folder = tmp_path / "raw"
    done = subprocess.run([sys.executable, "-c", LIMITED, web.url("a.bin"), folder], cwd=ROOT,
                          text=True, capture_output=True, check=False)  # fmt: skip
    assert f"{folder}/a.bin: File too large after 1000000 bytes; they are kept" in done.stdout
    assert (folder / ".a.bin.part").read_bytes() == DATA[:1_000_000]
    (found,) = download([Remote(name="a.bin", urls=(web.url("a.bin"),))], folder,
                        client=Client(FAST), what="test")  # fmt: skip
    assert found.path.read_bytes() == DATA
    assert web.requests()[-1]["range"] == "bytes=1000000-"
