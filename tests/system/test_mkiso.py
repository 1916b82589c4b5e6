"""What tools/mkiso says of a wrong command line."""

import os
import subprocess

import pytest

from machine import TOP


@pytest.mark.parametrize("config, out, message", [
    (".", "plinth.iso", "mkiso: .: is a folder; name the config in it"),
    ("plinth.toml", ".", "mkiso: -o .: is a folder; name the image in it"),
    ("none.toml", "plinth.iso", "mkiso: none.toml: no such file"),
])
def test_refusal(tmp_path, config, out, message):
    (tmp_path / "plinth.toml").touch()
    done = subprocess.run([os.path.join(TOP, "tools/mkiso"), config, "-o", out], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(message) and done.stderr.count("\n") == 1, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["plinth.toml"]
