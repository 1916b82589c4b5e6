"""The wire: what a console shows to who comes back, the prefix, the echo of all consoles, and whole lines."""

import re

import pytest

PROMPT = r"plinth> "
TALK = '[vm.one]\nmemory = "16M"\nkernel = "talk.elf"\n'
TWO = '[vm.two]\nmemory = "128M"\nkernel = "halt.elf"\nautostart = false\n'


@pytest.fixture
def talk(boot, guest):
    def start(host=""):
        machine = boot(f"[host]\nattach = \"one\"\n{host}\n{TALK}{TWO}", {"talk.elf": guest("talk"), "halt.elf": guest("halt")})
        machine.expect(r"talk: ready")
        return machine
    return start


def test_who_comes_back_sees_where_he_was(talk):
    machine = talk()
    machine.send("m")
    machine.expect(r"line 60 of 60\r*\n")
    machine.send("u\x01d")  # the rest comes while nobody looks
    machine.expect(PROMPT)
    machine.send("version\r")
    machine.expect(PROMPT)
    machine.send("\x01n")
    machine.expect(r"console of one[^\n]*\n(line (\d+) of 60)")
    assert int(machine.child.match[2]) >= 37
    machine.expect(r"line 60 of 60\r*\nan unfinished line")
    machine.send("\x01h")
    machine.expect(r"all output of one that is kept; 0 bytes before it are gone\]\s+talk: ready\s+line 1 of 60\s")
    machine.expect(r"line 60 of 60\r*\nan unfinished line")


def test_a_drawn_screen(talk):
    """Who leaves a screen that a program draws gets his terminal back; who comes back sees all of it, whatever came in between."""
    machine = talk()
    machine.send("s")
    machine.expect("drawn")
    machine.send("\x01d")
    machine.expect(r"\x1b\[m\x1b\[\?25h\x1b\[999;1H\s*" + PROMPT)
    assert machine.child.before == ""
    machine.send("start two\r")
    machine.expect(r"vm two: started")
    machine.send("\x01n")
    machine.expect(r"\x1b\[2J\x1b\[H\r*\n\[console of one[^\n]*\n")
    machine.expect(r"first part")
    machine.expect(r"step 999\x1b\[9;5Hdrawn")
    machine.send("\x01d")
    machine.expect(r"\x1b\[999;1H\s*" + PROMPT)
    machine.send("\x01nm")
    machine.expect("line 60 of 60")
    machine.send("\x01d")
    machine.expect(PROMPT)
    assert "\x1b[999" not in machine.child.before


def test_another_prefix(talk):
    machine = talk('prefix = "ctrl-b"')
    machine.send("\x01")
    machine.expect(r"typed: 1\s")
    machine.send("\x02?")
    machine.expect(r"Keys: Ctrl-B d")
    machine.send("\x02\x02")
    machine.expect(r"typed: 2\s")
    machine.send("\x02d")
    machine.expect(PROMPT)
    machine.send("help\r")
    machine.expect(r"Ctrl-B d comes back")


def test_what_nobody_saw_is_counted(talk):
    """More than is kept, while nobody looks: a mark says how much of it is gone, before what is kept."""
    machine = talk()
    machine.send("fq\x01d")
    machine.expect(r"vm one: powered off")
    machine.send("console one\r")
    machine.expect(r"\[(\d+) bytes of output dropped\]\r*\n")
    dropped = int(machine.child.match[1])
    machine.expect(r"line 6000 of 6000\r*\ntalk: off\r*\n")
    kept = len(machine.child.before + machine.child.after)
    assert dropped > 10000 and kept > 60000 and (first := re.search(r"line (\d+) of", machine.child.before))
    assert 1000 < int(first[1]) < 6000


def test_next_and_previous(boot, guest):
    """In the order of the config, round and round; from the shell the first or the last. Ctrl-] leaves as well."""
    config = "".join(f'[vm.{name}]\nmemory = "16M"\nkernel = "talk.elf"\n' for name in ("one", "two", "three"))
    machine = boot(config, {"talk.elf": guest("talk")})
    machine.expect(r"vm three: started")
    machine.send("list\r")
    machine.expect(r"three +running")
    for key, name in [("n", "one"), ("n", "two"), ("n", "three"), ("n", "one"), ("p", "three"), ("d", ""), ("p", "three"), ("p", "two")]:
        machine.send("\x01" + key)
        machine.expect(rf"\[console of {name}: Ctrl-A d for Plinth's shell, Ctrl-A \? for help\]" if name else PROMPT)
    machine.expect(r"talk: ready")
    machine.send("\x01a")
    machine.expect(r"typed: 1\s")
    machine.send("\x1d")
    machine.expect(PROMPT)
    machine.send("\x01?")
    machine.expect(r"Keys: Ctrl-A d or Ctrl-\]")
    machine.expect(PROMPT)


def test_the_log_leaves_a_guests_line_whole(talk):
    machine = talk()
    machine.send("u")
    machine.expect("an unfinished line")
    machine.send("\x01d")
    machine.expect(PROMPT)
    machine.send("start two\rconsole one\r")
    machine.expect(r"an unfinished line\r*\n\[[^\r\n]*vm two: started[^\r\n]*\r*\nan unfinished line")


def test_echo(talk):
    """All consoles but the one that is shown, line by line, without what a terminal obeys."""
    machine = talk("echo-consoles = true")
    machine.send("e")
    machine.expect(r"colours: \x1b\[31mred")
    assert "one: " not in machine.child.before
    machine.send("eu\x01d")
    machine.expect(r"\x1b\[K" r"one: colours: red, done\r*\nplinth> ")
    machine.send("\x01n")
    machine.expect("an unfinished line")
    machine.send("w\x01d")
    machine.expect(r"\x1b\[Kone: [0-9a-z ]*[0-9]* \[\d+ bytes cut\]\r*\n")


def test_echo_of_a_flood_leaves_the_shell_alive(talk):
    machine = talk("echo-consoles = true")
    machine.send("f\x01d")
    machine.expect(r"one: line (\d\d\d) of 6000\s")
    before = int(machine.child.match[1])
    machine.send("version\r")
    machine.expect(r"Plinth \d+\.\d+")
    machine.expect(r"one: line (\d+) of 6000\s")
    assert int(machine.child.match[1]) > before  # the flood was not over yet, nor was it what the shell waited for
    machine.expect(r"one: line 6000 of 6000\s")
