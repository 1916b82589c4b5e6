"""What counts as a complaint in Bochs' log, and what does not."""

import pytest

from bochs import WRONG


@pytest.mark.check
@pytest.mark.parametrize("line", [
    "00627948144p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution",
    "00199322671e[CPU0  ] VMENTER FAIL: VMCS guest invalid CR0",
    "00199322671e[CPU1  ] VMFAIL: VMCS EXEC CTRL: VMX pin-based controls allowed 0-settings",
    "00199322671e[CPU0  ] VMENTER: EPT Guest State PDPTRs Checks Failed",
    "00199322671e[CPU0  ] VMX LoadMSRs 3: unable to set up MSR 174",
    "00199322671e[CPU0  ] VMWRITE: not supported field 0x00002034",
    "00199322671e[CPU0  ] FAIL: VMCS host CR4.CET=1 when CR0.WP=0",
    "00199322671e[CPU0  ] INVVPID with VPID=0",
])
def test_complaint(line):
    assert WRONG.findall(f"00000000000i[      ] first\n{line}\n00000000001i[      ] last\n") == [line]


@pytest.mark.parametrize("line", [
    "00199322671i[CPU0  ] WRMSR: wrote 00000000:fee00d00 to MSR_APICBASE",
    "00199322671i[CPU0  ]   VMX support: yes",
    "00199322671e[CPU0  ] RDMSR: Unknown register 0x17",
    "00199322671e[HD    ] device set to 1 which does not exist",
])
def test_no_complaint(line):
    assert not WRONG.findall(line)
