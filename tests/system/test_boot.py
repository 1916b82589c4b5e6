"""Plinth reaches its shell on every machine, with no page that is writable and executable; and a crash says what happened."""

import re

import pytest

CONFIG = """\
[vm.test]
memory = "16M"
kernel = "test.elf"
autostart = false
"""


def ready(machine):
    machine.expect(r"plinth: ready")


@pytest.mark.parametrize("smp", [1, 2])
@pytest.mark.parametrize("memory", ["128M", "512M", "6G"])
@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_boot(boot, guest, firmware, board, memory, smp):
    machine = boot(CONFIG, {"test.elf": guest("pci")}, machine=board, memory=memory, smp=smp, uefi=firmware == "uefi")
    ready(machine)
    pages = page_flags(machine.monitor("info tlb"))
    assert len(pages) > 16, "the page tables were not found"
    both = [page for page in pages if page[2][0] != "X" and page[2][8] == "W"]
    assert not both, f"writable and executable: {both[:5]}"
    assert any(page[2][0] != "X" for page in pages), "no page is executable: the list is not what it seems"


def page_flags(text):
    """(linear, physical, flags) of each page in `info tlb`; the first flag is X where NX is set, the ninth W where it is writable."""
    return re.findall(r"^([0-9a-f]{16}): ([0-9a-f]{16}) ([-XGPDACTUW]{9})", text, re.M)


CRASHES = {
    "ud": r"#UD|invalid opcode",
    "pf": r"#PF|page fault",
    "null": r"#PF|page fault",
    "write": r"#PF|page fault",
    "exec": r"#PF|page fault",
    "div": r"#DE|divide",
    "stack": r"#DF|double fault",
    "panic": r"asked to by the command line",
}


@pytest.mark.parametrize("kind", CRASHES)
def test_crash_report(boot, guest, kind):
    """What went wrong, where by name, and the way there."""
    machine = boot(CONFIG, {"test.elf": guest("pci")}, cmdline="crash=" + kind)
    machine.expect(CRASHES[kind])
    machine.expect(r"crash_|main_stack_start") # inlined, the function is its caller
    machine.expect(r"Halted")


def test_crash_reboots(boot, guest):
    """panic=reboot: the machine comes back by itself (QEMU ends, as it runs with -no-reboot)."""
    machine = boot(CONFIG, {"test.elf": guest("pci")}, cmdline="crash=ud panic=reboot")
    assert machine.ends() == 0
