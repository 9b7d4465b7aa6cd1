"""Records of a run that a kill or a disk damaged."""

import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.history import read_lines


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("damage", [b"nonsense", b"\0\0\0\xff", b"3", b"[1, 2]"])
def test_a_damaged_line_is_named_with_its_file_and_what_to_do(tmp_path, damage):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damage + b'\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"history\.jsonl: line 2 of 3 .*; delete this line"):
        read_lines(path)
