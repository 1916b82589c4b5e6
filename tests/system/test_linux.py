"""A stock Linux kernel runs, answers, complains about nothing that Plinth gives it, and can end in each way."""

import datetime
import re

import pytest

PROMPT = r"demo# "

CONFIG = """\
[host]
attach = "demo"
when-all-stopped = "poweroff"

[vm.demo]
memory = "256M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests"
"""
# The kernel's tests of its ciphers take longer than all the rest of its start in an emulator.

# What Linux says of hardware that Plinth provides, at level warning or worse.
SUBJECT = re.compile(r"apic|irq|interrupt|timer|clock|tsc|acpi|pit\b|hpet|rtc|i8042|8250|ttyS|pci|mce|nmi|lockup|stall|bug|firmware"
                     r"|unstable|spurious|unchecked msr|calibrat|x86/fpu|e820|mtrr|pat\b", re.I)
# Said of any machine like this one, real or not.
HARMLESS = re.compile(r"mitigat|vulnerab|Speculative|spectre|retbleed|SRSO|MDS|TAA|MMIO Stale|Zenbleed|"
                      r"hrtimer: interrupt took|Long readout interval|"  # the test machine was busy
                      r"ENERGY_PERF_BIAS|platform eisa|No such device|can't be loaded", re.I)


def to_shell(boot, linux, **options):
    machine = boot(CONFIG, linux, **options)
    machine.expect(PROMPT)
    return machine


@pytest.mark.parametrize("vendor,options", [pytest.param("amd", {}, marks=pytest.mark.check), ("amd", {"uefi": True})], ids=["amd-bios", "amd-uefi"])
def test_shell(boot, linux, options):
    machine = to_shell(boot, linux, **options)
    assert "Linux demo" in machine.ask(PROMPT, "uname -a")
    interrupts = machine.ask(PROMPT, "cat /proc/interrupts")
    assert "ttyS0" in interrupts
    assert re.search(r"^ *LOC: +[1-9]", interrupts, re.M), interrupts
    assert "8\n" in machine.ask(PROMPT, "echo $((3+5))").replace("\r", "")
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


@pytest.mark.vendors("amd")
def test_shell_under_debug(boot, linux, debug):
    """With assertions and UBSan traps."""
    machine = to_shell(boot, linux, plinth=debug)
    machine.send("reboot -f\r")
    machine.expect(r"vm demo: reset by the guest: starting again")
    machine.expect(PROMPT)
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


# In Bochs 2.7 a physical interrupt that arrives while a virtual one waits for IF lets in the virtual one at once (docs/debugging.md):
# likely only where vCPUs send each other interrupts, so that there the APIC is kept by software.
@pytest.mark.parametrize("vendor,cpus,cmdline", [("amd", 1, ""), ("amd", 2, ""), ("intel", 1, ""), ("intel", 2, "without=apicv")])
def test_no_complaint(boot, linux, cpus, cmdline):
    machine = boot(CONFIG + f"cpus = {cpus}\n", linux, cmdline=cmdline)
    machine.expect(PROMPT)
    assert f"{cpus}\n" in machine.ask(PROMPT, "nproc").replace("\r", "")
    text = machine.ask(PROMPT, "dmesg -r | grep '^<[0-4]>'; echo end")
    lines = [line.strip() for line in text.splitlines() if re.match(r"<[0-4]>", line)]
    complaints = [line for line in lines if SUBJECT.search(line) and not HARMLESS.search(line)]
    assert not complaints, "\n".join(complaints)


def test_power_button(boot, linux):
    """The shell's `shutdown` reaches the guest's user space by way of ACPI."""
    machine = to_shell(boot, linux)
    machine.ask(PROMPT, "until ls -l /proc/$(pidof acpid)/fd | grep -q input/event; do :; done")
    machine.send("\x01d")
    machine.expect(r"plinth> ")
    machine.send("shutdown demo\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


def test_clock(boot, linux):
    """The clock source is one that does not stop, and the date is the machine's."""
    machine = to_shell(boot, linux, date=datetime.datetime(2025, 6, 15, 12, tzinfo=datetime.timezone.utc))
    source = machine.ask(PROMPT, "cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    assert re.search(r"kvm-clock|tsc", source), source
    assert "2025-06-15" in machine.ask(PROMPT, "date -u +%F")
    before = int(re.search(r"\d+", machine.ask(PROMPT, "date +%s%N | cut -c 1-19"))[0])
    machine.ask(PROMPT, "sleep 2")
    after = int(re.search(r"\d+", machine.ask(PROMPT, "date +%s%N | cut -c 1-19"))[0])
    assert after - before >= 2


WAYS = [
    ("amd", {}),
    pytest.param("intel", {}, marks=pytest.mark.check),
    ("intel", {"cmdline": "without=apicv"}),
    ("intel", {"cmdline": "without=tpr-shadow,preemption-timer"}),
    ("intel", {"cpu": "corei7_haswell_4770"}),
]
WAY_IDS = ["amd", "intel", "intel-without-apicv", "intel-without-tpr-shadow", "intel-haswell"]


@pytest.mark.parametrize("vendor,options", WAYS, ids=WAY_IDS)
def test_life(boot, linux, options):
    """To the shell, a reboot, to the shell again, power-off: with what each CPU has for guests, and without."""
    machine = to_shell(boot, linux, **options)
    interrupts = machine.ask(PROMPT, "cat /proc/interrupts")
    assert "ttyS0" in interrupts
    assert re.search(r"^ *LOC: +[1-9]", interrupts, re.M), interrupts
    machine.send("reboot -f\r")
    machine.expect(r"vm demo: reset by the guest: starting again")
    machine.expect(PROMPT)
    assert "Linux demo" in machine.ask(PROMPT, "uname -a")
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


def test_panic_stays_alone(boot, linux, guest):
    """A crashed kernel ends nothing but itself: the other VM runs to its end."""
    config = CONFIG.replace('attach = "demo"', 'attach = "test"') + """
[vm.test]
memory = "64M"
kernel = "test.elf"
debug-exit = true
"""
    machine = boot(config.replace("console=ttyS0", "console=ttyS0 rdinit=/nowhere init=/nowhere"), {**linux, "test.elf": guest("pci")})
    machine.expect(r"vm test: exited with code 0")
