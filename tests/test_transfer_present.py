"""A file that lies there is read once, known again by size and time, and never used if wrong."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from workflow_scripts.errors import UserError
from workflow_scripts.transfer import present
from workflow_scripts.transfer.download import verified
from workflow_scripts.transfer.remote import Remote, without_secrets

DATA = b"all of it" * 1000
SHA256, MD5 = hashlib.sha256(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()


def remote(**known):
    return Remote(name="a.bin", urls=(), **known)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def reads(monkeypatch):
    """How many files were read."""
    seen = []
    read = present._read
    monkeypatch.setattr(present, "_read", lambda *a: (seen.append(a), read(*a))[1])
    return seen


@pytest.mark.parametrize(
    "known",
    [{}, {"bytes": len(DATA)}, {"sha256": SHA256.upper()}, {"md5": MD5},
     {"bytes": len(DATA), "sha256": SHA256, "md5": MD5}],
)  # fmt: skip
def test_the_right_file_is_read_once(path, reads, known):
    for _ in range(3):
        found = verified(path, remote(**known))
    assert (found.path, found.bytes, found.sha256, found.url) == (path, len(DATA), SHA256, None)
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        ({"bytes": 1}, "it has 9000 bytes, expected 1;"),
        ({"sha256": "0" * 64}, f"its sha256 is {SHA256}, expected {'0' * 64};"),
        ({"md5": "0" * 32}, f"its md5 is {MD5}, expected {'0' * 32};"),
    ],
)
def test_a_wrong_file_is_named_with_what_was_seen_and_stays(path, known, seen):
    for _ in range(2):  # the second time from what is remembered
        with pytest.raises(UserError) as error:
            verified(path, remote(**known))
        assert str(error.value).startswith(f"{path}: {seen}")
    assert path.read_bytes() == DATA


def test_a_missing_file_and_a_folder_are_told(path):
    with pytest.raises(UserError, match="no such file"):
        verified(path.with_name("b"), remote())
    with pytest.raises(UserError, match="is no file"):
        verified(path.parent, remote())


@pytest.mark.parametrize("change", ["bytes", "time"])
def test_a_file_that_changed_is_read_again(path, reads, change):
    verified(path, remote())
    status = path.stat()
    if change == "bytes":
        path.write_bytes(DATA + b"!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (change == "time")))
    assert verified(path, remote()).bytes == path.stat().st_size
    assert len(reads) == 2


def test_an_md5_that_was_not_made_before_is_made(path, reads):
    verified(path, remote())
    with pytest.raises(UserError, match="md5"):
        verified(path, remote(md5="0" * 32))
    assert len(reads) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"size": 9000}', '{"size": "x"}'])
def test_a_memory_that_is_not_ours_is_ignored(path, reads, text):
    path.with_name(".a.bin.verified").write_text(text)
    assert verified(path, remote()).sha256 == SHA256
    assert len(reads) == 1


def test_a_folder_that_cannot_be_written_to_is_read_each_time(path, tmp_path):
    """As another user: root may write anywhere."""
    tmp_path.chmod(0o555)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from workflow_scripts.transfer.download import verified\n"
        "from workflow_scripts.transfer.remote import Remote\n"
        "if os.getuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for _ in range(2):\n"
        "    print(verified(Path(sys.argv[1]), Remote(name='a.bin', urls=())).sha256)\n"
    )
    for folder in [*tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o001) if os.getuid() == 0 else None
    done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, text=True,
                          capture_output=True, check=False)  # fmt: skip
    tmp_path.chmod(0o755)
    assert done.stdout.split() == [SHA256, SHA256], done.stderr
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../a", "a/../../b"])
def test_a_name_outside_the_folder_is_refused(name):
    with pytest.raises(UserError, match="not a name for a downloaded file"):
        Remote(name=name, urls=())


def test_a_url_without_secrets():
    assert without_secrets("https://u:p@a.test:1/b/c?sig=x#y") == "https://a.test:1/b/c"
    assert without_secrets("https://u:p@[::1]:1/b") == "https://[::1]:1/b"
    assert "hidden" not in without_secrets("https://[hidden/")
    assert Path(without_secrets("https://a.test/b.zip?token=x")).name == "b.zip"
