"""What is told of a guest that died, and of one that lives, when `dump` asks."""

import re

import pytest

from test_linux import CONFIG as LINUX
from test_linux import PROMPT as DEMO

PROMPT = r"plinth> "


def to_plinth(machine):
    machine.send("\x01d")
    machine.expect(PROMPT)


def to_demo(machine):
    machine.send("console demo\r")
    machine.expect(r"console of demo")


@pytest.mark.check
def test_triple_fault(boot, guest):
    """The capsule comes by itself, before the VM is started anew: cause, RIP, the very instruction, how it came to that."""
    machine = boot('[vm.test]\nmemory = "64M"\nkernel = "test.elf"\n', {"test.elf": guest("triplefault")})
    machine.expect(r"vm test: stopped: triple fault")
    machine.expect(r"---- Crash of vm test: triple fault: ")
    rip = machine.expect(r"vCPU 0: \w+, 64-bit code, RIP 0x([0-9a-f]+), last exit: shutdown")[1]
    # On VT-x with RFLAGS.RF set: so the shutdown state has it (SDM 28.3.3).
    machine.expect(rf"rip {int(rip, 16):016x}  rflags 000[01]000[0-9a-f]")
    machine.expect(r"cs   0018  base 0{16}  limit f{8}  attributes a9b")
    machine.expect(r"idtr 0{16}, limit 0000")
    machine.expect(r"code at rip: 0f 0b")
    machine.expect(rf"#0  {int(rip, 16):016x}")
    machine.expect(rf"test/0 +exit shutdown, RIP 0x{rip}")
    machine.expect(r"its console's last lines:.*triplefault: now")
    machine.expect(r"no kernel log was found")
    machine.expect(r"---- end of vm test ----")
    machine.expect(PROMPT)
    text = machine.ask(PROMPT, "dump test")
    assert "---- Dump of vm test: stopped" in text and "code at rip: 0f 0b" in text, text


def test_told_before_the_end(boot, guest):
    """The last VM's crash is told in full before the machine goes."""
    machine = boot('[host]\nwhen-all-stopped = "poweroff"\n[vm.test]\nmemory = "16M"\nkernel = "test.elf"\n', {"test.elf": guest("triplefault")})
    machine.expect(r"---- Crash of vm test: triple fault: ")
    machine.expect(r"---- end of vm test ----")
    machine.expect(r"all VMs have stopped: powering off")
    assert machine.ends() == 0


def test_dump_of_a_running_linux(boot, linux):
    """Registers and the kernel's own log out of its memory; it goes on as if nothing had been."""
    machine = boot(LINUX, linux)
    machine.expect(DEMO)
    machine.ask(DEMO, "echo a line from user space > /dev/kmsg")
    release = re.search(r"\d+\.\d+\.\S+", machine.ask(DEMO, "uname -r"))[0]
    to_plinth(machine)
    text = machine.ask(PROMPT, "dump demo")
    assert "---- Dump of vm demo: running" in text and "---- end of vm demo ----" in text, text
    assert re.search(rf"dmesg of Linux {re.escape(release)}, whose addresses are 0x[0-9a-f]+ above", text), text
    assert re.search(r"\[ +\d+\.\d{6}\] a line from user space", text), text
    assert re.search(r"code at rip:( [0-9a-f]{2}){16}", text) and re.search(r"demo/0 +exit (hlt|msr-write|io)", text), text
    assert "uname -r" in text  # the console's last lines
    to_demo(machine)
    machine.send("echo still $((40 + 2))\r")
    machine.expect(r"still 42")
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


@pytest.mark.vendors("amd")
def test_dump_of_a_linux_on_two_cpus(boot, linux):
    """Both vCPUs are stopped while they are looked at, wherever they run, and then go on; so it is with a paused VM."""
    machine = boot(LINUX + "cpus = 2\n", linux, smp=2)
    machine.expect(DEMO)
    machine.ask(DEMO, "for n in 1 2; do while :; do :; done & done")
    to_plinth(machine)
    for _ in range(3):
        text = machine.ask(PROMPT, "dump demo")
        assert "---- Dump of vm demo: running" in text and len(re.findall(r"vCPU [01]: \w+, 64-bit", text)) == 2, text
        assert len(re.findall(r"code at rip:( [0-9a-f]{2}){16}", text)) == 2 and "dmesg of Linux" in text, text
    machine.ask(PROMPT, "pause demo")
    text = machine.ask(PROMPT, "dump demo")
    assert "---- Dump of vm demo: paused" in text and "vCPU 1: " in text and "dmesg of Linux" in text, text
    machine.ask(PROMPT, "resume demo")
    to_demo(machine)
    machine.send("echo still $((40 + 2))\r")
    machine.expect(r"still 42")


def test_dump_after_a_kernel_panic(boot, linux):
    """A kernel that has panicked stands still: its last words are in its memory."""
    machine = boot(LINUX.replace("console=ttyS0", "quiet rdinit=/nowhere init=/nowhere"), linux)
    machine.expect(r"console of demo")
    to_plinth(machine)
    for _ in range(120):
        text = machine.ask(PROMPT, "dump demo")
        if "Kernel panic" in text:
            break
    assert re.search(r"\] Kernel panic - not syncing: ", text), text
    assert "---- end of vm demo ----" in text


def test_dump_of_what_never_ran(boot, guest):
    machine = boot('[vm.test]\nmemory = "16M"\nkernel = "test.elf"\nautostart = false\n', {"test.elf": guest("halt")})
    machine.expect(PROMPT)
    assert "dump: test was never started" in machine.ask(PROMPT, "dump test")
    assert "there is no VM 'none'" in machine.ask(PROMPT, "dump none")
