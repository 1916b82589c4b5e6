"""Memory that a Linux guest does without is another VM's, and the guest's again when it needs it."""

import json
import re

from test_guest_io import PROMPT, to_shell, well

CONFIG = """\
[host]
attach = "one"

[vm.one]
memory = "288M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests hostname=one"
cpus = 2
balloon = true
disks = ["module:data.img"]

[vm.two]
memory = "240M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests hostname=two"
autostart = false
"""
ONE = r"one# "
MIB = 1 << 20


def balloon(machine):
    return json.loads(re.search(r"\{.*\}", machine.ask(PROMPT, "info one --json"))[0])["balloon"]


def to_guest(machine):
    machine.send("console one\r")
    machine.expect(r"console of one")
    machine.expect(ONE)


def until(machine, what):
    for _ in range(60):
        seen = balloon(machine)
        if what(seen):
            return seen
        machine.ask(PROMPT, "top --json")  # which takes a moment
    raise AssertionError(seen)


def test_linux(boot, linux, vendor):
    """Free pages are reported, and inflated ones given away; what is touched again is there, zeroed, as long as there is some."""
    data = {"data.img": b"".join(b"line %7d of the file\n" % i for i in range(800000))}
    machine = boot(CONFIG, {**linux, **data}, memory="448M", **({"cmdline": "without=apicv"} if vendor == "intel" else {}))
    to_shell(machine, ONE)
    machine.send("\x01d")
    machine.expect(PROMPT)
    # By reports alone so much is back that the other one can be had.
    seen = until(machine, lambda b: b["returned"] > 170 * MIB)
    assert seen["driver"] and seen["actual"] == 0, seen
    machine.send("start two\r")
    machine.expect(r"vm two: started")
    machine.ask(PROMPT, "destroy two")
    # A file is read into memory that was away, and what the guest then has is what is on the disk.
    to_guest(machine)
    assert "same" in machine.ask(ONE, "mount -t tmpfs -o size=250M none /tmp; cat /dev/vda > /tmp/copy; cmp /tmp/copy /dev/vda && echo same")
    machine.ask(ONE, "rm /tmp/copy")
    well(machine, ONE)
    machine.send("\x01d")
    machine.expect(PROMPT)
    assert balloon(machine)["taken_back"] >= 8 * MIB
    # The balloon, up and down.
    machine.ask(PROMPT, "balloon one 160M")
    seen = until(machine, lambda b: b["actual"] == 128 * MIB)
    assert seen["guest"]["memory_total"] < 288 * MIB, seen
    machine.ask(PROMPT, "setmem one 288M")
    until(machine, lambda b: b["actual"] == 0)
    found = machine.ask(PROMPT, "doctor", timeout=120)
    assert "exactly one owner" in found and "cannot be" not in found, found
    if vendor == "intel":
        return  # what is left takes Bochs minutes, and is the same
    # More than there is.
    machine.send("start two\r")
    machine.expect(r"vm two: started")
    machine.ask(PROMPT, "pause two")
    to_guest(machine)
    machine.ask(ONE, "echo 1 > /proc/sys/vm/overcommit_memory")
    machine.send("dd if=/dev/zero of=/tmp/fill bs=1M count=220\r")
    machine.expect(r"vm one: stopped: out of memory: it takes back memory that its balloon had given to others", timeout=120)
    machine.expect(PROMPT)
    machine.send("start one\r")
    machine.expect(r"vm one: not started: out of memory: its balloon had given \d+ MiB to others")
