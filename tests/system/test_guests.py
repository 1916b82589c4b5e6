"""Each bare-metal guest of tests/guest must find its PC as it should be."""

import pytest

CONFIG = """\
[host]
attach = "test"
when-all-stopped = "poweroff"

[vm.test]
memory = "{memory}"
kernel = "test.elf"
debug-exit = true
"""

GUESTS = ["cpuid", "exceptions", "hypercall", "ioapic", "kvmclock", "lapic", "mmio", "mmio16", "mmio32", "msr", "paging", "pci", "pic",
          "pit", "pmtimer", "ports", "rtc", "uart", "x2apic"]


def run(boot, guest, name, memory="64M", **options):
    machine = boot(CONFIG.format(memory=memory), {"test.elf": guest(name)}, **options)
    result = machine.expect(r"DONE: (\d+) passed, (\d+) failed")
    machine.expect(r"vm test: exited with code (\d+)")
    assert machine.child.match[1] == "0"
    assert machine.ends() == 0
    return int(result[1]), int(result[2])


@pytest.mark.parametrize("name", GUESTS)
def test_guest(boot, guest, name):
    passed, failed = run(boot, guest, name)
    assert failed == 0
    assert passed > 0


def test_memory_above_4_gib(boot, guest):
    """A VM with more RAM than fits below 3 GiB has the rest above 4 GiB."""
    passed, failed = run(boot, guest, "paging", memory="4G", **{"machine": "q35"} | {})
    assert (passed > 0, failed) == (True, 0)
