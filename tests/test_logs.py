"""Progress in bytes tells what is done, the rate and the time left."""

import logging
import sys

import pytest

from workflow_scripts import logs
from workflow_scripts.logs import ByteMeter


def test_a_line_tells_bytes_rate_and_time_left():
    with ByteMeter(what="ucm", total=4_000_000_000) as meter:
        meter.add(1_000_000_000, now=False)  # from before: says nothing of the rate
        meter.add(1_000_000_000)
        assert meter.line(10) == "ucm: 2.00 of 4.00 GB, 100.0 MB/s, 20 s left"
        meter.add(-2_000_000_000, now=False)  # thrown away: has to come again
        assert meter.line(10) == "ucm: 0.00 of 4.00 GB, 100.0 MB/s, 40 s left"


def test_without_a_total_there_is_no_time_left():
    meter = ByteMeter(what="x")
    meter.add(5_000_000)
    assert meter.line(1) == "x: 0.01 GB, 5.0 MB/s"
    assert ByteMeter(what="x", total=10**9).line(1) == "x: 0.00 of 1.00 GB, 0.0 MB/s"


@pytest.mark.parametrize(("between", "lines"), [(0.0, 3), (3600.0, 0)])
def test_a_log_gets_a_line_now_and_then(monkeypatch, caplog, between, lines):
    monkeypatch.setattr(logs, "_SECONDS_BETWEEN_LINES", between)
    with caplog.at_level(logging.INFO, logger="orbweaver"), ByteMeter(what="x") as meter:
        for count in (5, 0, -5, 5):
            meter.add(count)
            meter.tick()  # nothing new says nothing
    assert len(caplog.messages) == lines


def test_a_terminal_gets_a_bar_and_no_lines(monkeypatch, capsys, caplog):
    monkeypatch.setattr(logs, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ByteMeter(what="ucm", total=10**9) as meter:
        meter.add(5 * 10**8)
        meter.add(-(10**8), now=False)
        meter.tick()
        meter.add(10**8)
    shown = capsys.readouterr().err
    assert "ucm" in shown
    assert "1.00G" in shown
    assert caplog.messages == []
