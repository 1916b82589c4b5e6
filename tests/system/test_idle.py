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


@pytest.mark.parametrize("vendor", [
    pytest.param("amd", marks=pytest.mark.xfail(reason="30.7: 7.5 wake-ups, each with a HLT, two timer settings and an EOI")), "intel"])
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
