"""
Many Linux VMs whose lives are interfered with at random, from the shell: whoever runs at the end is healthy, and nothing is left behind.

SOAK_SECONDS says for how long, and SOAK_VMS with how many of them (`make soak`: ten minutes, eight). In Bochs, whose time is not ours, how
many operations there are follows from it.
The operations are the same in every run for as long as SOAK_SEED is.
"""

import os
import random
import re
import time

import pexpect
import pytest

SECONDS = int(os.environ.get("SOAK_SECONDS", "30"))
VMS = int(os.environ.get("SOAK_VMS", "4"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
PROMPT = r"plinth> "
DEMO = r"demo# "

# What can be done to a VM in each state, and the state that follows.
OPERATIONS = {
    "running": {"pause": "paused", "reset": "running", "destroy": "stopped"},
    "paused": {"resume": "running", "destroy": "stopped"},
    "stopped": {"start": "running"},
}


def config(cpus):
    text = '[host]\nattach = "vm0"\n'
    for i, count in enumerate(cpus):
        text += f'[vm.vm{i}]\nmemory = "96M"\ncpus = {count}\nkernel = "vmlinuz"\ninitrd = "initrd.img"\n' \
            'cmdline = "console=ttyS0 cryptomgr.notests"\n'
    return text


class Soak:
    """One machine of `count` VMs, all of which run and have reached their shell prompt."""

    def __init__(self, machine, count):
        self.machine = machine
        self.state = ["running"] * count
        self.random = random.Random(SEED)
        for _ in range(count):
            machine.expect(DEMO, timeout=600)
            machine.send("\x01n")
        machine.send("\x01d")
        machine.expect(PROMPT)

    def shell(self, command):
        """Its answer. A VM that stopped for another reason than a command fails the test, with what it said."""
        text = self.machine.ask(PROMPT, command)
        crashed = re.search(r"vm (\w+): stopped: ([^\r\n]*)", text)
        if crashed:
            said = self.machine.ask(PROMPT, f"log {crashed[1]}")
            raise AssertionError(f"{crashed[0]}\n{said[-2000:]}")
        return text

    def operate(self):
        """One operation, then the machine runs on for a few commands, or none."""
        vm = self.random.randrange(len(self.state))
        choices = OPERATIONS[self.state[vm]]
        name = self.random.choice(sorted(choices))
        self.shell(f"{name} vm{vm}")
        self.state[vm] = choices[name]
        for _ in range(self.random.choice([0, 1, 3, 10])):
            self.shell("list")

    def all_run(self):
        for vm, state in enumerate(self.state):
            if state != "running":
                self.shell(("resume" if state == "paused" else "start") + f" vm{vm}")
        assert len(re.findall(r"^vm\d+ +running", self.until_settled(), re.M)) == len(self.state)

    def until_settled(self):
        """The list, when no VM's memory is being wiped any more."""
        self.machine.until(lambda: not re.search(r"^vm\d+ +starting", self.shell("list"), re.M))
        return self.shell("list")

    def all_answer(self):
        """Each guest's shell does what it is told, and its kernel has nothing to complain of."""
        for vm in range(len(self.state)):
            self.machine.send(f"console vm{vm}\r")
            self.machine.expect(rf"console of vm{vm}")
            self.until_heard()
            # The echo has no digits behind the words, and the answer shows that the guest still calculates and sleeps.
            self.machine.send("sleep 1; echo vm-$((40+2)) complaints-$(dmesg | grep -ciE 'lockup|stall|hung|BUG:')\r")
            found = self.machine.expect(r"vm-42 complaints-(\d+)", timeout=300)
            assert found[1] == "0", f"vm{vm} logged a lockup, a stall or a bug"
            self.machine.send("\x01d")
            self.machine.expect(PROMPT)

    def until_heard(self):
        """A prompt may be from before: what is typed to a guest that is still starting may be lost."""
        for i in range(100):
            self.machine.send(f"\recho heard-$((100+{i}))\r")
            found = self.machine.child.expect([r"heard-1\d\d\s", r"vm \w+: stopped: [^\r\n]*", pexpect.TIMEOUT], timeout=3)
            assert found != 1, self.machine.child.after
            if found == 0:
                return
        raise AssertionError("a guest does not answer")

    def free(self):
        return int(re.search(r"^free +(\d+) KiB", self.shell("mem"), re.M)[1])

    def destroy_all(self):
        for vm in range(len(self.state)):
            self.shell(f"destroy vm{vm}")
        text = self.until_settled()
        assert len(re.findall(r"^vm\d+ +stopped", text, re.M)) == len(self.state), text

    def ends_well(self, free):
        self.all_run()
        self.all_answer()
        assert self.free() == free, "a VM keeps its memory when it stops, and gets no more when it starts"
        self.destroy_all()
        assert self.free() == free
        text = self.shell("doctor")
        assert not re.search(r"^error|^warning +vm ", text, re.M), text
        assert "exactly one owner" in text, text
        assert "crashed" not in self.shell("dmesg")


def test_soak(boot_on, linux):
    """Linux VMs, every other one with two vCPUs, on two CPUs."""
    machine = boot_on("amd", config([1, 2] * (VMS // 2)), linux, smp=2, memory="2G")
    soak = Soak(machine, VMS // 2 * 2)
    free = soak.free()
    end = time.monotonic() + SECONDS
    operations = 0
    while time.monotonic() < end:
        soak.operate()
        operations += 1
    assert operations >= min(SECONDS, 20)
    soak.ends_well(free)


@pytest.mark.vendors("intel")
def test_soak_on_intel(boot, linux):
    """The same with fewer and on one CPU, so many operations as the time would allow if each took two seconds."""
    machine = boot(config([1, 1, 2]), linux, cmdline="without=apicv", memory="1G")  # test_linux.py says why without
    machine.time_limit = 600
    soak = Soak(machine, 3)
    free = soak.free()
    for _ in range(max(SECONDS // 2, 10)):
        soak.operate()
    soak.ends_well(free)
