"""Linux guests on AMD-V in QEMU, under -icount, so that a cycle is an instruction: what the benches of disks and networks have in common."""

import json
import os
import re
import subprocess
import sys

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
OUT = os.path.join(TOP, "build/bench")
PROMPT = r"plinth> "

sys.path.insert(0, os.path.join(TOP, "tests/system"))
from machine import make_image  # noqa: E402
from qemu import Qemu  # noqa: E402

Qemu.instruction_shift = 0  # a nanosecond, and a tick of the TSC, is an instruction

VM = """
[vm.{name}]
memory = "192M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests hostname={name} {words}"
"""
CONSOLE = "io"  # kind of the exits that a guest's serial port makes: the bench's own typing, not what is measured


class Guests:
    """A machine with such guests. Its shell is the wire's; `attached` is the guest whose console is."""

    def __init__(self, name, config, attached, counted=True, extra=()):
        folder = os.path.join(OUT, "linux")
        subprocess.run([os.path.join(TOP, "guests/demo/build"), folder, os.path.join(TOP, "guests/demo/init"), "net/core/pktgen"], check=True)
        files = {name: os.path.join(folder, name) for name in ("vmlinuz", "initrd.img")}
        self.machine = Qemu(name, make_image(f'[host]\nattach = "{attached}"\n' + config, files), memory="1G", counted=counted, extra=extra)
        self.machine.time_limit = 900  # nothing is measured in seconds
        self.attached = attached
        self.shell(attached)
        self.guest(attached, "stty cols 250")  # longer commands than a line of a terminal has

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.machine.stop()

    def shell(self, name):
        """Waits for the guest's shell, whose console is the wire's."""
        self.machine.expect(name + "# ")

    def guest(self, name, command):
        return self.machine.ask(name + "# ", command)

    def answer(self, command):
        """What Plinth's shell says, which has the wire."""
        return json.loads(re.search(r"^\{.*\}", self.machine.ask(PROMPT, command + " --json"), re.M)[0])

    def stats(self):
        return self.answer("stats")["vms"]

    def measure(self, command, done, count):
        """
        Exits and instructions for each of the things, `count` altogether, that the attached guest does at `command`; done() counts
        what was done so far. The exits are those of all guests. The instructions are their numbers times what they took on average, by kind, as
        `stats` times them for half a second while the command is at work.
        """
        self.machine.send("\x01d")
        self.machine.expect(PROMPT)
        before, first = self.stats(), done()
        self.machine.send("console " + self.attached + "\r")
        self.shell(self.attached)
        self.machine.send(command + " &\r\x01d")
        self.machine.expect(PROMPT)
        timed = self.stats()
        assert first < done() < first + count, "it was not at work while its exits were timed"
        self.machine.until(lambda: done() >= first + count)
        after, last = self.stats(), done()
        kinds = {}
        for vm, (old, middle, new) in enumerate(zip(before, timed, after)):
            for kind, total in new["exits"].items():
                number = total - old["exits"].get(kind, 0)
                if kind != CONSOLE and number:
                    kinds[f"{new['name']} {kind}"] = (number / (last - first), middle["mean_cycles"].get(kind, 0))
        return kinds


def total(kinds):
    """Exits and instructions of all kinds."""
    return sum(number for number, _ in kinds.values()), sum(number * mean for number, mean in kinds.values())


def heading(text):
    print(f"\n{text:<58}{'exits':>10}{'target':>10}{'instructions':>14}{'target':>10}")


def line(what, kinds, most_exits, most, details):
    """Prints a line of the table, with None where nothing is asked; returns whether it is within its limits."""
    exits, cost = total(kinds)
    good = (most_exits is None or exits <= most_exits) and (most is None or cost <= most)
    verdict = "" if most_exits is None and most is None else "ok" if good else "missed"
    print(f"{what:<58}{exits:>10.2f}{most_exits or '':>10}{cost:>14.0f}{most or '':>10}  {verdict}")
    if details:
        for kind, (number, mean) in sorted(kinds.items()):
            print(f"    {kind:<54}{number:>10.3f}{'':>10}{mean:>14.0f}")
    return good
