"""VMs with several vCPUs on a machine with several CPUs. QEMU only: Bochs' machine has one CPU."""

import re

import pytest
from test_guests import run
from test_linux import CONFIG, HARMLESS, PROMPT, SUBJECT

pytestmark = pytest.mark.vendors("amd")


@pytest.mark.parametrize("cpus", [1, 2, 4])
@pytest.mark.parametrize("name", ["smp", "lapic", "x2apic", "ioapic"])
def test_guest(boot, guest, debug, name, cpus):
    """
    With assertions: a vCPU is on one CPU or another, and interrupts cross between them. Counted, QEMU gives a CPU long turns, for which the
    guest "smp" does not wait.
    """
    run(boot, guest, name, cpus=2, smp=cpus, plinth=debug, counted=name != "smp")


def complaints(machine):
    text = machine.ask(PROMPT, "dmesg -r | grep '^<[0-4]>'; echo end")
    lines = [line.strip() for line in text.splitlines() if re.match(r"<[0-4]>", line)]
    return [line for line in lines if SUBJECT.search(line) and not HARMLESS.search(line)]


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_linux(boot, linux, cpus):
    """Four vCPUs on fewer CPUs, or as many: they all work, and what Plinth offers for that is taken up."""
    machine = boot(CONFIG + "cpus = 4\n", linux, smp=cpus)
    machine.expect(PROMPT)
    assert "4\n" in machine.ask(PROMPT, "nproc").replace("\r", "")
    offered = machine.ask(PROMPT, "dmesg | grep -i kvm")
    for what in ("PV spinlocks enabled", "pv remote TLB flush", "PV IPIs", "PV sched yield"):
        assert what in offered
    machine.ask(PROMPT, "f() { for j in $(seq 200); do busybox true; done; }")
    machine.ask(PROMPT, "for i in 1 2 3 4 5 6 7 8; do f & done; wait")
    busy = machine.ask(PROMPT, "grep '^cpu[0-9]' /proc/stat")
    spent = {int(cpu): int(user) + int(system) for cpu, user, system in re.findall(r"cpu(\d) (\d+) \d+ (\d+)", busy)}
    assert len(spent) == 4 and all(spent.values()), busy
    calls = machine.ask(PROMPT, "grep -E 'RES|CAL|TLB' /proc/interrupts")
    assert re.search(r"RES:.*[1-9]", calls), calls
    assert not complaints(machine)
    machine.send("reboot -f\r")
    machine.expect(r"vm demo: reset by the guest: starting again")
    machine.expect(PROMPT)
    assert "4\n" in machine.ask(PROMPT, "nproc").replace("\r", "")
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


def test_steal(boot, linux):
    """What a vCPU waits for a CPU is told to its guest as steal time."""
    machine = boot(CONFIG + """
[vm.other]
memory = "128M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests"
""", linux, smp=1)
    machine.expect(PROMPT)
    machine.send("\x01n")
    machine.expect(PROMPT)
    machine.send("while :; do :; done &\r")
    machine.expect(PROMPT)
    machine.send("\x01n")
    machine.ask(PROMPT, "for i in $(seq 200000); do :; done")
    steal = int(re.search(r"cpu0((?: \d+)+)", machine.ask(PROMPT, "grep cpu0 /proc/stat"))[1].split()[7])
    assert steal > 0
