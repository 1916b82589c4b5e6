"""Who gets how much of the CPUs: what the config says of it, and `set` while they run, by Plinth's own accounts of it."""

import re

import pytest
from test_shell import PROMPT, answer

VM = '[vm.{name}]\nmemory = "16M"\nkernel = "spin.elf"\n{more}\n'
SECOND = 1000000


def begin(boot, guest, vms, smp=1):
    """A machine whose VMs never rest: {name: more lines of the config}. Its time is that of its instructions where that can be."""
    config = "".join(VM.format(name=name, more=more) for name, more in vms.items())
    machine = boot(config, {"spin.elf": guest("spin")}, smp=smp, counted=True)
    for name in vms:
        machine.expect(rf"vm {name}: started")
    machine.send("\x01d")
    machine.expect(PROMPT)
    return machine


def tasks(machine):
    return {f"{row['vm']}/{row['vcpu']}": row for row in answer(machine, "sched")["vcpus"]}


def percents(machine, time=SECOND):
    """Percent of a CPU that each vCPU gets, over so many microseconds of the machine's time or some more."""
    first = now = tasks(machine)
    while True:
        name = next(iter(first))
        if now[name]["time_us"] - first[name]["time_us"] >= time:
            break
        now = tasks(machine)
    got = {name: (now[name]["ran_us"] - row["ran_us"]) * 100 / (now[name]["time_us"] - row["time_us"]) for name, row in first.items()}
    print(got)
    return got


def test_weights(boot, guest):
    """1 to 3 by the config; then all the same, by `set`; and what `sched`, `cpus` and `top` say agrees."""
    machine = begin(boot, guest, {"one": "weight = 50", "two": "weight = 150"})
    got = percents(machine)
    assert 2.8 <= got["two/0"] / got["one/0"] <= 3.2 and sum(got.values()) >= 90, got
    rows = {row["name"]: row for row in answer(machine, "top")["vms"]}
    assert 60 <= rows["two"]["cpu_percent"] <= 80 and 15 <= rows["one"]["cpu_percent"] <= 35, rows
    assert rows["one"]["steal_percent"] >= 60 and rows["two"]["exits_per_second"] > 0 and rows["two"]["memory"] == 16 << 20, rows
    cpus = answer(machine, "cpus")["cpus"]
    assert [cpu["cpu"] for cpu in cpus] == [0] and cpus[0]["state"] == "busy" and cpus[0]["idle_percent"] <= 10, cpus
    assert machine.ask(PROMPT, "set one weight 150").strip() == ""
    got = percents(machine)
    assert 0.93 <= got["two/0"] / got["one/0"] <= 1.07, got
    row = tasks(machine)["one/0"]
    assert (row["weight"], row["cap"], row["pin"], row["reserve"], row["missed_us"]) == (150, 0, "all", "none", 0)
    assert re.search(r"^one +0 (running|waiting) +0 +150 +0 all +none +\d+\.\d +[1-9]\d* +0\s*$", machine.ask(PROMPT, "sched"), re.M)


def test_cap(boot, guest):
    """A CPU stays idle rather than that a cap is exceeded."""
    machine = begin(boot, guest, {"one": "cap = 30"})
    got = percents(machine)["one/0"]
    assert 27 <= got <= 31, got
    assert 60 <= answer(machine, "cpus")["cpus"][0]["idle_percent"] <= 74
    machine.ask(PROMPT, "set one cap 60")
    got = percents(machine)["one/0"]
    assert 55 <= got <= 61, got
    machine.ask(PROMPT, "set one cap none")
    assert percents(machine)["one/0"] >= 90


def test_reserve(boot, guest):
    """Weight cannot take away what is reserved."""
    machine = begin(boot, guest, {"small": 'weight = 1\nreserve = "4ms/10ms"', "big": "weight = 1000"})
    got = percents(machine)
    assert 39 <= got["small/0"] <= 43, got
    machine.ask(PROMPT, "set small reserve none")
    assert percents(machine)["small/0"] <= 6
    machine.ask(PROMPT, "set big reserve 6ms/10ms")
    text = machine.ask(PROMPT, "set small reserve 4ms/10ms")
    assert "small is left as it was" in text and "has so much left to reserve" in text, text
    assert percents(machine)["small/0"] <= 6
    assert tasks(machine)["small/0"]["reserve"] == "none" and tasks(machine)["big/0"]["reserve"] == "6ms/10ms"


@pytest.mark.vendors("amd")
def test_pin(boot, guest):
    """Two CPUs: three are on one of them until one may leave."""
    machine = begin(boot, guest, {"one": 'pin = "1"', "two": 'pin = "1"', "free": 'pin = "0"'}, smp=2)
    rows = tasks(machine)
    assert (rows["one/0"]["cpu"], rows["two/0"]["cpu"], rows["free/0"]["cpu"]) == (1, 1, 0)
    got = percents(machine)
    assert 47 <= got["one/0"] <= 53 and 47 <= got["two/0"] <= 53 and got["free/0"] >= 80, got
    cpus = answer(machine, "cpus")["cpus"]
    assert [cpu["cpu"] for cpu in cpus] == [0, 1] and cpus[1]["runs"] in ("one/0", "two/0") and cpus[0]["apic_id"] != cpus[1]["apic_id"]
    machine.ask(PROMPT, "set free pin 1")
    machine.ask(PROMPT, "set one pin 0")
    got = percents(machine)
    rows = tasks(machine)
    assert (rows["one/0"]["cpu"], rows["two/0"]["cpu"], rows["free/0"]["cpu"]) == (0, 1, 1)
    assert 47 <= got["free/0"] <= 53 and 47 <= got["two/0"] <= 53 and got["one/0"] >= 80, got
    assert rows["one/0"]["pin"] == "0" and rows["one/0"]["weight"] == 100


def test_what_is_refused(boot, guest):
    """A share that cannot be: at its start, and when it is typed; each with a reason, and nothing changed."""
    wait = "autostart = false\n"
    config = {"one": "", "greedy": wait + 'cpus = 2\nreserve = "6ms/10ms"\npin = "0"', "nowhere": wait + 'pin = "60-63"'}
    machine = begin_some(boot, guest, config)
    text = machine.ask(PROMPT, "start nowhere") + machine.ask(PROMPT, "list")
    assert re.search(r"its pin names only CPU 60-63, and this machine has 0 to \d", text), text
    assert re.search(r"^nowhere +stopped .*its pin names no CPU of this machine", text, re.M), text
    text = machine.ask(PROMPT, "start greedy") + machine.ask(PROMPT, "list")
    assert "vCPU 1 cannot have its share of the CPUs: no CPU that it may use has so much left to reserve" in text, text
    assert re.search(r"^greedy +stopped .*its share of the CPUs was refused", text, re.M), text
    for command, answer_ in {
        "set": "which VM?", "set three weight 5": "there is no VM 'three'", "set one": "set what?", "set one weight": "set what?",
        "set one colour red": "there is no 'colour' to set", "set one weight 0": "weight must be a number from 1 to 1000",
        "set one weight 1001": "weight must be", "set one weight 5x": "weight must be", "set one cap -1": "cap must be percent",
        "set one cap 101": "cap is 101, but 1 vCPU can use 100 percent", "set one pin 0,": "pin must be CPU numbers",
        "set one pin 64": "pin must be CPU numbers", "set one pin 63": "none of the CPUs that it is pinned to is there",
        "set one reserve 2ms": "reserve must be a time", "set one reserve 10ms/10ms": "at most 95 percent",
        "set one weight 5 5": "there is nothing to do with '5'",
    }.items():
        text = machine.ask(PROMPT, command)
        assert answer_ in text, (command, text)
    assert "left as it was" in machine.ask(PROMPT, "set one cap 101")
    row = tasks(machine)["one/0"]
    assert (row["weight"], row["cap"], row["pin"], row["reserve"]) == (100, 0, "all", "none")
    machine.send("set one pin 0,40-41\r")  # what there is of it holds, and the log says what there is not
    machine.expect(r"vm one: its pin names CPU 40-41; this machine has 0 to \d")
    machine.expect(PROMPT)
    assert tasks(machine)["one/0"]["pin"] == "0,40-41"
    machine.ask(PROMPT, "set greedy reserve 4ms/10ms")  # one that does not run can be changed, too
    machine.send("start greedy\r")
    machine.expect(r"vm greedy: started")
    machine.expect(PROMPT)
    assert tasks(machine)["greedy/1"]["reserve"] == "4ms/10ms"


def begin_some(boot, guest, vms):
    config = "".join(VM.format(name=name, more=more) for name, more in vms.items())
    machine = boot(config, {"spin.elf": guest("spin")})
    machine.expect(r"vm one: started")
    machine.send("\x01d")
    machine.expect(PROMPT)
    return machine


def test_keys_of_set_are_completed(boot, guest):
    machine = begin_some(boot, guest, {"one": ""})
    machine.send("set o\tr\t5ms/10ms\r")
    machine.expect(r"set one reserve 5ms/10ms")
    machine.expect(PROMPT)
    machine.send("set one \t\t")
    machine.expect(r"weight  cap  pin  reserve")
    machine.send("\x15")
    assert tasks(machine)["one/0"]["reserve"] == "5ms/10ms"


def test_top_is_live(boot, guest):
    """One picture after the other, until a key ends it, which is not taken for a command."""
    machine = begin_some(boot, guest, {"one": ""})
    machine.send("top\r")
    for _ in range(3):
        machine.expect(r"\x1b\[H\x1b\[J1 CPU, \d+ % idle; \d+ MiB free")
        machine.expect(r"one +running +1 +(\d+)\.\d +\d+\.\d +\d+ +16 MiB")
        assert int(machine.child.match[1]) >= 50
    machine.send("q")
    machine.expect(r"\r\nplinth> ")
    assert machine.ask(PROMPT, "version").strip().startswith("Plinth")
