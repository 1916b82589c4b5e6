"""What a Linux VM costs that has nothing to do: how often it comes to Plinth, in the machine's own time (the stamps of its log)."""

import json
import re

import pytest

from test_linux import CONFIG
from test_linux import PROMPT as DEMO

PROMPT = r"plinth> "
SECONDS = 20


def exits(machine):
    text = machine.ask(PROMPT, "stats demo --json")
    return json.loads(re.search(r"^\{.*\}(?=\r*$)", text, re.M)[0])["vms"][0]["exits"]


def at(machine, command, said):
    """The time of the log's line about a command."""
    machine.send(command + "\r")
    seconds = float(machine.expect(rf"\[ *(\d+\.\d+)\] vm demo: {said}")[1])
    machine.expect(PROMPT)
    return seconds


def test_exits(boot, linux):
    """Fewer than 30 a second. What it does for its start is over after some seconds."""
    machine = boot(CONFIG, linux, counted=True)
    machine.expect(DEMO)
    machine.ask(DEMO, "sleep 10")
    machine.send("\x01d")
    machine.expect(PROMPT)
    at(machine, "pause demo", "paused")
    before = exits(machine)
    seconds = 0
    while seconds < SECONDS:
        start = at(machine, "resume demo", "resumed")
        with pytest.raises(AssertionError):
            machine.expect("nothing is said", timeout=2)
        seconds += at(machine, "pause demo", "paused") - start
    after = exits(machine)
    rates = {kind: (count - before.get(kind, 0)) / seconds for kind, count in after.items() if count > before.get(kind, 0)}
    text = ", ".join(f"{kind} {rate:.1f}" for kind, rate in sorted(rates.items(), key=lambda item: -item[1]))
    print(f"{machine.name}: {sum(rates.values()):.1f} exits a second over {seconds:.1f} s: {text}")
    assert rates and sum(rates.values()) < 30, text


EIGHT = '[host]\nattach = "vm0"\n' + "".join(f"""
[vm.vm{i}]
memory = "96M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests"
""" for i in range(8))


@pytest.mark.vendors("amd")  # in Bochs they are not at their prompts before its time limit
def test_eight(boot, linux):
    """Eight of them leave their one CPU more than 95 % idle, in each of several half seconds after their start is over."""
    machine = boot(EIGHT, linux, counted=True, memory="1G")
    for _ in range(8):
        machine.expect(DEMO, timeout=600)
        machine.send("\x01n")
    machine.ask(DEMO, "sleep 10", timeout=600)
    machine.send("\x01d")
    machine.expect(PROMPT)
    idle = []
    for _ in range(6):
        text = machine.ask(PROMPT, "cpus --json", timeout=600)
        idle += [float(cpu["idle_percent"]) for cpu in json.loads(re.search(r"^\{.*\}(?=\r*$)", text, re.M)[0])["cpus"]]
    print(f"{machine.name}: {idle} % idle")
    assert len(idle) == 6 and min(idle) > 95, idle
