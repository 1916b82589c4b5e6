"""Plinth starts on any PC, protects its own memory, and says what is wrong where it cannot go on."""
import re

import pytest

from bare import Machine, make_image


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    return str(tmp_path)


@pytest.fixture(scope="module", name="image")
def fixture_image(tmp_path_factory):
    return make_image(str(tmp_path_factory.mktemp("image")))


@pytest.mark.parametrize("machine,cpu,memory,cpus,uefi", [
    ("pc", "qemu64", "128M", 1, False),
    ("pc", "EPYC,+svm,+npt", "6G", 2, False),
    ("q35", "EPYC,+svm,+npt", "512M", 1, False),
    ("q35", "Skylake-Client", "1G", 2, False),
    ("q35", "EPYC,+svm,+npt", "512M", 2, True),
    ("pc", "qemu64", "6G", 1, True),
])
def test_reaches_its_shell(folder, image, machine, cpu, memory, cpus, uefi):
    with Machine(folder, image, machine, cpu, memory, cpus, uefi) as vm:
        vm.expect(r"Plinth \d+\.\d+\.\d+, loaded by GRUB" + (r".* under UEFI" if uefi else ""))
        megabytes = int(vm.expect(r"memory: (\d+) MiB")[1])
        asked = int(memory[:-1]) * (1024 if memory[-1] == "G" else 1)
        assert asked * 0.9 < megabytes <= asked
        assert int(vm.expect(r"acpi: (\d+) CPUs")[1]) == cpus
        vm.expect("tsc: [0-9.]+ MHz")
        vm.expect("plinth: ready")
        vm.expect("plinth> ")


def test_no_page_is_both_writable_and_executable(folder, image):
    with Machine(folder, image) as vm:
        vm.expect("plinth> ")
        pages = re.findall(r"^([0-9a-f]{16}): [0-9a-f]{16} ([-XGPDACTUW]{9})", vm.monitor("info tlb"), re.M)
    assert len(pages) > 100
    assert all(int(address, 16) >= 1 << 63 for address, _ in pages), "a low address is mapped"
    executable = [flags for _, flags in pages if "X" not in flags]  # QEMU's X is the no-execute bit
    assert executable, "no code at all?"
    assert not [flags for flags in executable if "W" in flags]
    assert not [flags for _, flags in pages if "U" in flags]


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
def test_crash_report(folder, kind, cause, function):
    with Machine(folder, make_image(folder, f"crash={kind}")) as vm:
        vm.expect("Plinth has crashed")
        vm.expect(cause)
        vm.expect(rf"#\d+ +f{{8}}8[0-9a-f]{{7}}  {function}\+0x[0-9a-f]+")
        vm.expect(r"#\d+ +f{8}8[0-9a-f]{7}  main_stack_start\+")
        vm.expect("Halted")


def test_panic_reboot(folder):
    with Machine(folder, make_image(folder, "crash=panic panic=reboot")) as vm:
        vm.expect("Rebooting")
        vm.expect_end()  # -no-reboot turns the reset into QEMU's end


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_power_off(folder, image, machine):
    with Machine(folder, image, machine) as vm:
        vm.expect("plinth> ")
        vm.serial.send("poweroff\r")
        vm.expect_end()


@pytest.mark.parametrize("cpu", ["qemu32", "qemu64,-nx"])
def test_says_what_the_cpu_lacks(folder, image, cpu):
    with Machine(folder, image, "pc", cpu, "128M") as vm:
        vm.expect("Plinth cannot start: this CPU has no 64-bit mode with no-execute pages")


def test_serial_port_without_interrupt(folder):
    image = make_image(folder, "console=0x3e8")
    extra = ["-device", "isa-serial,iobase=0x3e8,irq=5,chardev=wire", "-chardev", "stdio,id=wire,signal=off"]
    with Machine(folder, image, serial=False, extra=extra) as vm:
        vm.expect("gives no interrupts: it is polled")
        vm.expect("plinth> ")
        vm.serial.send("poweroff\r")
        vm.expect_end()


@pytest.mark.parametrize("cmdline,config,port", [
    ("", '[host]\nconsole = "com2"\n', 2),
    ("console=com1", '[host]\nconsole = "com2"\n', 1),
    ("", '[host]\nconsole = "0x2f0"\n', 1),
])
def test_console_is_found(folder, cmdline, config, port):
    """The config moves the console, the command line overrules it, and where nothing answers it stays."""
    other = ["-serial", "stdio"] if port == 2 else ["-serial", "null"]
    with Machine(folder, make_image(folder, cmdline, config), serial=port == 1, extra=other) as vm:
        vm.expect("loaded by GRUB")
        vm.expect("plinth: ready")
        vm.expect("plinth> ")
        vm.serial.send("version\r")
        vm.expect(r"Plinth \d+\.\d+")


def test_runs_without_any_serial_port(folder, image):
    with Machine(folder, image, serial=False) as vm:
        vm.until(lambda vm: re.search(r"RIP=f{8}8.*HLT=1", vm.monitor("info registers")))


def test_nmi_is_survived(folder, image):
    with Machine(folder, image) as vm:
        vm.expect("plinth> ")
        vm.monitor("nmi")
        vm.serial.send("version\r")
        vm.expect(r"Plinth \d+\.\d+")
