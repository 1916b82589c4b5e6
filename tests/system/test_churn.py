"""
A Linux guest that keeps making and removing files on a real disk, and whose VM is reset or destroyed in the midst of it, again and again: its
file system stays whole, and what it had synced is there.

CHURN_ENDS says how often (`make soak`: 50 times). The ends are the same in every run for as long as CHURN_SEED is.
"""

import os
import random
import subprocess

import pytest

from test_disk_drivers import DISKS, SERIAL, drive
from test_guest_disks import image  # noqa: F401
from test_guest_io import CONFIG, to_shell, well

ENDS = int(os.environ.get("CHURN_ENDS", "2"))
SEED = int(os.environ.get("CHURN_SEED", "1"))
PROMPT = r"plinth> "
DEMO = r"one# "

# What package managers do to a disk: files come, are renamed and go, in folders that come and go, with a sync now and then.
CHURN = ("r=%u; i=0; while true; do i=$((i+1)); d=/m/$((i%%7)); mkdir -p $d; seq $((i*37%%3000)) > $d/new; mv $d/new $d/$i; rm -f $d/$((i-14)); "
         "[ $((i%%20)) = 0 ] && { rm -r $d; sync; }; echo churn-$r-$i; done")


def mount(machine):
    """With its journal gone over by the kernel."""
    to_shell(machine, DEMO)
    machine.ask(DEMO, "mkdir /m; mount -t ext4 /dev/vda /m && echo is-mounted")


def churn(machine, chance, end):
    """A file is synced in each round; the next one finds it."""
    machine.ask(DEMO, f"seq {end + 1}000 > /m/synced; md5sum /m/synced > /m/sum; sync")
    well(machine, DEMO)
    machine.send(CHURN % end + "\r")
    machine.expect(rf"churn-{end}-{chance.randint(1, 60)}\s")
    machine.send("\x01d")
    machine.expect(PROMPT)
    if chance.randint(0, 1):
        machine.ask(PROMPT, "reset one")
    else:
        machine.ask(PROMPT, "destroy one")
        machine.ask(PROMPT, "start one")
    machine.send("console one\r")
    machine.expect(rf"churn-{end}-\d+\s(?:(?!churn-\d+-\d+\s)[\s\S])*?Linux version")  # not a boot that is replayed
    mount(machine)
    assert "/m/synced: OK" in machine.ask(DEMO, "cd /; md5sum -c /m/sum")


def whole_after_ends(machine, image):
    chance = random.Random(SEED)
    mount(machine)
    for end in range(ENDS):
        churn(machine, chance, end)
    machine.ask(DEMO, "umount /m; sync")
    machine.stop()
    checked = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def filesystem(image):  # noqa: F811
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    return image


@pytest.mark.vendors("amd")
def test_churn(boot, linux, filesystem):
    _, options, extra = DISKS["nvme"]
    machine = boot(CONFIG + f'disks = ["disk:{SERIAL}"]\n', linux, extra=["-boot", "d"] + drive(filesystem) + extra, **options)
    whole_after_ends(machine, filesystem)


@pytest.mark.vendors("intel")
def test_churn_ide(boot, linux, filesystem):
    machine = boot(CONFIG + 'disks = ["disk:BXHD00012"]\n', linux,
                   extra=[f'ata0-slave: type=disk, path={filesystem}, mode=flat, model="Scratch disk"'])
    whole_after_ends(machine, filesystem)
