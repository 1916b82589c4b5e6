"""Plinth alone in QEMU: an image with a config of no VMs, its serial line as a pexpect process, the monitor for a look underneath."""
import os
import shutil
import socket
import subprocess
import time

import pexpect

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OVMF = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
START = 120  # seconds: a loaded machine is slow, and no test passes by waiting


def make_image(folder, cmdline="", config="# no machines\n"):
    """An image with this hypervisor command line and config; returns its path."""
    path = os.path.join(folder, "plinth.toml")
    image = os.path.join(folder, "plinth.iso")
    with open(path, "w", encoding="ascii") as file:
        file.write(config)
    command = [os.path.join(TOP, "tools/mkiso"), path, "-o", image, "--no-check", "--cmdline", cmdline]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return image


class Machine:
    """One QEMU. Use it in a with statement."""

    def __init__(self, folder, image, machine="q35", cpu="EPYC,+svm,+npt", memory="512M", cpus=1, uefi=False, serial=True,
                 extra=()):
        self.monitor_path = os.path.join(folder, "monitor")
        args = ["-machine", machine, "-accel", "tcg", "-cpu", cpu, "-m", memory, "-smp", str(cpus), "-cdrom", image,
                "-nic", "none", "-display", "none", "-no-reboot", "-serial", "stdio" if serial else "none",
                "-monitor", f"unix:{self.monitor_path},server=on,wait=off", *extra]
        if uefi:
            variables = os.path.join(folder, "vars")
            shutil.copy(OVMF_VARS, variables)
            args += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF}",
                     "-drive", f"if=pflash,format=raw,file={variables}"]
        self.serial = pexpect.spawn("qemu-system-x86_64", args, encoding="utf-8", codec_errors="replace", timeout=START)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.serial.close(force=True)

    def expect(self, pattern):
        """Waits for the pattern on the serial line; returns the match."""
        self.serial.expect(pattern)
        return self.serial.match

    def expect_end(self):
        """Waits until QEMU ends by itself."""
        self.serial.expect(pexpect.EOF)

    def monitor(self, command):
        """The monitor's answer to a command."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(START)
            end = time.monotonic() + START
            while not os.path.exists(self.monitor_path):
                assert time.monotonic() < end and self.serial.isalive(), "QEMU did not start"
                time.sleep(0.05)
            wire.connect(self.monitor_path)
            self._until_prompt(wire)
            wire.sendall(command.encode() + b"\n")
            return self._until_prompt(wire)

    @staticmethod
    def _until_prompt(wire):
        text = b""
        while not text.endswith(b"(qemu) "):
            data = wire.recv(65536)
            if not data:
                break
            text += data
        return text.decode(errors="replace")

    def until(self, condition):
        """Asks the monitor-backed condition again and again until it holds; fails after START seconds."""
        end = time.monotonic() + START
        while not condition(self):
            assert time.monotonic() < end, "the condition never came true"
            time.sleep(0.2)
