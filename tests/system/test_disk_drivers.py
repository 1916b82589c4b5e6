"""
The machine's disks, as each driver has them: the hypervisor's own test (disk-test=) writes a scratch disk and reads it back, on all CPUs,
in pieces of all sizes.
"""

import json
import re
import struct

import pytest

CONFIG = "# no machines\n"
PROMPT = r"plinth> "
SERIAL = "SCRATCH"
MEGABYTES = 64
AREA = 16 << 20               # what the test writes, and by what rule: drivers/disk_test.c
FACTOR = 0xbf58476d1ce4e5b9
READ_COST = 1500  # instructions for a 4 KiB read, driver and interrupt included


@pytest.fixture
def image(tmp_path):
    """An empty disk."""
    path = tmp_path / "scratch.img"
    with open(path, "wb") as file:
        file.truncate(MEGABYTES << 20)
    return path


def drive(image, **options):
    """QEMU's block device d0; its flushes cost nothing, since nothing here is to outlast the machine."""
    node = {"driver": "raw", "node-name": "d0", "discard": "unmap", "cache": {"no-flush": True},
            "file": {"driver": "file", "filename": str(image)}, **options}
    return ["-blockdev", json.dumps(node)]


DISKS = {
    "nvme": ("nvme0", {}, ["-device", f"nvme,drive=d0,serial={SERIAL}"]),
    "nvme-4k": ("nvme0", {}, ["-device", f"nvme,drive=d0,serial={SERIAL},logical_block_size=4096,physical_block_size=4096,mdts=3"]),
    "nvme-shared": ("nvme0", {}, ["-device", f"nvme,drive=d0,serial={SERIAL},max_ioqpairs=2"]),  # of which the CPUs are three
    "nvme-one-vector": ("nvme0", {}, ["-device", f"nvme,drive=d0,serial={SERIAL},msix_qsize=1"]),
    "ide": ("ide0.1", {"machine": "pc"}, ["-device", f"ide-hd,drive=d0,serial={SERIAL},bus=ide.0,unit=1"]),
    "ahci": ("ahci0.1", {}, ["-device", f"ide-hd,drive=d0,serial={SERIAL},bus=ide.1"]),
    "virtio": ("virtio0", {}, ["-device", f"virtio-blk-pci,drive=d0,serial={SERIAL},num-queues=4"]),
    "virtio-line": ("virtio0", {"machine": "pc"}, ["-device", f"virtio-blk-pci,drive=d0,serial={SERIAL},vectors=0,disable-legacy=on"]),
    "ahci-card": ("ahci0.4", {"machine": "pc"}, ["-device", "ich9-ahci,id=card", "-device", f"ide-hd,drive=d0,serial={SERIAL},bus=card.4"]),
}


def interrupts(machine):
    """How many came by each message of a PCI device, and by each ISA interrupt."""
    text = machine.ask(PROMPT, "irq")
    messages = [int(count) for count in re.findall(r"(\d+) a message of a PCI device", text)]
    return messages, {int(isa): int(count) for count, isa in re.findall(r"(\d+) I/O APIC input \d+, ISA interrupt (\d+)", text)}


def passed(machine, name):
    return int(machine.expect(rf"disk-test: {re.escape(name)}: passed: (\d+) requests in \d+ ms")[1])


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("memory", ["512M", "6G"])
@pytest.mark.parametrize("kind", DISKS)
def test_disk(boot, image, kind, memory):
    """What is written is read back; interrupts tell of it, not the watch. With 6 GiB some of the memory is beyond 32 bits."""
    name, options, extra = DISKS[kind]
    machine = boot(CONFIG, smp=3, memory=memory, cmdline=f"disk-test={SERIAL}", extra=drive(image) + extra, **options)
    machine.expect(rf"{re.escape(name)}: (?:QEMU|virtio) [A-Za-z ]+, serial number {SERIAL}, {MEGABYTES} MiB\r")
    assert passed(machine, name) > 300
    machine.send("\r")
    machine.expect(PROMPT)
    messages, isa = interrupts(machine)
    if kind == "ide":
        assert isa[14] > 300
    elif kind == "virtio-line":
        assert max(isa.get(number, 0) for number in (5, 9, 10, 11)) > 200, "PCI lines come in there"
    else:
        assert sum(messages) > 200
    if kind in ("nvme", "virtio"):
        assert len(messages) == 3 and min(messages) > 50, "each CPU has a queue and a vector of its own"
    with open(image, "rb") as file:
        words = struct.unpack(f"<{AREA // 8}Q", file.read(AREA))
        assert not any(file.read()), "it wrote behind its area"
    assert all(word == (n + 1) * FACTOR % 2**64 for n, word in enumerate(words)), "the image does not hold what was written"


@pytest.mark.vendors("intel")
@pytest.mark.parametrize("smp", [1, 2])
def test_ide_in_bochs(boot, image, smp):
    machine = boot(CONFIG, smp=smp, cmdline="disk-test=BXHD00012", extra=[f'ata0-slave: type=disk, path={image}, mode=flat, model="Scratch disk"'])
    machine.expect(r"ide0\.0: [^\r]*, which Plinth was started from\r")
    machine.expect(rf"ide0\.1: Scratch disk, serial number BXHD00012, {MEGABYTES} MiB\r")
    assert passed(machine, "ide0.1") > 300
    machine.send("\r")
    machine.expect(PROMPT)
    assert interrupts(machine)[1][14] > 300


@pytest.mark.vendors("intel")
def test_boot_medium_is_not_written(boot):
    machine = boot(CONFIG, cmdline="disk-test=BXHD00011")
    machine.expect(r"disk-test: ide0\.0 is not tested: it is the boot medium")
    machine.expect(PROMPT)


@pytest.mark.vendors("amd")
def test_refuses_other_disks(boot, image):
    """Only a disk that is named is written."""
    machine = boot(CONFIG, cmdline="disk-test=OTHER", extra=drive(image) + DISKS["nvme"][2])
    machine.expect("disk-test: no disk has serial number OTHER")
    machine.expect(PROMPT)
    with open(image, "rb") as file:
        assert not any(file.read(MEGABYTES << 20))


@pytest.mark.vendors("amd")
# Not AHCI's writes: QEMU 7.2 itself ends by a signal, now and then, when one of several commands fails.
@pytest.mark.parametrize("kind,iotype", [("nvme", "read"), ("nvme", "write"), ("ide", "read"), ("ide", "write"), ("ahci", "read"),
                                         ("virtio", "read"), ("virtio", "write")])
def test_errors_of_the_disk(boot, image, kind, iotype):
    """A bad sector: the requests that touch it fail, and no others; the data of those is whole."""
    name, options, extra = DISKS[kind]
    bad = [{"event": "none", "iotype": iotype, "sector": 3000, "errno": 5}]
    node = drive(image, file={"driver": "blkdebug", "image": {"driver": "file", "filename": str(image)}, "inject-error": bad})
    machine = boot(CONFIG, smp=2, cmdline=f"disk-test={SERIAL}", extra=node + [part + (",werror=report" if "drive=" in part and kind != "nvme" else "")
                                                                           for part in extra], **options)
    machine.expect(rf"disk-test: {re.escape(name)}: operation \d of \d+ sectors from \d+ failed: -5")
    failed, requests, wrong = machine.expect(rf"disk-test: {re.escape(name)}: FAILED: (\d+) of (\d+) requests failed, (\d+) words").groups()
    assert 1 <= int(failed) <= 4 and int(requests) > 300
    if iotype == "read":
        assert wrong == "0"
    machine.send("\r")
    machine.expect(PROMPT)


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("kind", ["nvme", "ide", "ahci", "virtio"])
def test_cost_of_a_read(boot, image, kind):
    """Counted in instructions, but as idle as a real machine while it waits: time that leaps would let requests time out."""
    name, options, extra = DISKS[kind]
    machine = boot(CONFIG, cmdline=f"disk-test={SERIAL}", extra=drive(image) + extra + ["-icount", "shift=0"], **options)
    assert int(machine.expect(rf"disk-test: {re.escape(name)}: passed: .* a read of 4 KiB costs (\d+) ticks")[1]) <= READ_COST
