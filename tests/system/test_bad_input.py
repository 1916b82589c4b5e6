"""Wrong configs, wrong images, wrong guests, wrong machines: a message that says what is wrong, and everything else goes on."""

import re

import pytest

GOOD = """
[vm.good]
memory = "64M"
kernel = "good.elf"
debug-exit = true
"""

BAD = """\
[vm.bad]
memory = "{memory}"
kernel = "{kernel}"
{more}
"""


def bad(memory="64M", kernel="bad.elf", more=""):
    return BAD.format(memory=memory, kernel=kernel, more=more)


def good_runs(machine):
    """The good VM of the same config comes to its end, and Plinth is still there."""
    machine.expect(r"vm good: exited with code 0")


@pytest.mark.check
def test_no_config(boot):
    machine = boot(None)
    machine.expect(r"config: there is no plinth\.toml among the boot modules")
    machine.expect(r"plinth: ready")


CONFIGS = {
    "broken": ("[vm.bad\n", r"plinth\.toml:1:\d+: error: "),
    "unknown-key": (bad(more='memry = "1G"'), r"plinth\.toml:4:1: error: unknown key 'memry' in \[vm\.bad\]; did you mean 'memory'\?"),
    "unknown-table": ("[hots]\n", r"plinth\.toml:1:\d+: error: unknown table 'hots'; did you mean 'host'\?"),
    "wrong-type": (bad().replace('"64M"', "64"), r'plinth\.toml:2:\d+: error: memory must be a string such as "256M", not an integer'),
    "no-memory": ('[vm.bad]\nkernel = "bad.elf"\n', r"plinth\.toml:1:\d+: error: \[vm\.bad\] has no memory; add a line such as"),
    "bad-path": (bad(kernel="../x"), r"plinth\.toml:3:\d+: error: kernel must be a plain path"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config(boot, guest, name):
    text, message = CONFIGS[name]
    machine = boot(text + GOOD, {"good.elf": guest("pci")})
    machine.expect(message)
    if name not in ("broken", "unknown-table"):
        machine.expect(r"vm bad: not started: its config has errors")
    good_runs(machine)


def test_nothing_but_garbage(boot):
    """A config that is no text at all."""
    machine = boot("\x01\x02\x03[[[[\n" * 100)
    machine.expect(r"plinth\.toml:1:\d+: error: ")
    machine.expect(r"plinth\.toml: and \d+ errors more|plinth: ready")


IMAGES = {
    "missing": (None, r'vm bad: not started: its kernel "bad\.elf" is not on the boot medium; add the file, or mend the key \(plinth\.toml:3:\d+\)'),
    "empty": (b"", r'vm bad: not started: its kernel "bad\.elf" is an empty file; replace it \(plinth\.toml:3:\d+\)'),
    "no-kernel": (b"hello, I am not a kernel\n" * 1000, r"vm bad: not started: bad\.elf is neither a Linux bzImage nor a multiboot kernel: make"),
    "cut-short": ("cut", r"vm bad: not started: .*bad\.elf"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_image(boot, guest, name):
    content, message = IMAGES[name]
    files = {"good.elf": guest("pci")}
    if content == "cut":
        with open(guest("pci"), "rb") as file:
            content = file.read()[:6000]
    if content is not None:
        files["bad.elf"] = content
    machine = boot(bad() + GOOD, files)
    machine.expect(message)
    good_runs(machine)


def test_refused_image_gives_memory_back(boot, guest):
    """A VM that cannot be started holds nothing, and trying again does no harm."""
    machine = boot(bad(memory="256M"), {"bad.elf": b"hello, I am not a kernel\n" * 1000})
    machine.expect(r"vm bad: not started: bad\.elf is neither")
    machine.send("\x01d")
    machine.expect(r"plinth> ")
    for _ in range(3):
        machine.send("start bad\r")
        machine.expect(r"vm bad: not started: bad\.elf is neither")
    assert re.search(r"vm bad +0 KiB", machine.ask(r"plinth> ", "mem"))


def test_too_much_memory(boot, guest):
    machine = boot(bad(memory="16G") + GOOD, {"bad.elf": guest("pci"), "good.elf": guest("pci")})
    machine.expect(r"vm bad: not started: it needs 16384 MiB of memory and \d+ MiB are free; lower `memory` \(plinth\.toml:2:\d+\)")
    good_runs(machine)


@pytest.mark.check
@pytest.mark.parametrize("vendor,cpu,name", [("amd", "qemu64,-svm", "svm|amd-v"), ("intel", "p4_prescott_celeron_336", "vmx|vt-x")])
def test_no_virtualisation(boot, guest, cpu, name):
    machine = boot(GOOD, {"good.elf": guest("pci")}, cpu=cpu)
    machine.expect(rf"(?i)({name})[^\r\n]*virtual machines cannot be started")
    machine.expect(r"vm good: not started: this machine cannot run virtual machines")
    machine.expect(r"plinth: ready")


GUESTS = {
    "triplefault": r"vm bad: stopped: triple fault",
    "badjump": r"vm bad: stopped: [^\r\n]*0xd0000000",
    "spin": r"interrupts off, looping",
    "halt": r"vm bad: stopped: [^\r\n]*halt",
    "msr": r"vm bad: exited with code 0",
    "ports": r"vm bad: exited with code 0",
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.check if name == "triplefault" else ()) for name in GUESTS])
def test_hostile_guest(boot, guest, name):
    """Whatever one guest does, the other one comes to its end."""
    config = '[host]\nattach = "bad"\n' + bad(more="debug-exit = true") + GOOD
    machine = boot(config, {"bad.elf": guest(name), "good.elf": guest("pci")})
    machine.expect_all([GUESTS[name], r"vm good: exited with code 0"])


def test_reset(boot, guest):
    """A guest that restarts its machine comes up again."""
    machine = boot('[host]\nattach = "bad"\n' + bad(), {"bad.elf": guest("reset")})
    for _ in range(3):
        machine.expect(r"reset: started")
        machine.expect(r"vm bad: reset by the guest: starting again")


def test_poweroff(boot, guest):
    machine = boot('[host]\nattach = "bad"\nwhen-all-stopped = "poweroff"\n' + bad(), {"bad.elf": guest("poweroff")})
    machine.expect(r"poweroff: now")
    machine.expect(r"vm bad: powered off")
    machine.expect(r"all VMs have stopped: powering off")
    assert machine.ends() == 0
