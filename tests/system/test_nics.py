"""The machine's network cards, with the test at the other end of the cable."""

import os
import random
import re
import socket
import subprocess

import pytest

CONFIG = """\
[vm.one]
memory = "16M"
kernel = "halt.elf"
autostart = false
networks = ["lan0"]

[network.lan0]
uplink = "UPLINK"
"""
TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROMPT = r"plinth> "
MODELS = {  # as QEMU calls them, and the board
    "e1000": ("e1000", "q35"),
    "e1000e": ("e1000e", "q35"),
    "virtio-net": ("virtio-net-pci,disable-legacy=on", "q35"),
    "virtio-net-line": ("virtio-net-pci,vectors=0", "pc"),  # with the transitional id
}
OURS = bytes.fromhex("525400aabbcc")
ECHO = bytes.fromhex("020000000001")


class Cable:
    """UDP on the loopback: Bochs receives at a port and sends to the next one, QEMU does as it is told."""

    def __init__(self, model, vendor):
        for _ in range(100):
            self.there = "127.0.0.1", random.randrange(40000, 60000)
            self.here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.here.bind((self.there[0], self.there[1] + 1))
                break
            except OSError:
                self.here.close()
        self.here.settimeout(60)
        self.options = {}
        if vendor == "intel":
            self.address = "pci:00:02.0"
            self.to = b"\xff" * 6  # Bochs' backend lets nothing through but broadcasts and what is for the card's own address
            self.options["extra"] = ["pci: enabled=1, chipset=i440fx, slot1=e1000",
                                     f"e1000: enabled=1, mac=52:54:00:12:34:56, ethmod=socket, ethdev={self.there[1]}"]
        else:
            self.address = "pci:00:03.0"
            self.to = ECHO
            ends = [f"{end}.type=inet,{end}.host=127.0.0.1,{end}.port={port}"
                    for end, port in (("local", self.there[1]), ("remote", self.there[1] + 1))]
            device, self.options["machine"] = MODELS[model]
            self.options["extra"] = ["-netdev", "dgram,id=cable," + ",".join(ends),
                                     "-device", f"{device},netdev=cable,id=card,addr=3,mac=52:54:00:12:34:56"]

    def send(self, frame):
        self.here.sendto(frame, self.there)

    def receive(self):
        return self.here.recvfrom(65536)[0]


@pytest.fixture
def cable(model, vendor):
    if model != "e1000" and vendor == "intel":
        pytest.skip(f"Bochs has no {model}")
    cable = Cable(model, vendor)
    yield cable
    cable.here.close()


def frame(to, payload, sender=OURS):
    return to + sender + b"\x88\xb5" + payload


@pytest.mark.parametrize("model", MODELS)
def test_frames_go_both_ways(boot, guest, cable, vendor):
    machine = boot(CONFIG.replace("UPLINK", cable.address), {"halt.elf": guest("halt")}, cmdline="net-test=" + cable.address, **cable.options)
    machine.expect(cable.address + r": (e1000e?|virtio-net), address 52:54:00:12:34:56", timeout=90)
    machine.expect(r"net-test: echo")
    machine.expect(r"plinth: ready")
    dice = random.Random(7)
    lengths = [46, 47, 1500] + [dice.randrange(46, 1501) for _ in range(600)]  # more than a ring has descriptors
    if vendor == "amd":
        lengths[300:300] = [1501, 2034, 2035, 9000] * 60
    for length in lengths:
        payload = dice.randbytes(length)
        cable.send(frame(cable.to, payload))
        assert cable.receive() == frame(OURS, payload, sender=ECHO)
    cable.send(frame(cable.to, b"short"))
    assert cable.receive() == frame(OURS, b"short", sender=ECHO).ljust(60, b"\0")
    for _ in range(50):  # many at a time, of which none may be lost in order or mixed up
        payloads = [dice.randbytes(100) for _ in range(20)]
        for payload in payloads:
            cable.send(frame(cable.to, payload))
        assert [cable.receive()[14:] for _ in payloads] == payloads
    if vendor == "amd":
        for how, said in (("off", "down"), ("on", "up")):
            machine.monitor(f"set_link card {how}")
            machine.expect(rf"{cable.address} \([a-z0-9-]+\): link {said}")
    machine.send("\r")
    machine.expect(PROMPT)
    text, count = machine.ask(PROMPT, "networks"), len(lengths) + 1001
    assert re.search(rf"^net-test +{cable.address} +52:54:00:12:34:56 \+all +open +{count} +{count} +0", text, re.M), text


@pytest.mark.parametrize("model", ["e1000", "e1000e"])
def test_a_capture_shows_what_comes_in(boot, guest, cable, tmp_path):
    machine = boot(CONFIG.replace("UPLINK", cable.address), {"halt.elf": guest("halt")}, **cable.options)
    machine.expect("network lan0: connected to " + cable.address, timeout=90)
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)
    machine.send("capture lan0 3\r")
    machine.expect(r"pcap 0 ")
    frames = [frame(b"\xff" * 6, bytes([n]) * (50 + n * 200)) for n in range(3)]
    for part in frames:
        cable.send(part)
    machine.expect(r"pcap end: 3 frames, 0 lost")
    machine.expect(PROMPT)
    machine.log.flush()
    out = tmp_path / "out.pcap"
    subprocess.run([os.path.join(TOP, "tools", "pcap"), machine.log.name, "-o", out], check=True)
    data, found, at = out.read_bytes(), [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8:at + 12], "little")
        found.append(data[at + 16:at + 16 + size])
        at += 16 + size
    assert found == frames
    text = machine.ask(PROMPT, "networks")
    assert re.search(r"^lan0 +one/0 .* closed +0 +0 +3\s*\n +dropped: 3 room", text, re.M), text
