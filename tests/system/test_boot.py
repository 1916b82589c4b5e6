"""Plinth starts on any PC, protects its own memory, and says what is wrong where it cannot go on."""

import re

import pytest

CONFIG = "# no machines\n"
PROMPT = r"plinth> "


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("smp", [1, 2])
@pytest.mark.parametrize("memory", ["128M", "512M", "6G"])
@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_boot(boot, firmware, board, memory, smp):
    """The shell is reached; what the machine has was understood; and no page is both writable and executable."""
    machine = boot(CONFIG, machine=board, memory=memory, smp=smp, uefi=firmware == "uefi")
    machine.expect(r"Plinth \d+\.\d+\.\d+, loaded by GRUB" + (r".* under UEFI" if firmware == "uefi" else ""))
    megabytes = int(machine.expect(r"memory: (\d+) MiB")[1])
    asked = int(memory[:-1]) * (1024 if memory[-1] == "G" else 1)
    assert asked * 0.9 < megabytes <= asked
    assert int(machine.expect(r"acpi: (\d+) CPUs")[1]) == smp
    machine.expect(r"tsc: [0-9.]+ MHz")
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)
    check_pages(machine.monitor("info tlb"))


def check_pages(text):
    """QEMU's flags of each page: the first is X where NX is set, the ninth W where it is writable, the eighth U for ring 3."""
    pages = re.findall(r"^([0-9a-f]{16}): [0-9a-f]{16} ([-XGPDACTUW]{9})", text, re.M)
    assert len(pages) > 16, "the page tables were not found"
    assert all(int(address, 16) >= 1 << 63 for address, _ in pages), "a low address is mapped"
    executable = [(address, flags) for address, flags in pages if "X" not in flags]
    assert executable, "no code at all?"
    assert not [page for page in executable if "W" in page[1]]
    assert not [page for page in pages if "U" in page[1]]


@pytest.mark.parametrize("vendor,cpu,memory", [
    ("amd", "qemu64", "512M"),
    ("amd", "Skylake-Client", "512M"),
    ("intel", "corei7_skylake_x", "2G"),
    ("intel", "corei7_haswell_4770", "128M"),
    pytest.param("intel", "tigerlake", "512M", marks=pytest.mark.check),
    ("intel", "ryzen", "512M"),
])
def test_other_cpus(boot, cpu, memory):
    machine = boot(CONFIG, cpu=cpu, memory=memory)
    machine.expect(r"memory: \d+ MiB")
    machine.expect(r"tsc: [0-9.]+ MHz")
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)


@pytest.mark.parametrize("vendor,cpu", [("amd", "qemu32"), ("amd", "qemu64,-nx"), ("intel", "p4_willamette")])
def test_says_what_the_cpu_lacks(boot, cpu):
    boot(CONFIG, cpu=cpu, memory="128M").expect("Plinth cannot start: this CPU has no 64-bit mode with no-execute pages")


@pytest.mark.parametrize("kind,cause,function", [
    ("ud", "#UD invalid instruction", "crash_ud"),
    ("pf", "#PF page fault: write to address [0-9a-f]{16}, which is not mapped", "crash_pf"),
    ("null", r"#PF page fault: write to address 0{16}, which is not mapped \(a null pointer\)", "crash_null"),
    ("write", "#PF page fault: write to address f{8}8[0-9a-f]{7}, which its page does not allow", "crash_write"),
    ("exec", "#PF page fault: execution of address f{8}8[0-9a-f]{7}, which its page does not allow", "crash_exec"),
    ("div", "#DE divide error", "crash_div"),
    ("stack", "stack overflow: the main stack reached its guard page", "crash_stack"),
    ("panic", "asked to by the command line", "crash_panic"),
])
def test_crash_report(boot, kind, cause, function):
    """What went wrong, where by name, and the way there."""
    machine = boot(CONFIG, cmdline="crash=" + kind)
    machine.expect("Plinth has crashed")
    machine.expect(cause)
    machine.expect(rf"#\d+ +f{{8}}8[0-9a-f]{{7}}  {function}\+0x[0-9a-f]+")
    machine.expect(r"#\d+ +f{8}8[0-9a-f]{7}  main_stack_start\+")
    machine.expect("Halted")


@pytest.mark.check
def test_crash_reboots(boot, vendor):
    """panic=reboot: QEMU ends where the machine would start again, as it runs with -no-reboot; Bochs' machine does start again."""
    machine = boot(CONFIG, cmdline="crash=panic panic=reboot")
    machine.expect("Rebooting")
    if vendor == "amd":
        assert machine.ends() == 0
    else:
        machine.expect("loaded by GRUB")


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("board", ["pc", "q35"])
def test_power_off(boot, board):
    machine = boot(CONFIG, machine=board)
    machine.expect(PROMPT)
    machine.send("poweroff\r")
    assert machine.ends() == 0


@pytest.mark.vendors("amd")
def test_serial_port_without_interrupt(boot):
    wire = ["-device", "isa-serial,iobase=0x3e8,irq=5,chardev=wire", "-chardev", "stdio,id=wire,signal=off"]
    machine = boot(CONFIG, cmdline="console=0x3e8", serial=["-serial", "none", *wire])
    machine.expect("gives no interrupts: it is polled")
    machine.expect(PROMPT)
    machine.send("poweroff\r")
    assert machine.ends() == 0


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("cmdline,config,port", [
    ("", '[host]\nconsole = "com2"\n', 2),
    ("console=com1", '[host]\nconsole = "com2"\n', 1),
    ("", '[host]\nconsole = "0x2f0"\n', 1),
], ids=["config", "cmdline-overrules", "mute-one-is-left"])
def test_console_is_found(boot, cmdline, config, port):
    """The config moves the console, the command line overrules it, and where nothing answers it stays."""
    serial = ["-serial", "stdio", "-serial", "null"] if port == 1 else ["-serial", "null", "-serial", "stdio"]
    machine = boot(config, cmdline=cmdline, serial=serial)
    machine.expect("loaded by GRUB")
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)
    machine.send("version\r")
    machine.expect(r"Plinth \d+\.\d+")


@pytest.mark.vendors("amd")
def test_runs_without_any_serial_port(boot):
    machine = boot(CONFIG, serial=["-serial", "none"])
    machine.until(lambda: re.search(r"RIP=f{8}8.*HLT=1", machine.monitor("info registers")))


@pytest.mark.vendors("amd")
def test_nmi_is_survived(boot):
    machine = boot(CONFIG)
    machine.expect(PROMPT)
    machine.monitor("nmi")
    machine.send("version\r")
    machine.expect(r"Plinth \d+\.\d+")
