"""All of the machine's CPUs come up, may be limited, and are stopped together. On QEMU: Bochs' firmware tells of one CPU only."""

import re

import pytest

CONFIG = "# no machines\n"
PROMPT = r"plinth> "
CPU = "EPYC,+svm,+npt"

pytestmark = pytest.mark.vendors("amd")


def log(machine):
    """All of the log, as the ring has it."""
    return machine.ask(PROMPT, "dmesg")


@pytest.mark.parametrize("smp", [1, 2, pytest.param(4, marks=pytest.mark.check), 8])
@pytest.mark.parametrize("cpu", [CPU + ",-x2apic", CPU + ",+x2apic", "qemu64"])
def test_all_come_up(boot, cpu, smp):
    """Each once, in order, with its TSC compared; x2APIC mode where this QEMU can emulate it."""
    machine = boot(CONFIG, smp=smp, cpu=cpu)
    assert int(machine.expect(r"cpus: (\d+) online")[1]) == smp
    machine.expect(PROMPT)
    text = log(machine)
    assert re.findall(r"cpu (\d+): up \(APIC id (\d+)\)", text) == [(str(i), str(i)) for i in range(1, smp)]
    assert len(re.findall(r"cpu \d+: its TSC is ahead by -?\d+ to \d+ ticks", text)) == smp - 1
    assert "left out" not in text


def test_sixty_four(boot):
    """As many as Plinth uses, and more: these are reported, and left where the firmware has them."""
    machine = boot(CONFIG, smp=66)
    machine.expect(r"cpus: 2 more are not used")
    machine.expect(r"cpus: 64 online")
    machine.expect(PROMPT)
    assert len(re.findall(r"^ *\d+ +\d+ idle ", machine.ask(PROMPT, "cpus"), re.M)) == 63
    assert int(machine.ask(PROMPT, "cpus --json").count('"apic_id"')) == 64


def test_apic_ids_with_gaps(boot):
    """Three cores in each of two packages: the third bit of an id is the package, ids 3 and 7 are nobody's."""
    machine = boot(CONFIG, smp="6,sockets=2,cores=3,threads=1")
    machine.expect(r"cpus: 6 online")
    machine.expect(PROMPT)
    assert re.findall(r"cpu (\d+): up \(APIC id (\d+)\)", log(machine)) == [("1", "1"), ("2", "2"), ("3", "4"), ("4", "5"), ("5", "6")]


@pytest.mark.parametrize("firmware,limit,online,more", [
    ("bios", "1", 1, 3), ("bios", "2", 2, 2), ("bios", "4", 4, 0), ("bios", "64", 4, 0), ("uefi", "2", 2, 2), ("uefi", "64", 4, 0),
])
def test_limit(boot, firmware, limit, online, more):
    """What is not to be used is not started: it waits where the firmware left it."""
    machine = boot(CONFIG, smp=4, cmdline="cpus=" + limit, uefi=firmware == "uefi")
    if more:
        machine.expect(rf"cpus: {more} more are not used")
    machine.expect(rf"cpus: {online} online")
    machine.expect(PROMPT)
    ours = [int(cpu) for cpu in range(4) if in_hypervisor(machine, cpu)]
    assert ours == list(range(online))


def in_hypervisor(machine, cpu):
    registers = machine.monitor("info registers -a").split(f"CPU#{cpu}")[1].split("CPU#")[0]
    return re.search(r"RIP=f{8}8[0-9a-f]{7}", registers) is not None


@pytest.mark.parametrize("limit", ["0", "65", "all", "1x"])
def test_limit_that_is_no_number(boot, limit):
    machine = boot(CONFIG, smp=2, cmdline="cpus=" + limit)
    machine.expect(rf"cpus={limit} is not understood: a number from 1 to 64 is")
    machine.expect(r"cpus: 2 online")


@pytest.mark.parametrize("kind,where", [("panic", "0"), ("ap", "1"), ("all", r"\d")])
def test_one_crash_report(boot, kind, where):
    """Whoever crashes, and were it all CPUs at once: one report, by one CPU, and nothing more."""
    machine = boot(CONFIG, smp=4, cmdline="crash=" + kind)
    machine.expect(rf"---- Plinth has crashed on CPU {where}\. ")
    machine.expect(r"asked to by the command line\r+\n")
    machine.expect(r"---- Halted\.[^\n]*\n")
    lines = re.split(r"\r+\n", machine.child.before)[:-1]
    assert lines and not [line for line in lines if not re.fullmatch(r"\[ *\d+\.\d{6}\] #\d+ +[0-9a-f]{16}  [\w+]+", line)]
    machine.until(lambda: machine.monitor("info registers -a").count("HLT=1") == 4)


@pytest.mark.parametrize("kind", ["panic", "ap", "all"])
def test_crash_reboots(boot, kind):
    machine = boot(CONFIG, smp=4, cmdline=f"crash={kind} panic=reboot")
    machine.expect("Rebooting")
    assert machine.ends() == 0


@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize("command", [pytest.param("poweroff", marks=pytest.mark.check), "reboot"])
def test_the_machine_ends(boot, board, command):
    machine = boot(CONFIG, machine=board, smp=4)
    machine.expect(r"cpus: 4 online")
    machine.expect(PROMPT)
    machine.send(command + "\r")
    assert machine.ends() == 0


def test_nmi_to_all_is_survived(boot):
    machine = boot(CONFIG, smp=4)
    machine.expect(PROMPT)
    machine.monitor("nmi")
    machine.send("version\r")
    machine.expect(r"Plinth \d+\.\d+")
