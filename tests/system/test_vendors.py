"""A guest sees the same on both CPU vendors, but for what docs/vendors.md names."""

import fnmatch
import os
import re

import pytest

from machine import TOP
from test_guests import GUESTS, LASTING

CONFIG = """\
[host]
attach = "test"
when-all-stopped = "poweroff"

[vm.test]
memory = "64M"
kernel = "test.elf"
debug-exit = true
"""


def output(boot_on, guest, vendor, name):
    """What a guest printed, with no line of the log in the middle of one of its own."""
    machine = boot_on(vendor, CONFIG, {"test.elf": guest(name)}, cmdline="log=warn", counted=True)
    machine.expect(r"DONE: \d+ passed, 0 failed")
    text = machine.child.before
    assert machine.ends() == 0
    return text


def view(boot_on, guest, vendor):
    """The guest's view of its CPU: name -> value."""
    text = output(boot_on, guest, vendor, "views")
    found = re.findall(r"VIEW (cpuid \S+ \S+|msr \S+ value) ([0-9a-f]+)\r?\n", text)
    return {kind.removesuffix(" value"): value for kind, value in found}


def explained():
    """The patterns in the first column of the tables."""
    with open(os.path.join(TOP, "docs/vendors.md"), encoding="utf-8") as file:
        return re.findall(r"^\| `((?:cpuid|msr) [^`]+)` \|", file.read(), re.M)


def test_differences_are_explained(boot_on, guest):
    amd, intel = view(boot_on, guest, "amd"), view(boot_on, guest, "intel")
    assert len(amd) > 100 and len(intel) > 100
    patterns = explained()
    used = set()
    wrong = []
    for name in sorted(amd.keys() | intel.keys()):
        if amd.get(name) == intel.get(name):
            continue
        rows = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
        used.update(rows)
        if not rows:
            wrong.append(f"{name}: {amd.get(name, 'none')} on AMD-V, {intel.get(name, 'none')} on VT-x: no row in docs/vendors.md")
    wrong += [f"docs/vendors.md: {pattern}: there is no such difference" for pattern in patterns if pattern not in used]
    assert not wrong, "\n".join(wrong)


# QEMU's task switches are wrong in places, which task32 then skips; paravirtual EOI is offered on one of the two only.
SAME = [name for name in GUESTS if name not in LASTING | {"task32", "pveoi"}]


@pytest.mark.parametrize("name", SAME)
def test_same_results(boot_on, guest, name):
    """A guest's checks, in their order, are the same on both."""
    results = [re.findall(r"(?:PASS|FAIL): [^\r\n]*", output(boot_on, guest, vendor, name)) for vendor in ("amd", "intel")]
    assert results[0]
    assert results[0] == results[1]
