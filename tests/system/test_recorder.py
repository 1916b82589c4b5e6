"""The flight recorder: what it holds while Plinth runs, and after a warm reset."""

import re

import pytest

PROMPT = r"plinth> "
CONFIG = """\
[vm.one]
memory = "16M"
kernel = "ports.elf"
autostart = false
debug-exit = true

[vm.two]
memory = "16M"
kernel = "halt.elf"
autostart = false
"""


def resets(vendor):
    """QEMU's machines end at a reset, unless told otherwise."""
    return {"extra": ["-action", "reboot=reset"]} if vendor == "amd" else {}


@pytest.fixture
def machine(boot, guest, vendor):
    machine = boot(CONFIG, {"ports.elf": guest("ports"), "halt.elf": guest("halt")}, **resets(vendor))
    machine.expect(PROMPT)
    return machine


def run_both(machine):
    machine.send("start one\r")
    machine.expect(r"vm one: exited with code 0")
    machine.expect(PROMPT)
    machine.send("start two\r")
    machine.expect(r"vm two: stopped")
    machine.expect(PROMPT)


def times(text):
    return [float(time) for time in re.findall(r"^\[ *(\d+\.\d+)\] cpu", text, re.M)]


@pytest.mark.check
def test_trace(machine):
    """Exits by name with port and RIP, log lines whole, one VM alone, all in the order of time."""
    run_both(machine)
    text = machine.ask(PROMPT, "trace 1000")
    assert re.search(r"cpu0 +one/0 +exit io: out to port 0x3f8, 1 byte, RIP 0x1\w+\s", text), text[-3000:]
    assert re.search(r"cpu0 +two/0 +exit hlt, RIP 0x", text), text[-3000:]
    assert re.search(r"two/0 +gets the CPU", text) and re.search(r"two/0 +leaves the CPU", text)
    assert re.search(r"log: vm one: exited with code 0\s", text) and "log: vm two: stopped: halted for good: HLT with interrupts off on its" in text
    assert times(text) == sorted(times(text)) and times(text)[-1] > 0
    text = machine.ask(PROMPT, "trace two 5")
    assert len(times(text)) == 5 and text.count("two/0") == 5 and "one/0" not in text, text
    assert "nothing is recorded of a VM 'three'" in machine.ask(PROMPT, "trace three")
    assert "no recording of a run before" in machine.ask(PROMPT, "trace --last")


@pytest.mark.check
def test_kept_over_a_reboot(machine):
    run_both(machine)
    machine.send("reboot\r")
    machine.expect(r"recorder: the last run of this machine ended: a reboot by the shell")
    machine.expect(PROMPT)
    text = machine.ask(PROMPT, "trace --last one 30")
    assert "It ended: a reboot by the shell" in text and re.search(r"one/0 +exit io: out to port 0xf4", text), text
    assert "log: vm two: stopped: halted" in machine.ask(PROMPT, "trace --last 300")
    assert "vm one" not in machine.ask(PROMPT, "trace")
    # A reset leaves Bochs' TSC-deadline timer too early for ever: hundreds with another one, hundreds of thousands with that.
    assert int(re.search(r"e0 +(\d+) the CPU's own timer", machine.ask(PROMPT, "irq"))[1]) < 5000


def test_kept_over_a_crash(boot, guest, vendor):
    """panic=reboot: the next start knows what the crash was. It crashes, too, but only after it has said so."""
    machine = boot(CONFIG, {"ports.elf": guest("ports"), "halt.elf": guest("halt")}, cmdline="crash=panic panic=reboot", **resets(vendor))
    machine.expect(r"Rebooting")
    machine.expect(r"recorder: the last run of this machine ended: asked to by the command line")


@pytest.mark.vendors("amd")
def test_ended_without_a_word(machine):
    """The reset button."""
    run_both(machine)
    machine.monitor("system_reset")
    machine.expect(r"recorder: the last run of this machine ended without a word")
    machine.expect(PROMPT)
    assert "log: vm two: stopped: halted" in machine.ask(PROMPT, "trace --last 300")
