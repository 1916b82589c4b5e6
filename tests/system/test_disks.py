"""Disks that are files on the boot medium, and disks that a VM cannot have. Disks of the machine are in the tests of their drivers."""

import json
import re

import pytest

CONFIG = """\
[vm.reader]
memory = "16M"
kernel = "spin.elf"
disks = [{ source = "module:images/data.img", readonly = true, iops = 100, bandwidth = "1M" }]

[vm.writer]
memory = "16M"
kernel = "spin.elf"
disks = ["module:images/data.img", { source = "module:images/data.img", readonly = true }]

[vm.misspelt]
memory = "16M"
kernel = "spin.elf"
disks = ["module:images/data.img", "module:images/date.img"]

[vm.elsewhere]
memory = "16M"
kernel = "spin.elf"
disks = [
    "part:web-root",
]
"""
PROMPT = r"plinth> "


@pytest.fixture
def shell(boot, guest):
    machine = boot(CONFIG, {"spin.elf": guest("spin"), "images/data.img": b"data" * 50000})
    machine.expect(r"vm misspelt: not started: its disk 'module:images/date\.img' \(plinth\.toml:14:36\): this file is not on the boot medium; "
                   r"did you mean 'images/data\.img'\?")
    machine.expect(r"vm elsewhere: not started: its disk 'part:web-root' \(plinth\.toml:20:5\): no partition (of this machine has a|has this) label")
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)
    return machine


@pytest.mark.check
def test_disks_are_listed(shell):
    text = shell.ask(PROMPT, "disks")
    assert re.search(r"^ram0\s+195 KiB\s+healthy\s+0\s+0 module:images/data\.img\s+writer reads, reader reads\s+read-only", text, re.M), text
    assert re.search(r"^ram1\s+195 KiB\s+healthy\s+0\s+0 copy of images/data\.img\s+writer\s*$", text, re.M), text
    disks = json.loads(shell.ask(PROMPT, "disks --json").strip().splitlines()[-1])["disks"]
    disks = [disk for disk in disks if disk["note"] != "the boot medium"]  # a hard disk in Bochs
    assert [disk["name"] for disk in disks] == ["ram0", "ram1"]
    assert disks[1]["size"] == 391 * 512 and disks[1]["users"] == "writer" and disks[1]["reads"] == 0
    assert "there is no disk 'sda'" in shell.ask(PROMPT, "disks sda")
    assert "FROM US" in shell.ask(PROMPT, "disks ram0")


def test_who_is_refused_keeps_nothing(shell):
    assert re.search(r"^misspelt\s+stopped.*one of its disks was refused", shell.ask(PROMPT, "list"), re.M)
    assert len(re.findall(r"^vm (?:misspelt|elsewhere)\s+0 KiB", shell.ask(PROMPT, "mem"), re.M)) == 2
    findings = shell.ask(PROMPT, "doctor")
    assert 'vm misspelt: "images/date.img" is not on the boot medium' in findings and "this is a bug" not in findings, findings
    shell.send("destroy writer\r")
    shell.expect(r"vm writer: destroyed")
    shell.ask(PROMPT, "start writer")
    shell.expect(r"vm writer: started")
    assert "one owner" in shell.ask(PROMPT, "doctor")
