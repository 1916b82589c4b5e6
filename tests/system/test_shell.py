"""The management shell: the commands of `help`, and a console that can be left."""

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
    for command in ("list", "start", "destroy", "console", "dmesg", "mem", "poweroff"):
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
    assert "strat" in shell.ask(PROMPT, "strat one")


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
    machine.send("destroy one\r")
    machine.expect(r"vm one: destroyed")
    machine.expect(PROMPT)
    text = machine.ask(PROMPT, "dmesg")
    assert len(text) > 20000 and "loaded by GRUB" in text, len(text)
    assert text.count("vm one: reset by the guest") >= 120 and "vm one: destroyed" in text


def test_cursor_keys_type_nothing(shell):
    shell.send("\x1b[A\x1bOB\x1b[3~list\r")
    assert shell.expect(r"(\S*)list\r")[1] == ""
    shell.expect(r"NAME +STATE")


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
