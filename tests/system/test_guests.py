"""Each bare-metal guest of tests/guest must find its PC as it should be."""

import pytest

CONFIG = """\
[host]
attach = "test"
when-all-stopped = "poweroff"

[vm.test]
memory = "{ram}"
kernel = "test.elf"
cpus = {cpus}
debug-exit = true
"""

GUESTS = ["cpuid", "exceptions", "hypercall", "ioapic", "kvmclock", "lapic", "mmio", "mmio16", "mmio32", "msr", "paging", "pci", "pic",
          "pit", "pmtimer", "ports", "pveoi", "rtc", "task32", "uart", "x2apic"]

DEBUG_ON_INTEL = ["cpuid", "exceptions", "mmio16", "msr", "paging"]

QUICK = {"cpuid", "exceptions", "msr"}  # those of `make check`

# These watch seconds go by, which are too many instructions to count.
LASTING = {"pmtimer", "rtc"}


def run(boot, guest, name, ram="64M", cpus=1, **options):
    """Runs a guest to its end: nothing may fail, and something must have been tried."""
    machine = boot(CONFIG.format(ram=ram, cpus=cpus), {"test.elf": guest(name)}, **options)
    assert machine.results() > 0
    assert machine.ends() == 0


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.check if name in QUICK else ()) for name in GUESTS])
def test_guest(boot, guest, name):
    run(boot, guest, name, counted=name not in LASTING)


# Assertions do not depend on the vendor much: on Intel, those guests that go through the most of its back end.
@pytest.mark.parametrize("vendor,name", [("amd", name) for name in GUESTS] + [("intel", name) for name in DEBUG_ON_INTEL])
def test_guest_under_debug(boot, guest, debug, name):
    """The same with assertions and UBSan traps: no guest may trip one."""
    run(boot, guest, name, plinth=debug, counted=name not in LASTING)


# Left out are those that want a virtual interrupt to end the guest's run at its STI (docs/debugging.md).
ON_BOCHS_AMD = [name for name in GUESTS if name not in LASTING | {"exceptions", "pic"}]


@pytest.mark.vendors("amd-bochs")
@pytest.mark.parametrize("name", ON_BOCHS_AMD)
def test_guest_on_ryzen(boot, guest, name):
    """AMD-V as Bochs has it: with nRIP save and flush by ASID, which QEMU's lacks."""
    run(boot, guest, name)


@pytest.mark.vendors("intel")
def test_paravirtual_eoi_without_apicv(boot, guest):
    """Where software has the local APIC it is offered on Intel, too."""
    machine = boot(CONFIG.format(ram="64M", cpus=1), {"test.elf": guest("pveoi")}, cmdline="without=apicv")
    assert machine.results() > 10
    assert machine.ends() == 0


@pytest.mark.vendors("amd")  # Bochs has at most 2 GiB
def test_memory_above_4_gib(boot, guest):
    """A VM with more RAM than fits below 3 GiB has the rest above 4 GiB."""
    run(boot, guest, "paging", ram="4G", memory="6G")


def test_two_cpus(boot, guest):
    """The second CPU is started, interrupted and started again."""
    run(boot, guest, "smp", cpus=2)
