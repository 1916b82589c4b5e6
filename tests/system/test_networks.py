"""Networks, as the config and the shell have them."""

import json
import re

import pytest

CONFIG = """\
[vm.one]
memory = "16M"
kernel = "halt.elf"
autostart = false
networks = ["lan0", { name = "lan1", mac = "52:54:00:12:34:56", vlan = 10, trunk = [20, 30], rate = "1Mbit" }]

[vm.two]
memory = "16M"
kernel = "halt.elf"
autostart = false
networks = ["lan0"]

[network.lan0]
uplink = "pci:00:1e.0"
mtu = 9000
"""
PROMPT = r"plinth> "


@pytest.fixture
def shell(boot, guest):
    machine = boot(CONFIG, {"halt.elf": guest("halt")})
    machine.expect(r"plinth: ready")
    machine.expect(PROMPT)
    return machine


def test_networks(shell):
    text = shell.ask(PROMPT, "networks")
    assert re.search(r"^lan0 +one/0 +02(:[0-9a-f]{2}){5} +closed +0 +0 +0\s*$", text, re.M), text
    assert re.search(r"^lan1 +one/1 +52:54:00:12:34:56 +10\+20,30 +closed ", text, re.M), text
    assert re.search(r"^lan0 +pci:00:1e.0 +missing", text, re.M), text
    text = shell.ask(PROMPT, "networks --json")
    ports = json.loads(re.search(r"^\{.*\}\s*$", text, re.M)[0])["ports"]
    assert [(p["network"], p["port"]) for p in ports] == [("lan0", "one/0"), ("lan0", "two/0"), ("lan0", "pci:00:1e.0"), ("lan1", "one/1")]
    assert ports[0]["mtu"] == 9000 and ports[0]["dropped_mac"] == 0 and ports[3]["rate"] == 1000000


def test_capture_ends_by_a_key_and_can_begin_again(shell):
    assert "there is no network or port 'lan7'" in shell.ask(PROMPT, "capture lan7")
    assert "which network" in shell.ask(PROMPT, "capture")
    assert "a count of frames is" in shell.ask(PROMPT, "capture lan0 x")
    for end in ("q", "\r"):
        shell.send("capture one/0\r")
        # Nothing but the file's header: magic, version 2.4, snap length, Ethernet.
        shell.expect(r"pcap 0 1MOyoQIABAAAAAAAAAAAAO4FAAABAAAA\s")
        shell.send(end)
        shell.expect(r"pcap end: 0 frames, 0 lost")
        shell.expect(PROMPT)
