"""A VM's life beyond one run: pauses, restarts with their back-off and breaker, the order of starts."""

import re

from test_linux import CONFIG as LINUX
from test_linux import PROMPT as DEMO

PROMPT = r"plinth> "


def vm(name, kernel, more=""):
    return f'[vm.{name}]\nmemory = "16M"\nkernel = "{kernel}.elf"\n{more}\n'


def files(guest, *names):
    return {name + ".elf": guest(name) for name in names}


def state(machine, name):
    return re.search(rf"^{name} +(\w+)", machine.ask(PROMPT, "list"), re.M)[1]


def test_pause_and_resume(boot, linux):
    """A paused Linux does not hear what is typed; resumed, it is the same as before."""
    machine = boot(LINUX, linux)
    machine.expect(DEMO)
    machine.ask(DEMO, "mark=here")
    machine.send("\x01d")
    machine.expect(PROMPT)
    machine.ask(PROMPT, "pause demo")
    assert state(machine, "demo") == "paused"
    assert "pause: demo is paused" in machine.ask(PROMPT, "pause demo")
    machine.send("console demo\r")
    machine.expect(r"console of demo.*help\]")
    machine.send("echo lost\r\x01d")
    machine.expect(PROMPT)
    assert "lost" not in machine.child.before
    machine.ask(PROMPT, "resume demo")
    assert state(machine, "demo") == "running"
    assert "resume: demo is running" in machine.ask(PROMPT, "resume demo")
    machine.send("console demo\r")
    machine.expect(r"console of demo")
    machine.send("sleep 1; echo $mark again\r")
    machine.expect(r"here again")
    machine.expect(DEMO)
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


def test_power_button_during_a_pause(boot, linux):
    """The interrupt waits and is delivered by `resume`."""
    machine = boot(LINUX, linux)
    machine.expect(DEMO)
    machine.ask(DEMO, "until ls -l /proc/$(pidof acpid)/fd | grep -q input/event; do :; done")
    machine.send("\x01d")
    machine.expect(PROMPT)
    machine.ask(PROMPT, "pause demo")
    machine.send("shutdown demo\r")
    machine.expect(r"vm demo: is paused: it finds its power button pressed when resumed")
    machine.expect(PROMPT)
    assert state(machine, "demo") == "paused"
    machine.send("resume demo\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


def test_a_paused_vm_leaves_the_cpu_to_others(boot, guest):
    """Also for `reset` and `destroy` a pause is no obstacle."""
    machine = boot(vm("one", "spin") + vm("two", "pci", "autostart = false\ndebug-exit = true"), files(guest, "spin", "pci"))
    machine.expect(r"vm one: started")
    machine.send("\r")
    machine.expect(PROMPT)
    machine.ask(PROMPT, "pause one")
    machine.send("start two\r")
    machine.expect(r"vm two: exited with code 0")
    machine.expect(PROMPT)
    assert state(machine, "one") == "paused"
    machine.send("reset one\r")
    machine.expect(r"vm one: started")
    machine.expect(PROMPT)
    assert state(machine, "one") == "running"
    machine.ask(PROMPT, "pause one")
    machine.send("destroy one\r")
    machine.expect(r"vm one: destroyed")
    machine.expect(PROMPT)
    assert state(machine, "one") == "stopped"
    assert "pause: one is stopped" in machine.ask(PROMPT, "pause one")
    machine.send("start one\r")
    machine.expect(r"vm one: started")
    machine.expect(PROMPT)
    assert state(machine, "one") == "running"


def test_crash_loop(boot, guest):
    """Restarts that come ever later, and then no more."""
    machine = boot(vm("one", "triplefault", 'on-crash = "restart"') + vm("two", "spin"), files(guest, "triplefault", "spin"))
    for again in ("starting again", "starting again in 1 s", "starting again in 2 s", "starting again in 4 s"):
        machine.expect(r"vm one: started")
        machine.expect(r"vm one: stopped: triple fault")
        machine.expect(rf"vm one: {again}[\r\n]")
        if again.endswith("4 s"):
            machine.send("\r")
            machine.expect(PROMPT)
            assert state(machine, "one") == "waiting"
    machine.expect(r"vm one: stopped: triple fault")
    machine.expect(r"vm one: crashed 5 times in 60 s: left stopped; last cause: triple fault")
    assert state(machine, "one") == "stopped"
    assert state(machine, "two") == "running"
    machine.send("start one\r")
    machine.expect(r"vm one: starting again[\r\n]")


def test_waiting_can_be_ended(boot, guest):
    machine = boot(vm("one", "triplefault", 'on-crash = "restart"\nrestart-limit = 0'), files(guest, "triplefault"))
    machine.expect(r"vm one: starting again in 8 s")
    machine.send("\x01d")
    machine.expect(PROMPT)
    machine.send("start one\r")
    machine.expect(r"vm one: starting again in 1 s")
    machine.send("destroy one\r")
    machine.expect(r"vm one: destroyed")
    machine.expect(PROMPT)
    assert state(machine, "one") == "stopped"


def test_reset_loop(boot, guest):
    machine = boot('[host]\nwhen-all-stopped = "poweroff"\n' + vm("one", "reset", "restart-limit = 3"), files(guest, "reset"))
    for _ in range(2):
        machine.expect(r"vm one: reset by the guest: starting again")
    machine.expect(r"vm one: reset 3 times in 60 s: left stopped; last cause: reset by the guest")
    assert machine.ends() == 0


def test_no_restart_unless_asked_for(boot, guest):
    machine = boot(vm("one", "reset", 'on-reboot = "stop"') + vm("two", "triplefault"), files(guest, "reset", "triplefault"))
    machine.expect_all([r"vm one: reset by the guest: left stopped", r"vm two: stopped: triple fault"])
    machine.send("\r")
    machine.expect(PROMPT)
    text = machine.ask(PROMPT, "list")
    assert re.search(r"^one +stopped .*reset by the guest", text, re.M) and re.search(r"^two +stopped .*triple fault", text, re.M), text


def test_order_of_starts(boot, guest):
    config = vm("web", "spin", 'after = ["db", "log"]') + vm("log", "spin", 'after = ["db"]') + vm("db", "spin") \
        + vm("late", "spin", 'after = ["hand"]') + vm("hand", "spin", "autostart = false")
    machine = boot(config, files(guest, "spin"))
    machine.expect(r"vm late: waits for the start of hand")
    for name in ("db", "log", "web"):
        found = machine.expect(r"vm (\w+): started")
        assert found[1] == name
    machine.send("\r")
    machine.expect(PROMPT)
    assert re.search(r"^late +waiting .*waits for the start of hand", machine.ask(PROMPT, "list"), re.M)
    machine.send("start hand\r")
    machine.expect(r"vm hand: started")
    machine.expect(r"vm late: started")
