"""A stock Linux kernel's own drivers and Plinth's virtio devices."""

import re

import pytest

from test_linux import CONFIG, PROMPT

# What the drivers and the bus say when something is not as it should be.
WRONG = re.compile(r"virtio|pci|hwrng|irq|msi", re.I)


def complaints(machine):
    text = machine.ask(PROMPT, "dmesg -r | grep '^<[0-4]>'; echo end")
    lines = [line.strip() for line in text.splitlines() if re.match(r"<[0-4]>", line)]
    return [line for line in lines if WRONG.search(line)]


@pytest.mark.parametrize("vendor", ["amd", "intel"])
def test_rng(boot, linux, vendor):
    """virtio_pci and virtio_rng take the device; /dev/hwrng gives bytes, others each time, by an MSI-X interrupt for each request."""
    machine = boot(CONFIG, linux)
    machine.expect(PROMPT)
    assert "[mem 0xfeb00000-0xfebfffff] reserved in ACPI motherboard resources" in machine.ask(PROMPT, "dmesg | grep MMCONFIG")
    device = "/sys/bus/pci/devices/0000:00:1e.0"
    assert "0x1044" in machine.ask(PROMPT, f"cat {device}/device")
    assert "virtio-pci" in machine.ask(PROMPT, f"readlink {device}/driver")
    assert "virtio_rng.0" in machine.ask(PROMPT, "cat /sys/class/misc/hw_random/rng_current")
    # VERSION_1, RING_PACKED, INDIRECT_DESC and RING_RESET: all that is offered. Linux leaves out what it does not know.
    features = re.search(r"[01]{64}", machine.ask(PROMPT, "cat /sys/bus/virtio/devices/virtio0/features"))[0]
    assert {n for n, bit in enumerate(features) if bit == "1"} >= {28, 32, 34}

    def interrupts():
        line = re.search(r"^ *\d+: +(\d+) .*PCI-MSI.*virtio0-input", machine.ask(PROMPT, "cat /proc/interrupts"), re.M)
        assert line, "no MSI-X interrupt of the device"
        return int(line[1])

    before = interrupts()
    dumps = [re.findall(r"^[0-9a-f]{7} .*", machine.ask(PROMPT, "dd if=/dev/hwrng bs=64 count=4 2> /dev/null | od -tx1"), re.M) for _ in range(2)]
    assert [len(lines) for lines in dumps] == [16, 16], dumps
    assert len({line[8:] for lines in dumps for line in lines}) == 32, dumps  # no 16 bytes came twice
    assert interrupts() > before
    # The driver is taken away and bound anew: a reset of the device in its life.
    machine.ask(PROMPT, f"echo 0000:00:1e.0 > {device}/driver/unbind")
    assert "virtio" not in machine.ask(PROMPT, "ls /sys/bus/virtio/devices; echo end").split("end")[-2]
    machine.ask(PROMPT, "echo 0000:00:1e.0 > /sys/bus/pci/drivers/virtio-pci/bind")
    assert "64+0" in machine.ask(PROMPT, "dd if=/dev/hwrng of=/dev/null bs=16 count=64 iflag=fullblock 2>&1")
    assert not complaints(machine)
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0


def test_without_rng(boot, linux):
    machine = boot(CONFIG + "rng = false\n", linux)
    machine.expect(PROMPT)
    assert "1e.0" not in machine.ask(PROMPT, "ls /sys/bus/pci/devices")
    machine.send("poweroff -f\r")
    machine.expect(r"vm demo: powered off")
    assert machine.ends() == 0
