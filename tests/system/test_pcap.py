"""tools/pcap: from a log of the console to a file."""

import base64
import os
import struct
import subprocess

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def make_file(frames):
    data = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 1518, 1)
    for number, frame in enumerate(frames):
        data += struct.pack("<IIII", 1700000000 + number, number, len(frame), len(frame)) + frame
    return data


def lines(data, frames, lost=0, size=57):
    parts = [f"pcap {at} {base64.b64encode(data[at:at + size]).decode()}" for at in range(0, len(data), size)]
    return parts + [f"pcap end: {frames} frames, {lost} lost"]


def run(tmp_path, log, *more):
    (tmp_path / "log").write_bytes("\r\n".join(log).encode() + b"\r\n")
    return subprocess.run([os.path.join(TOP, "tools", "pcap"), tmp_path / "log", "-o", tmp_path / "out", *more], capture_output=True, text=True,
                          check=False)


FRAMES = [bytes(range(60)), b"x" * 1514, b"y" * 14]
DATA = make_file(FRAMES)


def test_a_capture_becomes_the_file(tmp_path):
    log = ["plinth> capture lan0", *lines(DATA, 3), "plinth> "]
    log.insert(5, "web: pcap says the guest [    1.0] pcap x")
    result = run(tmp_path, log)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out").read_bytes() == DATA
    assert "3 frames" in result.stderr


def test_a_missing_line_is_told_and_the_frames_before_it_are_kept(tmp_path):
    log = lines(DATA, 3)
    del log[10]
    result = run(tmp_path, log)
    assert result.returncode == 1
    assert "a line is missing" in result.stderr
    assert (tmp_path / "out").read_bytes() == make_file(FRAMES[:1])


def test_a_damaged_line_is_told(tmp_path):
    log = lines(DATA, 3)
    log[1] = log[1][:-1]
    assert run(tmp_path, log).returncode == 1
    assert (tmp_path / "out").read_bytes() == make_file([])


def test_a_capture_without_an_end_is_told(tmp_path):
    result = run(tmp_path, lines(DATA, 3)[:-1])
    assert result.returncode == 1
    assert (tmp_path / "out").read_bytes() == DATA


def test_the_last_of_several_or_the_one_that_is_named(tmp_path):
    other = make_file([b"z" * 99])
    log = lines(other, 1, lost=5) + lines(DATA, 3)
    assert run(tmp_path, log).returncode == 0
    assert (tmp_path / "out").read_bytes() == DATA
    result = run(tmp_path, log, "--number", "1")
    assert result.returncode == 0 and "5 lost" in result.stderr
    assert (tmp_path / "out").read_bytes() == other
    assert run(tmp_path, log, "--number", "3").returncode != 0
    assert run(tmp_path, ["nothing"]).returncode != 0
