"""The watchdog: fed it is quiet, else the VM dies of it and is restarted, as its config says."""

import os
import re
import subprocess

import pytest

from machine import OUT, TOP, Locked
from test_life import PROMPT, files, state, vm
from test_linux import CONFIG as LINUX

DOG = "watchdog = true\ndebug-exit = true\n"
CAUSE = r"its watchdog expired: the guest had not fed it for (\d+)\.\d s"


def fed(boot, guest, **options):
    """A guest that tries its registers, moves its BAR about, and feeds it in time."""
    config = '[host]\nattach = "one"\nwhen-all-stopped = "poweroff"\n' + vm("one", "watchdog", DOG)
    machine = boot(config, files(guest, "watchdog"), **options)
    assert machine.results("one") > 20
    assert machine.ends() == 0


def test_fed(boot, guest):
    fed(boot, guest)


@pytest.mark.vendors("amd")
def test_fed_under_debug(boot, guest, debug):
    """With assertions and UBSan traps."""
    fed(boot, guest, plinth=debug)


def test_not_fed(boot, guest):
    """The guest hangs with interrupts off: it starts again, and its next run can tell why."""
    machine = boot('[host]\nattach = "one"\nwhen-all-stopped = "poweroff"\n' + vm("one", "watchdogbite", DOG + 'on-crash = "restart"'),
                   files(guest, "watchdogbite"))
    machine.expect(r"NOTE: armed for a second")
    assert machine.expect("vm one: stopped: " + CAUSE)[1] in ("0", "1")
    machine.expect(r"vm one: starting again[\r\n]")
    assert machine.results("one") == 2
    assert machine.ends() == 0


def test_left_stopped(boot, guest):
    """Without a word in the config a crash is the end, a watchdog's too."""
    machine = boot(vm("one", "watchdogbite", DOG), files(guest, "watchdogbite"))
    machine.expect("vm one: stopped: " + CAUSE)
    machine.expect("---- Crash of vm one: " + CAUSE)
    machine.expect(r"vCPU 0: \w+, 64-bit code, RIP 0x")
    machine.expect(r"---- end of vm one ----")
    machine.send("\x01d")
    machine.expect(PROMPT)
    assert re.search(rf"^one +stopped .*{CAUSE}", machine.ask(PROMPT, "list"), re.M)


def test_none_unless_asked_for(boot, guest):
    machine = boot('[host]\nattach = "one"\n' + vm("one", "watchdog", "debug-exit = true"), files(guest, "watchdog"))
    machine.expect_all([r"FAIL: there is a watchdog", r"vm one: exited with code 1"])


def test_pause(boot, guest):
    """While one VM is paused another one lives for seconds; resumed, the first has lost no time."""
    config = vm("one", "watchdogfed", DOG) + vm("two", "watchdog", DOG + "autostart = false")
    machine = boot(config, files(guest, "watchdogfed", "watchdog"))
    machine.expect(r"vm one: started")
    machine.send("\r")
    machine.expect(PROMPT)
    machine.send("console one\r")
    machine.expect(r"NOTE: fed from now on")
    machine.send("\x01d")
    machine.expect(PROMPT)
    machine.ask(PROMPT, "pause one")
    machine.send("start two\r")
    machine.expect(r"vm two: exited with code 0")
    assert "watchdog expired" not in machine.child.before
    machine.send("resume one\r")
    machine.expect(r"vm one: resumed")
    machine.send("start two\r")
    machine.expect(r"vm two: exited with code 0")
    assert "watchdog expired" not in machine.child.before
    machine.expect(PROMPT)
    assert state(machine, "one") == "running"
    machine.ask(PROMPT, "destroy one")
    assert state(machine, "one") == "stopped"


@pytest.fixture(scope="session")
def stock_linux():
    """A Linux with the driver, and an init that uses it."""
    folder = os.path.join(OUT, "watchdog-linux")
    with Locked("watchdog-linux"):
        done = subprocess.run([os.path.join(TOP, "tests/system/watchdog-linux"), folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"vmlinuz": os.path.join(folder, "vmlinuz"), "initrd.img": os.path.join(folder, "initrd.img")}


@pytest.mark.vendors("amd")  # it passes in Bochs too, in some minutes
def test_stock_driver(boot, stock_linux):
    """Linux finds it, feeds it, stops feeding, is restarted, knows why, and can stop it."""
    machine = boot(LINUX + 'watchdog = true\non-crash = "restart"\n', stock_linux)
    machine.expect(r"watchdog: i6300ESB timer, timeout 4, bootstatus 0\r")
    machine.expect(r"watchdog: not fed any more")
    assert "watchdog expired" not in machine.child.before
    assert machine.expect("vm demo: stopped: " + CAUSE)[1] in ("4", "5")
    machine.expect(r"vm demo: starting again[\r\n]")
    machine.expect(r"watchdog: i6300ESB timer, timeout 4, bootstatus 32\r")
    machine.expect(r"watchdog: state inactive")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0
