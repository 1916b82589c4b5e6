"""What `make run` starts, and the README's walk through it: what stands there is typed, and what it promises has to come."""

import os
import re

import pytest

from machine import TOP

STAMP = re.compile(r"^\[ *\d+\.\d+\]")


def steps():
    """The lines of the README's console blocks: ("type", prompt, command), ("key", letter) or ("see", regular expression)."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as file:
        blocks = re.findall(r"^```console\n(.*?)^```$", file.read(), re.M | re.S)
    for line in "".join(blocks).splitlines():
        if typed := re.fullmatch(r"(\S+[#>]) (.+)", line):
            yield "type", typed[1] + " ", typed[2]
        elif key := re.fullmatch(r"Ctrl-A (\S)", line):
            yield "key", key[1]
        else:
            stamp = STAMP.match(line)
            words = (line[stamp.end():] if stamp else line).split()
            yield "see", (r"\[ *\d+\.\d+\] " if stamp else r"(?<![^\n ])") + r" +".join(map(re.escape, words)) + r" *(?:\r*\n|\||\x1b)"


# In Bochs guests with several CPUs need a local APIC kept by software (docs/debugging.md); `make run` does the same.
@pytest.mark.parametrize("vendor,options", [("amd", {"smp": 2}), ("intel", {"cmdline": "without=apicv"})], ids=["amd", "intel"])
def test_walk(boot, linux, options):
    with open(os.path.join(TOP, "guests/demo/plinth.toml"), encoding="utf-8") as file:
        config = file.read()
    more = {name: os.path.join(os.path.dirname(linux["vmlinuz"]), name) for name in ("memtest", "disk.img")}
    machine = boot(config, {**linux, **more}, memory="1G", **options)
    typed = []
    for kind, *what in steps():
        if kind == "type":
            prompt, command = what
            machine.expect(re.escape(prompt))
            machine.send(command + "\r")
            machine.expect(re.escape(command) + r"\s*\r?\n" if command != "poweroff" else "poweroff")
            typed.append(command)
        elif kind == "key":
            machine.send("\x01" + what[0])
        else:
            machine.expect(what[0])
            if "Memtest" in what[0]:
                machine.expect(r"#6  \[Moving inversions, 64 bit pattern\]")  # it gets on with its work
                machine.expect(r"Errors: 0 ")
    assert machine.ends() == 0
    assert typed[-1] == "poweroff" and len(typed) > 10  # it was a walk
    machine.log.flush()
    with open(machine.log_path, encoding="utf-8", errors="replace") as file:
        assert not re.search(r"Errors: +[1-9]|Kernel panic|crashed|triple fault", file.read())
