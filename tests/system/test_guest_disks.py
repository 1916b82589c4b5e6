"""
A Linux guest's file system on a real disk, by each driver of Plinth's: what the guest has synced is there when the machine's power fails,
and a disk that answers with errors hurts nobody else.
"""

import json
import re
import subprocess

import pytest

from test_disk_drivers import DISKS, SERIAL, drive
from test_guest_io import CONFIG, to_shell, well

DEMO = r"one# "
MEGABYTES = 64


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as file:
        file.truncate(MEGABYTES << 20)
    return path


def debugfs(image, command):
    return subprocess.run(["debugfs", "-R", command, str(image)], capture_output=True, text=True, check=True).stdout


def write_and_fail(machine, image):
    """A file system, a file that is synced, and then one that is being written when the power fails."""
    to_shell(machine, DEMO)
    machine.ask(DEMO, "mke2fs -F -b 4096 /dev/vda > /dev/null 2>&1; mkdir /m; mount -t ext4 /dev/vda /m; ls /m")
    machine.ask(DEMO, "seq 200000 > /m/numbers; md5sum /m/numbers > /m/sum; sync", timeout=300)
    assert "OK" in machine.ask(DEMO, "echo 3 > /proc/sys/vm/drop_caches; md5sum -c /m/sum", timeout=300)
    well(machine, DEMO)
    machine.send("while true; do seq 1000 > /m/later; done\r")
    machine.expect("done\r")
    machine.stop()
    written = debugfs(image, "cat /numbers")
    assert written == "".join(f"{n}\n" for n in range(1, 200001))
    # It has no journal: what was being written may have to be put in order, but it can be.
    assert subprocess.run(["e2fsck", "-fp", str(image)], capture_output=True).returncode in (0, 1)


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("kind", ["nvme", "nvme-4k", "ide", "ahci", "virtio"])
def test_power_failure(boot, linux, image, kind):
    name, options, extra = DISKS[kind]
    config = CONFIG + f'cpus = 2\ndisks = ["disk:{SERIAL}"]\n'
    machine = boot(config, linux, smp=2, extra=["-boot", "d"] + drive(image) + extra, **options)
    write_and_fail(machine, image)


@pytest.mark.vendors("intel")
def test_power_failure_ide(boot, linux, image):
    machine = boot(CONFIG + 'disks = ["disk:BXHD00012"]\n', linux, extra=[f'ata0-slave: type=disk, path={image}, mode=flat, model="Scratch disk"'])
    write_and_fail(machine, image)


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("kind", ["nvme", "ahci"])
def test_bad_sector(boot, linux, image, kind):
    """The guest reads what is whole, gets an I/O error for what is not, and goes on."""
    name, options, extra = DISKS[kind]
    bad = [{"event": "none", "iotype": "read", "sector": 40000, "errno": 5, "immediately": False}]
    node = drive(image, file={"driver": "blkdebug", "image": {"driver": "file", "filename": str(image)}, "inject-error": bad})
    machine = boot(CONFIG + f'disks = ["disk:{SERIAL}"]\n', linux, extra=["-boot", "d"] + node + [
        part + (",werror=report,rerror=report" if "drive=" in part and kind != "nvme" else "") for part in extra], **options)
    to_shell(machine, DEMO)
    assert "16+0 records in" in machine.ask(DEMO, "dd if=/dev/vda of=/dev/null bs=1M count=16 2>&1")
    assert "Input/output error" in machine.ask(DEMO, "dd if=/dev/vda of=/dev/null bs=512 skip=40000 count=1 2>&1")
    assert "8+0 records in" in machine.ask(DEMO, "dd if=/dev/vda of=/dev/null bs=1M skip=24 count=8 2>&1")
    machine.send("\x01d")
    machine.expect(r"plinth> ")
    listed = json.loads(re.search(r"^\{.*\}", machine.ask(r"plinth> ", "disks --json"), re.M)[0])["disks"]
    disk = [disk for disk in listed if disk["name"] == name][0]
    assert disk["health"] == "failing" and 1 <= disk["errors"] <= 40, disk
