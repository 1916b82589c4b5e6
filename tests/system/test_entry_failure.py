"""A VM entry that the CPU refuses stops that VM alone, and its log says why. Plinth is asked to provoke it (command line spoil=)."""

import pytest

CONFIG = """\
[vm.test]
memory = "64M"
kernel = "test.elf"

[vm.other]
memory = "64M"
kernel = "test.elf"
debug-exit = true
"""

# What the log must say, and what Bochs' log will: that is the point here.
INTEL = {
    "state": (r"VM entry of vCPU 0 failed \(exit reason 33\): guest CR4 0x[0-9a-f]+: .*VMXE", r"VMENTER FAIL: VMCS guest invalid CR4|VMEXIT: Guest State Checks Failed"),
    "control": (r"VM entry of vCPU 0 failed \(VM-instruction error 7\): CR3-target count 0x?[0-9a-f]+", r"VMFAIL: VMCS EXEC CTRL: .*CR3"),
}


def provoke(boot, guest, spoil, said, **options):
    machine = boot(CONFIG, {"test.elf": guest("pci")}, cmdline=f"spoil={spoil}", **options)
    machine.expect(rf"vm test: stopped: {said}")
    machine.expect(r"vm other: exited with code 0")
    machine.send("\r")
    machine.expect(r"plinth> ")


@pytest.mark.vendors("intel")
@pytest.mark.parametrize("spoil", list(INTEL))
def test_names_the_field(boot, guest, spoil):
    said, complaint = INTEL[spoil]
    provoke(boot, guest, spoil, said, allow=[complaint])


@pytest.mark.vendors("intel")
def test_under_debug(boot, guest, debug):
    said, complaint = INTEL["state"]
    provoke(boot, guest, "state", said, plinth=debug, allow=[complaint])


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("spoil", list(INTEL))
def test_is_told_apart(boot, guest, spoil):
    """AMD-V does not say more than that the VMCB is wrong."""
    provoke(boot, guest, spoil, r"the CPU refused the state of vCPU 0")
