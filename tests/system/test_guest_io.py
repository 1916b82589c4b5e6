"""Linux guests with virtio disks, network cards and consoles, by the drivers of a stock kernel."""

import functools
import hashlib
import http.server
import os
import re
import threading

import pytest

from test_virtio import WRONG

CONFIG = """\
[host]
attach = "one"

[vm.one]
memory = "192M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests hostname=one"
"""
PROMPT = r"plinth> "
FETCHED = 8 << 20
SHARED = {"shared.img": b"".join(b"line %7d of the file\n" % i for i in range(50000)), "empty.img": bytes(8 << 20)}


def to_shell(machine, prompt):
    machine.expect(prompt)
    machine.ask(prompt, "stty cols 250")  # longer commands than a line of a terminal has


def well(machine, prompt):
    """The kernel has nothing to complain of."""
    lines = machine.ask(prompt, "dmesg -r").splitlines()
    bad = [line for line in lines if re.match(r"<[0-4]>", line) and (WRONG.search(line) or re.search("eth|hvc", line))]
    assert not bad, bad


@pytest.mark.parametrize("vendor,cpus", [("amd", 1), ("amd", 2), ("intel", 1)])
def test_disks(boot, linux, cpus):
    """Two disks from files of the medium: one that is read, and one that has a file system made on it, which another start does not see."""
    config = CONFIG + f'cpus = {cpus}\ndisks = ["module:empty.img", {{ source = "module:shared.img", readonly = true }}]\n'
    machine = boot(config, {**linux, **SHARED})
    demo = r"one# "
    to_shell(machine, demo)
    sizes = machine.ask(demo, "cat /sys/block/vda/size /sys/block/vdb/size /sys/block/vd?/ro /sys/block/vdb/serial; echo").split()
    assert sizes == ["16384", str(-(-len(SHARED["shared.img"]) // 512)), "0", "1", "shared.img"]
    assert "line   49999 of the file" in machine.ask(demo, "tail -c 600 /dev/vdb | tr -d '\\0' | tail -n 1")
    machine.ask(demo, "mke2fs -F /dev/vda > /dev/null 2>&1; mkdir /m; mount -t ext4 /dev/vda /m && echo is-mounted")
    machine.ask(demo, "cat /dev/vdb > /m/copy; sync; echo 3 > /proc/sys/vm/drop_caches")
    assert "same" in machine.ask(demo, "cmp /m/copy /dev/vdb && echo same")
    assert "write error" in machine.ask(demo, "echo x > /dev/vdb || echo write error")
    machine.ask(demo, "umount /m; dd if=/dev/vda bs=1M of=/dev/null 2>&1 | tail -n 1", timeout=120)
    well(machine, demo)
    machine.send("reboot -f\r")
    machine.expect(r"vm one: reset by the guest: starting again")
    machine.expect(demo)
    machine.send("\x01d")
    machine.expect(PROMPT)
    listed = machine.ask(PROMPT, "disks")
    assert re.search(r"healthy +\d{2,} +0 copy of empty.img +one", listed), listed


def test_hvc(boot, linux):
    """hvc0 beside ttyS0 at one console: what is typed goes to the one that wrote last. The driver is taken away and bound anew."""
    machine = boot(CONFIG + "hvc = true\n", linux)
    demo = r"one# "
    to_shell(machine, demo)
    device = "/sys/bus/pci/devices/0000:00:1f.0"
    assert "0x1043" in machine.ask(demo, f"cat {device}/device")
    assert "virtio-pci" in machine.ask(demo, f"readlink {device}/driver")
    features = re.search(r"[01]{64}", machine.ask(demo, f"cat {device}/virtio?/features"))[0]
    assert {n for n, bit in enumerate(features) if bit == "1"} >= {28, 32, 34}, features  # INDIRECT_DESC, VERSION_1, RING_PACKED
    assert re.search(r"^over hvc0\r*$", machine.ask(demo, "echo over hvc0 > /dev/hvc0; sleep 1"), re.M)
    counted = machine.ask(demo, "seq 1000 3000 > /dev/hvc0; sleep 1")
    assert counted.split() == [str(n) for n in range(1000, 3001)], counted
    for answer in ["it is me", "me again"]:
        machine.send("(sleep 1; echo 'who is there'; read x; echo \"hvc0 got $x\") < /dev/hvc0 > /dev/hvc0; echo \"ttyS0 has $x.\"\r")
        machine.expect(r"who is there\r*\n")  # the typed command has a quote behind it
        machine.send(answer + "\r")
        machine.expect(rf"{answer}\r*\n")  # the echo
        machine.expect(rf"hvc0 got {answer}\r*\n")
        machine.expect(r"ttyS0 has \.")
        machine.expect(demo)
        assert "typed here" in machine.ask(demo, "echo typed here")
    machine.ask(demo, f"echo 0000:00:1f.0 > {device}/driver/unbind")
    machine.ask(demo, "echo 0000:00:1f.0 > /sys/bus/pci/drivers/virtio-pci/bind")
    again = machine.ask(demo, "for n in 0 1; do echo once more > /dev/hvc$n; done 2> /dev/null; sleep 1")  # it may have another number
    assert re.search(r"^once more\r*$", again, re.M), again
    well(machine, demo)
    machine.send("poweroff -f\r")
    machine.expect(r"vm one: powered off")


@pytest.mark.parametrize("vendor,words", [("amd", "pci=nomsi"), ("amd", "pci=nomsi noapic"), ("intel", "pci=nomsi")])
def test_pins(boot, linux, words):
    """Without messages virtio's interrupts come by the PCI bus's pins, in front of the I/O APIC or the 8259s."""
    config = CONFIG.replace("hostname=one", "hostname=one " + words) + 'hvc = true\ndisks = ["module:empty.img"]\nnetworks = ["lan0"]\n'
    machine = boot(config, {**linux, "empty.img": SHARED["empty.img"]})
    demo = r"one# "
    to_shell(machine, demo)
    machine.ask(demo, "mke2fs -F /dev/vda > /dev/null 2>&1; dd if=/dev/vda of=/dev/null iflag=direct 2> /dev/null; dd if=/dev/hwrng bs=1k count=4 2> /dev/null | wc -c")
    assert re.search(r"^over hvc0\r*$", machine.ask(demo, "echo over hvc0 > /dev/hvc0; sleep 1"), re.M)
    lines = machine.ask(demo, "cat /proc/interrupts")
    chip = "XT-PIC" if "noapic" in words else "IO-APIC"
    found = {number: (int(count), who) for number, count, who in re.findall(rf"^ *(\d+): +(\d+) +{chip} +(?:1[01]-fasteoi +)?(.*virtio.*?)\r*$", lines, re.M)}
    assert set(found) == {"10", "11"} and all(count > 0 for count, _ in found.values()), lines
    assert sum(len(re.findall("virtio", who)) for _, who in found.values()) == 4, lines
    assert "nobody cared" not in machine.ask(demo, "dmesg")
    well(machine, demo)


NETWORK = CONFIG + """\
networks = ["lan0"]

[vm.two]
memory = "192M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = "console=ttyS0 cryptomgr.notests hostname=two"
networks = ["lan0", { name = "other" }]
"""


def received(machine, prompt):
    """How many interrupts told of received frames, for each pair of queues of the guest's card."""
    found = machine.ask(prompt, "grep input /proc/interrupts")
    return [sum(map(int, counts.split())) for counts in re.findall(r"^ *\d+:([ \d]+)PCI-MSI.* virtio\d-input\.\d", found, re.M)]


def pairs_are_used(machine, prompt, address):
    """Linux sends on the pair of the CPU that it is on; there the answers come."""
    assert machine.ask(prompt, "ls /sys/class/net/eth0/queues; echo").split() == ["rx-0", "rx-1", "tx-0", "tx-1"]
    for cpu in (0, 1):
        before = received(machine, prompt)
        machine.ask(prompt, f"taskset {1 << cpu} ping -q -A -c 20 -w 60 {address}", timeout=120)
        grown = [now - then for now, then in zip(received(machine, prompt), before)]
        assert len(grown) == 2 and grown[cpu] >= 10 and grown[1 - cpu] < 5, grown


def test_network(boot, linux, vendor):
    """Two guests find each other, exchange what is too large for a frame, and see the counters tell of it. On AMD-V one of them has two CPUs."""
    config = NETWORK.replace("[vm.one]\n", "[vm.one]\ncpus = 2\n") if vendor == "amd" else NETWORK
    machine = boot(config, linux, memory="1G")
    to_shell(machine, r"one# ")
    machine.ask(r"one# ", "ifconfig lo up; ifconfig eth0 10.0.0.1 up")
    machine.send("\x01n")
    to_shell(machine, r"two# ")
    machine.ask(r"two# ", "ifconfig lo up; ifconfig eth0 10.0.0.2 up; ifconfig eth1 10.0.1.2 up")
    pings = machine.ask(r"two# ", "ping -q -A -c 50 -w 60 10.0.0.1 | grep loss", timeout=120)
    assert re.search(r"50 packets transmitted, 50 packets received, 0% packet loss", pings), pings
    large = machine.ask(r"two# ", "ping -q -s 20000 -c 3 -w 60 10.0.0.1 | grep loss", timeout=120)
    assert " 0% packet loss" in large, large
    assert "100% packet loss" in machine.ask(r"two# ", "ping -q -I eth1 -c 1 -w 3 10.0.0.1 | grep loss", timeout=60)
    machine.send("nc -l -p 99 | md5sum\r")
    machine.send("\x01p")
    machine.ask(r"one# ", "dd if=/dev/zero bs=64k count=32 2> /dev/null | nc 10.0.0.2 99; echo sent", timeout=120)
    machine.send("\x01n")
    machine.expect("b2d1236c286a3c0704224fe4105eca49", timeout=120)  # of 2 MiB of zeroes
    machine.expect(r"two# ")
    well(machine, r"two# ")
    machine.send("\x01p\r")
    machine.expect(r"one# ")
    if vendor == "amd":
        pairs_are_used(machine, r"one# ", "10.0.0.2")
    well(machine, r"one# ")
    machine.send("\x01d")
    machine.expect(PROMPT)
    listed = machine.ask(PROMPT, "networks")
    assert re.search(r"^lan0 +one/0 .*open +\d{3,} +\d{3,} +0", listed, re.M), listed


FEATURES = {"packed": ({1, 2, 4}, 34), "indirect": ({1, 2, 4}, 28), "event-idx": ({1, 2}, 29), "net-csum": ({1}, 0), "net-guest-csum": ({1}, 1),
            "net-tso": ({1}, 11), "net-mrg-rxbuf": ({1}, 15), "net-ctrl-vq": ({1}, 17), "net-mq": ({1}, 22), "net-status": ({1}, 16), "net-mtu": ({1}, 3),
            "blk-mq": ({2}, 12), "blk-topology": ({2}, 10)}
GONE_WITH = {"net-tso": {"net-csum"}, "net-mq": {"net-ctrl-vq"}}


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("without", ["packed,net-ctrl-vq,net-csum", "indirect,net-status,net-mtu,net-guest-csum",
                                     "event-idx,net-mrg-rxbuf,blk-mq", "net-tso,net-mq,blk-topology,ring-reset", ",".join(FEATURES)])
def test_without(boot, linux, without):
    """A stock kernel's drivers do without any feature, and have the others."""
    config = NETWORK.replace('networks = ["lan0', 'cpus = 2\ndisks = ["module:empty.img"]\nrng = true\nnetworks = ["lan0')
    machine = boot(config, {**linux, "empty.img": SHARED["empty.img"]}, cmdline=f"virtio-without={without}", memory="1G")
    to_shell(machine, r"one# ")
    found = machine.ask(r"one# ", "for d in /sys/bus/virtio/devices/*; do echo $(cat $d/device) $(cat $d/features); done")
    devices = {int(kind, 16): bits for kind, bits in re.findall(r"0x(\d{4}) ([01]{64})", found)}
    assert set(devices) == {1, 2, 4}, found
    gone = set(without.split(","))
    for name, (kinds, bit) in FEATURES.items():
        for kind in kinds:
            assert devices[kind][bit] == str(int(not gone & ({name} | GONE_WITH.get(name, set())))), (name, kind, found)
    machine.ask(r"one# ", "ifconfig eth0 10.0.0.1 up; mke2fs -F /dev/vda > /dev/null 2>&1; mkdir /m; mount -t ext4 /dev/vda /m && echo is-mounted")
    machine.ask(r"one# ", "dd if=/dev/hwrng of=/m/random bs=64k count=16 2> /dev/null; md5sum < /m/random > /m/sum; sync; echo 3 > /proc/sys/vm/drop_caches")
    assert "same" in machine.ask(r"one# ", "md5sum < /m/random | cmp - /m/sum && echo same")
    machine.send("nc -l -p 99 | md5sum\r")
    machine.send("\x01n")
    to_shell(machine, r"two# ")
    machine.ask(r"two# ", "ifconfig eth0 10.0.0.2 up; ping -q -s 20000 -c 3 -w 60 10.0.0.1 | grep loss")
    machine.ask(r"two# ", "dd if=/dev/zero bs=64k count=32 2> /dev/null | nc 10.0.0.1 99; echo sent", timeout=120)
    machine.send("\x01p")
    machine.expect("b2d1236c286a3c0704224fe4105eca49", timeout=120)  # of 2 MiB of zeroes
    machine.expect(r"one# ")
    well(machine, r"one# ")


@pytest.fixture
def server(tmp_path):
    """A web server on this machine's loopback, which QEMU's user network shows to guests as 10.0.2.2, with a file of random bytes."""
    content = os.urandom(FETCHED)
    (tmp_path / "file").write_bytes(content)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield httpd.server_address[1], hashlib.md5(content).hexdigest()
        httpd.shutdown()


@pytest.mark.vendors("amd")
@pytest.mark.parametrize("card", ["e1000", "e1000e", pytest.param("virtio-net-pci,disable-legacy=on", id="virtio-net")])
def test_uplink(boot, linux, server, card):
    """A guest fetches a file from beyond the machine, by a network whose uplink is the machine's own card."""
    port, checksum = server
    config = CONFIG + 'networks = ["lan0"]\n\n[network.lan0]\nuplink = "pci:00:05.0"\n'
    machine = boot(config, linux, extra=["-netdev", "user,id=n0", "-device", f"{card},netdev=n0,addr=5"])
    demo = r"one# "
    to_shell(machine, demo)
    machine.ask(demo, "ifconfig eth0 10.0.2.15 up")
    assert checksum in machine.ask(demo, f"wget -q -O - http://10.0.2.2:{port}/file | md5sum", timeout=300)
    well(machine, demo)
