"""The management shell: the commands of `help`, and a console that can be left."""

import json
import re

import pytest

CONFIG = """\
[vm.one]
memory = "16M"
kernel = "spin.elf"
autostart = false

[vm.two]
memory = "16M"
kernel = "halt.elf"
autostart = false
"""
PROMPT = r"plinth> "


@pytest.fixture
def shell(boot, guest):
    machine = boot(CONFIG, {"spin.elf": guest("spin"), "halt.elf": guest("halt")})
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)
    return machine


@pytest.mark.check
def test_help_and_list(shell):
    text = shell.ask(PROMPT, "help")
    for command in ("list", "start", "destroy", "console", "log", "info", "stats", "dmesg", "mem", "pci", "irq", "config", "doctor", "poweroff"):
        assert re.search(rf"^\s*{command}\b", text, re.M), command
    text = shell.ask(PROMPT, "list")
    assert re.search(r"^one\s+stopped", text, re.M) and re.search(r"^two\s+stopped", text, re.M), text


def test_start_and_destroy(shell):
    shell.ask(PROMPT, "start one")
    shell.expect(r"vm one: started")
    assert re.search(r"^one\s+running", shell.ask(PROMPT, "list"), re.M)
    shell.send("destroy one\r")
    shell.expect(r"vm one: destroyed")
    assert re.search(r"^one\s+stopped", shell.ask(PROMPT, "list"), re.M)


def test_wrong_commands(shell):
    assert "there is no VM 'three'" in shell.ask(PROMPT, "start three")
    assert "which VM?" in shell.ask(PROMPT, "start")
    assert re.search(r"start: .*'two'; usage: start VM", shell.ask(PROMPT, "start one two"))
    assert re.search(r"list: .*'one'; usage: list", shell.ask(PROMPT, "list one"))
    assert "unknown command 'strat'; did you mean 'start'?" in shell.ask(PROMPT, "strat one")
    assert re.search(r"unknown command 'frobnicate'; 'help'", shell.ask(PROMPT, "frobnicate"))
    assert "usage: info VM" in shell.ask(PROMPT, "info")
    assert "usage: list" in shell.ask(PROMPT, "list two --json")
    assert "usage: start" in shell.ask(PROMPT, "start two --json")
    assert "there is no VM 'three'" in shell.ask(PROMPT, "stats three --json")


def test_lines_typed_ahead(shell):
    """What is pasted is done, line by line."""
    shell.send("version\rlist\rstart three\r")
    shell.expect(r"Plinth \d+\.\d+")
    shell.expect(r"one\s+stopped")
    shell.expect(r"there is no VM 'three'")


def test_start_without_image(boot):
    """The log says why; the shell has nothing to add."""
    machine = boot(CONFIG)
    machine.expect(r"plinth: ready")
    machine.send("\r")
    machine.expect(PROMPT)
    text = machine.ask(PROMPT, "start one")
    assert 'its kernel "spin.elf" is not on the boot medium' in text and "start:" not in text, text


def test_log_leaves_the_input_line(shell):
    """A line of the log stands alone, and what was being typed comes back after it."""
    shell.send("start one\rli")
    shell.expect(r"\r\x1b\[K\[[^\r\n]*vm one: started[^\r\n]*\r+\nplinth> ")
    shell.expect(r"\r\x1b\[K\[[^\r\n]*memory: [^\r\n]*\r+\nplinth> li")
    shell.send("st\r")
    shell.expect(r"one\s+running")


def test_dmesg_is_whole(boot, guest):
    """A log longer than the transmit ring comes from its first line to its last."""
    machine = boot(CONFIG.replace("autostart = false", "restart-limit = 0", 1), {"spin.elf": guest("reset"), "halt.elf": guest("halt")})
    for _ in range(120):
        machine.expect(r"vm one: reset by the guest")
    machine.send("destroy one\r")  # runs although the log takes all that the line carries; its own line may be in the log only
    machine.until(lambda: re.search(r"^one +stopped", machine.ask(PROMPT, "list"), re.M))
    text = machine.ask(PROMPT, "dmesg")
    assert len(text) > 20000 and "loaded by GRUB" in text, len(text)
    assert text.count("vm one: reset by the guest") >= 120 and "vm one: destroyed" in text


def test_line_editing(shell):
    """Keys that edit the line, those that bring back an earlier one, and those that do nothing here."""
    assert "Plinth" in shell.ask(PROMPT, "version")
    shell.send("lst\x1b[D\x1b[Di\x1b[5~\x1b[15~\xe4\x1b[Hx\x1b[3~\x1b[D\x1b[3~l\r")
    shell.expect(r"NAME +STATE")
    shell.expect(PROMPT)
    shell.send("\x1b[A\x1bOA\r")
    shell.expect(r"Plinth \d+\.\d+")
    shell.expect(PROMPT)
    shell.send("destroy one\x15destroy two\x17one\x15version\r")
    shell.expect(r"Plinth \d+\.\d+")


def test_tab_completion(shell):
    shell.send("hel\tsho")
    shell.expect("help sho")
    shell.send("\x15star\to\t\r")
    shell.expect(r"start one \r+\n")
    shell.expect(r"vm one: started")
    shell.expect(PROMPT)
    shell.send("re\t\t")  # more than one: the second Tab shows them
    shell.expect(r"plinth> re\r+\n[^\r\n]*reset  [^\r\n]*reboot  [^\r\n]*\r+\nplinth> re")
    shell.send("\x15vm info \t\t")
    shell.expect(r"\r+\none  two  \r+\nplinth> vm info ")


def test_help_of_a_command(shell):
    text = shell.ask(PROMPT, "help start")
    assert "usage: start VM" in text and "memory is wiped" in text, text
    assert re.search(r"usage: info VM \[--json\].*dominfo", shell.ask(PROMPT, "help dominfo"), re.S)
    assert "did you mean 'start'" in shell.ask(PROMPT, "help strat")


def test_names_of_virsh_and_xl(shell):
    assert re.search(r"^one\s+stopped", shell.ask(PROMPT, "vm list"), re.M)
    shell.send("vm start one\r")
    shell.expect(r"vm one: started")
    assert re.search(r"^state +running", shell.ask(PROMPT, "domstate one"), re.M)
    assert re.search(r"^one: \d+ exits", shell.ask(PROMPT, "domstats one"), re.M)
    assert "whole machine" in shell.ask(PROMPT, "vm poweroff")


def answer(machine, command):
    """What it says with --json, which must be one line."""
    return json.loads(re.search(r"^\{.*\}(?=\r*$)", machine.ask(PROMPT, command + " --json"), re.M)[0])


def test_info_and_stats(boot, guest):
    """What a VM is, what it does, and how often it came to Plinth; for people, and as JSON for programs."""
    config = '[vm.odd]\nmemory = "16M"\nkernel = "spin.elf"\ncmdline = "say=\\"hi\\" \\\\ end"\ncpus = 2\nautostart = false\n'
    machine = boot(config, {"spin.elf": guest("spin")})
    machine.expect(PROMPT)

    before = answer(machine, "info odd")
    assert before["state"] == "stopped" and before["vcpus"] == [] and before["exits"] == 0
    assert before["cmdline"] == 'say="hi" \\ end' and before["kernel"] == "spin.elf" and before["modules"] == []
    machine.send("start odd\r")
    machine.expect(r"vm odd: started")
    machine.send("console odd\r")
    machine.expect(r"spin: interrupts off, looping")
    machine.send("\x01d")
    machine.expect(PROMPT)
    info, stats = answer(machine, "info odd"), answer(machine, "stats")["vms"]
    assert info["state"] == "running" and [v["state"] for v in info["vcpus"]] == ["runnable", "waits for start-up"]
    assert int(info["vcpus"][0]["rip"], 16) >= 0x100000 and info["memory"] == 16 << 20
    assert info["vcpus"][0]["exits"] > 0 and info["vcpus"][1]["exits"] == 0
    assert [vm["name"] for vm in stats] == ["odd"]
    exits = stats[0]["exits"]
    assert stats[0]["total"] == sum(exits.values()) >= info["exits"]
    assert exits["io"] > len("spin: interrupts off, looping"), exits  # each character went out by the serial port
    assert re.search(r"^ +io +\d+", machine.ask(PROMPT, "stats odd"), re.M)
    assert re.search(r'^cmdline +say="hi" \\ end', machine.ask(PROMPT, "info odd"), re.M)
    listed = answer(machine, "list")["vms"]
    assert listed == [{"name": "odd", "state": "running", "vcpus": 2, "memory": 16 << 20, "last_stop": ""}]
    assert answer(machine, "mem")["vms"]["odd"] > 16 << 20
    machine.send("destroy odd\r")
    machine.expect(r"vm odd: destroyed")
    assert answer(machine, "info odd")["last_stop"] == "destroyed" and answer(machine, "stats odd")["vms"][0]["exits"]["io"] >= exits["io"]


def test_times_of_exits(boot, guest):
    """How long a VM's exits take is measured while the command runs, and how long Plinth's own work took at most is known."""
    machine = boot('[vm.busy]\nmemory = "16M"\nkernel = "bad.elf"\ncmdline = "cpuid"\n', {"bad.elf": guest("bad")})
    machine.expect(r"bad: cpuid")
    machine.send("\x01d")
    machine.expect(PROMPT)
    busy = answer(machine, "stats")
    vm = busy["vms"][0]
    assert set(vm["mean_cycles"]) <= set(vm["exits"]) and vm["mean_cycles"]["cpuid"] > 20, vm
    assert vm["longest"]["cycles"] >= max(vm["mean_cycles"].values()) and vm["longest"]["exit"] in vm["mean_cycles"]
    assert busy["longest_work_cycles"] > 1000  # wiping is done in steps of 2 MiB
    text = machine.ask(PROMPT, "stats busy")
    count, cycles, total = map(int, re.search(r"^ +cpuid +(\d+), of about (\d+) cycles: (\d+)\s*$", text, re.M).groups())
    assert count > vm["exits"]["cpuid"] and total == count * cycles
    assert re.search(r"^ +longest of those timed: [a-z-]+, \d+\.\d us", text, re.M)
    assert re.search(r"^longest step of Plinth's own work: \d+\.\d us", text, re.M)


def test_pci_and_irq(shell, vendor):
    """The emulated boards have a host bridge of Intel's at 00:00.0, and a serial port whose interrupt is ISA's number 4."""
    text = shell.ask(PROMPT, "pci")
    assert re.search(r"^00:00\.0 8086:[0-9a-f]{4} 0600  host bridge", text, re.M), text
    assert re.search(r" 0601  ISA bridge", text), text
    functions = answer(shell, "pci")["functions"]
    assert len(functions) == len(re.findall(r"^[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] ", text, re.M)) >= 3
    assert functions[0]["address"] == "00:00.0" and functions[0]["class"] == "0600" and functions[0]["what"] == "host bridge"
    assert len({function["address"] for function in functions}) == len(functions)
    text = shell.ask(PROMPT, "irq")
    assert re.search(r"^[0-9a-f]{2} +[1-9]\d* I/O APIC input \d+, ISA interrupt 4", text, re.M), text
    first, second = (next(v["count"] for v in answer(shell, "irq")["vectors"] if "ISA interrupt 4" in v["from"]) for _ in range(2))
    assert second > first > 0


def test_config_is_shown(shell):
    assert CONFIG.strip() in shell.ask(PROMPT, "config").replace("\r", "")


def test_log_of_a_vm(shell):
    """What a console showed, without going there."""
    assert "one was never started" in shell.ask(PROMPT, "log one")
    shell.send("start one\r")
    shell.expect(r"vm one: started")
    shell.until(lambda: re.search(r"^spin: interrupts off, looping", shell.ask(PROMPT, "log one"), re.M))
    shell.send("console one\r")
    shell.expect(r"spin: interrupts off, looping")  # log has taken nothing away


def test_doctor_is_content(shell):
    text = shell.ask(PROMPT, "doctor")
    assert re.search(r"^ok +each of the [1-9]\d+ frames of memory has exactly one owner", text, re.M) and "error" not in text, text
    assert [f["severity"] for f in answer(shell, "doctor")["findings"] if f["severity"] != "warning"] == ["ok"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", answer(shell, "version")["version"])


def test_doctor_finds_what_is_wrong(boot, guest):
    """A config with an error, a file that is missing, more memory than there is, a VM that crashed: each with what to do."""
    config = """\
[host]
attach = "nobody"
[vm.bad]
memory = "16M"
kernal = "spin.elf"
[vm.gone]
memory = "16M"
kernel = "missing.elf"
autostart = false
[vm.huge]
memory = "900G"
kernel = "spin.elf"
autostart = false
[vm.dead]
memory = "16M"
kernel = "halt.elf"
"""
    machine = boot(config, {"spin.elf": guest("spin"), "halt.elf": guest("halt")})
    machine.expect(r"---- end of vm dead ----")
    machine.expect(PROMPT)
    found = {f["what"]: (f["severity"], f.get("advice", "")) for f in answer(machine, "doctor")["findings"]}

    def one(pattern):
        what = [text for text in found if re.search(pattern, text)]
        assert len(what) == 1, (pattern, list(found))
        return found[what[0]]

    assert one(r"plinth\.toml:2:\d+: attach names 'nobody'")[0] == "error"
    assert one(r"plinth\.toml:5:1: unknown key 'kernal'.*did you mean 'kernel'")[0] == "error"
    assert one(r"vm bad: its config has errors")[0] == "error"
    assert one(r'vm gone: "missing\.elf" is not on the boot medium')[0] == "error"
    assert one(r"want 9216\d\d MiB, and \d+ MiB are free")[0] == "warning"
    severity, advice = one(r"vm dead: halted for good")
    assert severity == "warning" and "start dead" in advice
    assert one(r"exactly one owner")[0] == "ok"
    assert re.search(r"^warning +vm dead: [^\r\n]*\r*\n +-> .*'log dead'", machine.ask(PROMPT, "doctor"), re.M)


def test_console_and_back(shell):
    shell.send("start one\r")
    shell.expect(r"vm one: started")
    shell.send("console one\r")
    shell.expect(r"spin: interrupts off, looping")
    shell.send("\x01d")
    shell.expect(PROMPT)


@pytest.mark.check
def test_poweroff(shell):
    shell.send("poweroff\r")
    assert shell.ends() == 0


def test_a_dead_console_leads_to_the_shell(boot, guest):
    """Who looks at a VM that stops finds the shell, not a console that answers nothing."""
    machine = boot('[vm.one]\nmemory = "16M"\nkernel = "halt.elf"\n', {"halt.elf": guest("halt")})
    machine.expect(r"console of one")
    machine.expect(r"vm one: stopped: halted for good")
    machine.expect(PROMPT)
    assert re.search(r"one +stopped", machine.ask(PROMPT, "list"))
