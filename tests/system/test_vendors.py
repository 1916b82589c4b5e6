"""A guest sees the same on both CPU vendors, but for what docs/vendors.md names."""

import fnmatch
import os
import re

from machine import TOP

CONFIG = """\
[host]
attach = "test"
when-all-stopped = "poweroff"

[vm.test]
memory = "64M"
kernel = "test.elf"
debug-exit = true
"""


def view(boot_on, guest, vendor):
    """What the guest printed: name -> value."""
    machine = boot_on(vendor, CONFIG, {"test.elf": guest("views")})
    machine.expect(r"vm test: started")
    machine.expect(r"DONE: 1 passed, 0 failed")
    found = {}
    for kind, value in re.findall(r"VIEW (cpuid \S+ \S+|msr \S+ value) ([0-9a-f]+)\r?\n", machine.child.before):
        found[kind.removesuffix(" value")] = value
    machine.expect(r"vm test: exited with code 0")
    assert machine.ends() == 0
    return found


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
