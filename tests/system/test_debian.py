"""
A whole Debian 12 (guests/debian) on disks and networks of Plinth's: systemd from a GPT partition with ext4, fio, iperf3.

With DEBIAN_ALL=1 only (`make soak`), for it takes long and fetches a system: all kinds of disks, in QEMU and in Bochs, and two such systems in a
network. DEBIAN_FIO_SECONDS says how long fio works, on all of them together. What it does is the same for as long as DEBIAN_SEED is.
"""

import os
import random
import re
import shutil
import subprocess
import time

import pytest

from machine import OUT, TOP, Locked
from test_disk_drivers import DISKS, SERIAL, drive
from test_guest_io import well

pytestmark = pytest.mark.skipif(os.environ.get("DEBIAN_ALL") != "1", reason="make soak has it")
FIO_SECONDS = int(os.environ.get("DEBIAN_FIO_SECONDS", "5"))
SEED = int(os.environ.get("DEBIAN_SEED", "1"))
START = 800  # seconds until the login at most, in Bochs on a loaded machine

CONFIG = """\
[host]
attach = "one"
"""
VM = """
[vm.{name}]
cpus = {cpus}
memory = "384M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 root={root} systemd.hostname={name} net.ifnames=0 cryptomgr.notests systemd.show_status=error"
disks = ["{disk}"]
networks = {networks}
"""


def vm(name="one", cpus=2, root="/dev/vda1", disk=f"disk:{SERIAL}", networks="[]"):
    return VM.format(name=name, cpus=cpus, root=root, disk=disk, networks=networks)


@pytest.fixture(scope="session")
def debian():
    """The folder of what guests/debian/build makes."""
    folder = os.path.join(OUT, "debian")
    with Locked("debian"):
        done = subprocess.run([os.path.join(TOP, "guests/debian/build"), folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def copy(debian, tmp_path):
    """copy(NAME) makes a disk with a Debian on it that belongs to the test: its path."""
    paths = []

    def make(name):
        paths.append(tmp_path / name)
        subprocess.run(["cp", "--sparse=always", os.path.join(debian, "debian.img"), paths[-1]], check=True)
        return paths[-1]

    yield make
    for path in paths:
        path.unlink()


def files(debian):
    return {name: os.path.join(debian, name) for name in ("vmlinuz", "initrd.img")}


def log_in(machine, name="one"):
    """Waits for the system to be up, all of it. Returns the prompt of its shell."""
    prompt = rf"root@{name}:~# "
    machine.expect(rf"{name} login: ", timeout=START)
    machine.send("root\r")
    machine.expect(prompt, timeout=START)
    machine.ask(prompt, "stty cols 500")  # for fio's options, which are not to be cut into lines
    state = machine.ask(prompt, "systemctl is-system-running --wait", timeout=START)
    assert state.strip() == "running", state + machine.ask(prompt, "systemctl --failed --no-pager --full")
    return prompt


def switch_off(machine, prompt, image):
    """The system leaves its file system clean behind."""
    well(machine, prompt)
    machine.send("poweroff\r")
    machine.expect(r"vm one: powered off", timeout=START)
    machine.stop()
    checked = subprocess.run(["e2fsck", "-fn", f"{image}?offset={1 << 20}"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def fio(machine, prompt, seed, seconds):
    """Files are written and read back, with all kinds of sizes and depths, by several jobs at once: what is read is what was written."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        small, large = sorted(512 << chance.randint(0, 11) for _ in range(2))
        jobs = chance.randint(1, 4)
        size = max(large, min(32 << 20, 1500 * (small + large)) // jobs)
        options = {"engine": chance.choice(["libaio", "io_uring"]), "rw": chance.choice(["write", "randwrite", "randrw"]),
                   "iodepth": 1 << chance.randint(0, 7), "fsync": chance.choice([0, 0, 50])}
        said = machine.ask(prompt, f"fio --name=round{rounds % 4} --directory=/var/tmp --ioengine={options['engine']} --rw={options['rw']} --direct=1 "
                           f"--bsrange={small}-{large} --size={size} --numjobs={jobs} --iodepth={options['iodepth']} --fsync={options['fsync']} "
                           f"--verify=crc32c --verify_fatal=1 --randseed={chance.randint(1, 1 << 30)} > fio.log 2>&1; echo status $?", timeout=600)
        assert "status 0" in said, machine.ask(prompt, "cat fio.log")
        rounds += 1
    print(f"{rounds} rounds of fio in {seconds} s")  # `make soak` shows it


SYSTEMS = [("nvme", 2, "disk"), ("nvme", 1, "disk"), ("nvme", 4, "part"), ("ahci", 2, "disk"), ("ide", 2, "part"), ("virtio", 2, "disk")]
SOURCES = {"disk": {"disk": f"disk:{SERIAL}", "root": "/dev/vda1"}, "part": {"disk": "part:debian", "root": "/dev/vda"}}


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("kind,cpus,source", SYSTEMS)
def test_debian(boot, debian, copy, kind, cpus, source):
    """From a GPT disk by each of Plinth's drivers, with as many queues as the VM has CPUs."""
    image = copy("disk.img")
    _, options, extra = DISKS[kind]
    machine = boot(CONFIG + vm(cpus=cpus, **SOURCES[source]), files(debian), smp=2, memory="1G", extra=["-boot", "d"] + drive(image) + extra, **options)
    prompt = log_in(machine)
    assert "ext4" in machine.ask(prompt, f"grep '^{SOURCES[source]['root']} / ' /proc/mounts")
    assert machine.ask(prompt, "ls /sys/block/vda/mq | wc -l").strip() == str(cpus)
    fio(machine, prompt, f"{SEED} {kind} {cpus}", FIO_SECONDS / len(SYSTEMS))
    switch_off(machine, prompt, image)


@pytest.mark.vendors("intel")
def test_debian_in_bochs(boot, debian, copy):
    """From IDE. Not on the usual Skylake, whose XSAVEC is wrong in Bochs (docs/debugging.md, "Bochs")."""
    image = copy("disk.img")
    machine = boot(CONFIG + vm(cpus=1, disk="disk:BXHD00012"), files(debian), memory="1G",
                   cpu="corei7_haswell_4770", extra=[f'ata0-slave: type=disk, path={image}, mode=flat, model="Scratch disk"'])
    prompt = log_in(machine)
    fio(machine, prompt, SEED, 1)
    switch_off(machine, prompt, image)


NETWORK = """
[network.jumbo]
mtu = 9000
"""
ADDRESSES = {"one": 1, "two": 2}


def rate(machine, prompt, arguments):
    """What iperf3's other end received, in Mbit/s."""
    said = machine.ask(prompt, f"iperf3 -f m -t 5 {arguments}", timeout=300)
    found = re.search(r"([\d.]+) Mbits/sec +receiver", said)
    assert found and "error" not in said, said
    return float(found[1])


def pings(machine, prompt, arguments, count):
    said = machine.ask(prompt, f"ping -q -c {count} {arguments}", timeout=600)
    assert f"{count} packets transmitted, {count} received, 0% packet loss" in said, said


@pytest.mark.vendors("amd")
def test_network_of_two(boot, debian, copy):
    """iperf3 both ways and 10,000 pings; in a network with jumbo frames 2,000 that fill one, each when the one before was answered."""
    second = drive(copy("second.img"), **{"node-name": "d1"}) + ["-device", "nvme,drive=d1,serial=SECOND"]
    networks = '["lan0", "jumbo"]'
    config = CONFIG + vm(networks=networks) + vm("two", disk="disk:SECOND", networks=networks) + NETWORK
    machine = boot(config, files(debian), smp=2, memory="2G", extra=["-boot", "d"] + drive(copy("disk.img")) + DISKS["nvme"][2] + second)
    prompts = {}
    for name, number in ADDRESSES.items():
        prompts[name] = log_in(machine, name)
        assert "9000" in machine.ask(prompts[name], "cat /sys/class/net/eth1/mtu")
        for card in (0, 1):
            machine.ask(prompts[name], f"ip address add 10.0.{card}.{number}/24 dev eth{card}; ip link set eth{card} up")
        if name == "one":
            machine.ask(prompts[name], "iperf3 -s -D")
            machine.send("\x01n")
    two = prompts["two"]
    for card, count, how in ((0, 10000, "-f"), (1, 2000, "-A -M do -s 8972")):
        there = f"10.0.{card}.1"
        pings(machine, two, f"{how} {there}", count)
        rates = [rate(machine, two, f"-c {there} {way}") for way in ("", "-R")]
        print(f"iperf3 by eth{card}: {rates[0]} and {rates[1]} Mbit/s")
        assert min(rates) > 1
    well(machine, two)
    machine.send("\x01p")
    well(machine, prompts["one"])
