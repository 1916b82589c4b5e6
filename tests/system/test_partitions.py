"""Partitions of real disks: found through each driver, named in a config, and refused to whom they do not belong."""

import json
import re
import struct
import zlib

import pytest

CONFIG = """\
[vm.web]
memory = "16M"
kernel = "spin.elf"
disks = ["part:web-root", { source = "part:data", readonly = true }]

[vm.second]
memory = "16M"
kernel = "spin.elf"
after = ["web"]
disks = ["partuuid:a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a501"]

[vm.whole]
memory = "16M"
kernel = "spin.elf"
after = ["web"]
disks = [{ source = "disk:SERIAL", readonly = true }]

[vm.typo]
memory = "16M"
kernel = "spin.elf"
disks = ["part:web-rot"]
"""
PROMPT = r"plinth> "
MEGABYTES = 16


def entry(number, first, last, label):
    return struct.pack("<16s15sBQQQ72s", b"\x11" * 16, b"\xa5" * 15, number, first, last, 0, label.encode("utf-16-le"))


def header(block, mine, other, first, last, array, entries):
    form = "<8sIIIIQQQQ16sQIII"
    fields = [b"EFI PART", 0x10000, 92, 0, 0, mine, other, first, last, b"\x22" * 16, array, 128, 128, zlib.crc32(entries)]
    fields[3] = zlib.crc32(struct.pack(form, *fields))
    return struct.pack(form, *fields).ljust(block, b"\0")


# The firmware is not to take the disk for what it boots from.
BOOT = ["-boot", "d"]


def make_disk(path, block, damaged=False):
    """A GPT with two partitions of 4 MiB; of a damaged one the first header is overwritten."""
    blocks, per_mib = (MEGABYTES << 20) // block, (1 << 20) // block
    entries = (entry(1, per_mib, 5 * per_mib - 1, "web-root") + entry(2, 5 * per_mib, 9 * per_mib - 1, "data")).ljust(128 * 128, b"\0")
    array, last = len(entries) // block, blocks - 1
    usable = 2 + array, last - array - 1
    mbr = bytearray(block)
    struct.pack_into("<B3xB3xII", mbr, 446, 0, 0xEE, 1, last)
    mbr[510:512] = b"\x55\xaa"
    with open(path, "wb") as file:
        file.truncate(MEGABYTES << 20)
        file.write(mbr + (bytes(block) if damaged else header(block, 1, last, *usable, 2, entries)) + entries)
        file.seek((last - array) * block)
        file.write(entries + header(block, last, 1, *usable, last - array, entries))
    return path


def check(machine, disk, serial):
    """The VMs start, or are refused; `disks` tells what there is."""
    machine.expect(r"vm typo: not started: its disk 'part:web-rot' \(plinth\.toml:21:10\): no partition has this label; did you mean 'web-root'\?")
    machine.expect_all([r"vm second: not started: its disk 'partuuid:[^\r]* web writes to it already; two VMs cannot write to one disk",
                        rf"vm whole: not started: its disk 'disk:{serial}'[^\r]*: it is the whole of {re.escape(disk)}, and web writes to its partition"])
    machine.send("\r")
    machine.expect(PROMPT)
    disks = {row["name"]: row for row in json.loads(machine.ask(PROMPT, "disks --json").strip().splitlines()[-1])["disks"]}
    whole, root, data = (disks[disk + part] for part in ("", "p1", "p2"))
    assert whole["size"] == MEGABYTES << 20 and whole["source"] == f"disk:{serial}" and whole["health"] == "healthy" and whole["reads"] >= 4
    assert root["size"] == data["size"] == 4 << 20 and root["source"] == "part:web-root" and data["source"] == "part:data"
    assert root["users"] == "web" and data["users"] == "web reads" and whole["users"] == ""
    assert root["disk"] == disk and root["first_sector"] == 2048 and data["first_sector"] == 5 * 2048
    return disks


DISKS = {
    "nvme": ("nvme0", 512, {}, ["-device", "nvme,drive=d0,serial=SCRATCH"]),
    "nvme-4k": ("nvme0", 4096, {}, ["-device", "nvme,drive=d0,serial=SCRATCH,logical_block_size=4096,physical_block_size=4096"]),
    "ide": ("ide0.1", 512, {"machine": "pc"}, ["-device", "ide-hd,drive=d0,serial=SCRATCH,bus=ide.0,unit=1"]),
    "ahci": ("ahci0.1", 512, {}, ["-device", "ide-hd,drive=d0,serial=SCRATCH,bus=ide.1"]),
}


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("kind", DISKS)
def test_partitions(boot, guest, tmp_path, kind):
    name, block, options, device = DISKS[kind]
    node = {"driver": "raw", "node-name": "d0", "file": {"driver": "file", "filename": str(make_disk(tmp_path / "disk.img", block))}}
    machine = boot(CONFIG.replace("SERIAL", "SCRATCH"), {"spin.elf": guest("spin")}, extra=BOOT + ["-blockdev", json.dumps(node)] + device, **options)
    check(machine, name, "SCRATCH")


@pytest.mark.vendors("amd")
def test_damaged_table(boot, guest, tmp_path):
    name, block, options, device = DISKS["nvme"]
    node = {"driver": "raw", "node-name": "d0", "file": {"driver": "file", "filename": str(make_disk(tmp_path / "disk.img", block, damaged=True))}}
    machine = boot(CONFIG.replace("SERIAL", "SCRATCH"), {"spin.elf": guest("spin")}, extra=BOOT + ["-blockdev", json.dumps(node)] + device, **options)
    machine.expect(r"disk nvme0: its GPT has no signature: the copy of it is used; a partitioning tool can mend it")
    check(machine, name, "SCRATCH")


@pytest.mark.vendors("intel")
def test_partitions_in_bochs(boot, guest, tmp_path):
    path = make_disk(tmp_path / "disk.img", 512)
    machine = boot(CONFIG.replace("SERIAL", "BXHD00012"), {"spin.elf": guest("spin")},
                   extra=[f'ata0-slave: type=disk, path={path}, mode=flat, model="Scratch disk"'])
    disks = check(machine, "ide0.1", "BXHD00012")
    assert disks["ide0.0"]["note"] == "the boot medium"
