"""A VM's console on a COM port of its own: both ways, apart from the wire, and refused with reason where it cannot be."""

import json
import re
import socket

import pytest

from test_linux import PROMPT as DEMO

PROMPT = r"plinth> "

VM = """
[vm.{name}]
memory = "{memory}"
kernel = "{kernel}"
{more}
"""


def vm(name, more="", memory="64M", kernel="spin.elf"):
    return VM.format(name=name, memory=memory, kernel=kernel, more=more)


class Port:
    """The other end of a port of QEMU's."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        self.wire, self.text = None, ""

    def option(self):
        return "-serial", f"tcp:127.0.0.1:{self.listener.getsockname()[1]}"

    def expect(self, pattern, timeout=120):
        """Waits for a pattern in all that came behind the last one."""
        if not self.wire:
            self.wire = self.listener.accept()[0]
            self.wire.settimeout(timeout)
        while not (found := re.search(pattern, self.text)):
            try:
                part = self.wire.recv(65536)
            except TimeoutError:
                raise AssertionError(f"the port went silent without {pattern!r}: {self.text[-500:]!r}") from None
            assert part, f"the port was closed without {pattern!r}: {self.text[-500:]}"
            self.text += part.decode("utf-8", "replace")
        self.text = self.text[found.end():]
        return found

    def send(self, text):
        self.wire.sendall(text.encode())

    def close(self):
        for end in (self.wire, self.listener):
            if end:
                end.close()


@pytest.fixture
def port():
    end = Port()
    yield end
    end.close()


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("smp", [1, 2])
def test_linux_there(boot, linux, port, smp):
    """A shell that answers on COM2, with as much output as is kept for a slow port, while Plinth's shell has COM1."""
    config = vm("demo", 'initrd = "initrd.img"\ncmdline = "console=ttyS0 cryptomgr.notests"\nconsole = "com2"', "256M", "vmlinuz")
    machine = boot(config, linux, smp=smp, extra=port.option())
    machine.expect(r"vm demo: its console is on com2")
    machine.expect(PROMPT)
    port.expect(DEMO)
    port.send("seq 6000 | sed s/^/=/\r")
    text = [int(port.expect(r"=(\d+)\r\n")[1]) for _ in range(6000)]
    assert text == list(range(1, 6001))
    port.expect(DEMO)
    assert re.search(r"the console of demo is not on this line but on com2", machine.ask(PROMPT, "console demo"))
    assert re.search(r"^console +com2", machine.ask(PROMPT, "info demo"), re.M)
    machine.send("\x01n")  # there is no other console
    assert "demo" in machine.ask(PROMPT, "list")
    assert "=6000" in machine.ask(PROMPT, "log demo")
    machine.ask(PROMPT, "destroy demo")
    machine.ask(PROMPT, "start demo")
    port.expect(r"Linux version")
    port.expect(DEMO)
    port.send("echo $((6 * 7))\r")
    port.expect(r"\n42\r\n")


@pytest.mark.vendors("amd")
def test_last_words(boot, guest, port):
    """What a VM says before the machine is switched off gets out."""
    config = '[host]\nwhen-all-stopped = "poweroff"\n' + vm("test", 'console = "com2"\ndebug-exit = true', kernel="test.elf")
    machine = boot(config, {"test.elf": guest("hypercall")}, extra=port.option())
    port.expect(r"DONE: \d+ passed, 0 failed")
    assert machine.ends() == 0


@pytest.mark.vendors("amd")
def test_shared_interrupt(boot, guest, port):
    """COM3 has COM1's interrupt, which is the wire's: it is polled, and the wire still works."""
    config = vm("test", 'console = "com3"', kernel="test.elf")
    machine = boot(config, {"test.elf": guest("talk")}, extra=("-serial", "none", *port.option()))
    machine.expect(r"that port has no interrupt of its own: it is polled every 5 ms")
    machine.expect(PROMPT)
    port.expect(r"\S")
    assert "test" in machine.ask(PROMPT, "list")


def test_refused_at_start(boot, guest):
    """A port that is not there, and that of the wire: those VMs stay off, with reason; others run."""
    config = vm("absent", 'console = "0x2a0"') + vm("wire", 'console = "com1"') + vm("fine")
    machine = boot(config, {"spin.elf": guest("spin")})
    machine.expect(r"vm absent: not started: no serial port answers at 0x2a0, where its console is to be; name one that this machine has")
    machine.expect(r"vm wire: not started: its console is to be on com1, which is the wire's port; give it another one")
    machine.expect(PROMPT)
    states = {vm["name"]: vm["state"] for vm in json.loads(re.search(r"^\{.*\}", machine.ask(PROMPT, "list --json"), re.M)[0])["vms"]}
    assert states == {"absent": "stopped", "wire": "stopped", "fine": states["fine"]} and states["fine"] in ("starting", "running")
