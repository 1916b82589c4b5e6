"""A machine that runs Plinth: an image made by tools/mkiso, started in QEMU, watched over its serial line."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pexpect

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
OUT = os.path.join(TOP, "build/test")
FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
FIRMWARE_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
CPU = "EPYC,+svm,+npt"
TIME_LIMIT = 120  # seconds for any one wait; nothing that works takes as long


class Locked:
    """Keeps test processes out of each other's way while something shared is made."""

    def __init__(self, name):
        os.makedirs(OUT, exist_ok=True)
        self.file = open(os.path.join(OUT, name + ".lock"), "w")

    def __enter__(self):
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def make_image(config, files, cmdline="", plinth=None):
    """
    The bootable image of `config` (text, or None for an image without any) and `files` (path on the image -> content or path of
    a file). Kept by content, so that what has not changed is not built again.
    """
    plinth = plinth or os.path.join(TOP, "build/release/plinth")
    contents = {path: file if isinstance(file, bytes) else read(file) for path, file in sorted(files.items())}
    digest = hashlib.sha256(repr((config, cmdline)).encode())
    for part in [read(plinth), read(os.path.join(TOP, "tools/mkiso"))]:
        digest.update(hashlib.sha256(part).digest())
    for path, content in contents.items():
        digest.update(path.encode() + hashlib.sha256(content).digest())
    name = digest.hexdigest()[:20]
    iso = os.path.join(OUT, "images", name + ".iso")
    with Locked("image-" + name):
        if os.path.exists(iso):
            return iso
        folder = os.path.join(OUT, "images", name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        for path, content in contents.items():
            os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
            with open(os.path.join(folder, path), "wb") as file:
                file.write(content)
        toml = os.path.join(folder, "plinth.toml")
        with open(toml, "w", encoding="utf-8") as file:
            file.write(config or "")
        command = [os.path.join(TOP, "tools/mkiso"), toml, "-o", iso, "--no-check", "--kernel", plinth]
        if cmdline:
            command += ["--cmdline", cmdline]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT)
        assert done.returncode == 0, f"mkiso failed:\n{done.stdout}{done.stderr}"
        if config is None:
            without_config(iso, folder)
        shutil.rmtree(folder)
    return iso


def without_config(iso, folder):
    """Takes the config out of the image's list of modules, as someone might who edits grub.cfg by hand."""
    grub = os.path.join(folder, "grub.cfg")
    subprocess.run(["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/boot/grub/grub.cfg", grub], check=True, capture_output=True)
    os.chmod(grub, 0o644)
    with open(grub, encoding="utf-8") as file:
        lines = [line for line in file if "plinth.toml" not in line]
    with open(grub, "w", encoding="utf-8") as file:
        file.writelines(lines)
    subprocess.run(["xorriso", "-boot_image", "any", "keep", "-dev", iso, "-update", grub, "/boot/grub/grub.cfg"], check=True,
                   capture_output=True)


class Machine:
    """One run of QEMU. Every wait has an end; the whole serial line is kept in build/test/NAME.log."""

    def __init__(self, name, iso, machine="q35", memory="512M", smp=1, uefi=False, cpu=CPU, counted=False,
                 serial=("-serial", "stdio"), extra=()):
        """counted: its time is the number of instructions executed (one a nanosecond), so that no load of the test machine shows."""
        self.name = name
        self.log_path = os.path.join(OUT, name + ".log")
        self.monitor_path = os.path.join("/tmp", f"plinth-{os.getpid()}-{hashlib.sha256(name.encode()).hexdigest()[:12]}")
        command = ["-machine", machine, "-accel", "tcg,thread=single" if counted else "tcg,thread=multi", "-cpu", cpu, "-smp", str(smp), "-m", memory, "-nic", "none",
                   "-display", "none", "-monitor", f"unix:{self.monitor_path},server=on,wait=off", "-no-reboot", "-cdrom", iso,
                   *serial, *extra]
        if counted:
            command += ["-icount", "shift=0,sleep=off"]
        if uefi:
            variables = os.path.join(OUT, name + ".vars")
            shutil.copyfile(FIRMWARE_VARS, variables)
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}",
                        "-drive", f"if=pflash,format=raw,file={variables}"]
        os.makedirs(OUT, exist_ok=True)
        self.log = open(self.log_path, "w", encoding="utf-8", errors="replace", newline="")
        self.log.write("qemu-system-x86_64 " + " ".join(command) + "\n")
        self.child = pexpect.spawn("qemu-system-x86_64", command, timeout=TIME_LIMIT, encoding="utf-8", codec_errors="replace",
                                   logfile=None, maxread=65536, dimensions=(50, 200))
        self.child.logfile_read = self.log
        self.child.delaybeforesend = None

    def expect(self, pattern, timeout=TIME_LIMIT):
        """Waits for a regular expression; returns its match. It fails with what was waited for, never by hanging."""
        try:
            self.child.expect(pattern, timeout=timeout)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            what = "ended" if isinstance(error, pexpect.EOF) else f"went {timeout} s"
            raise AssertionError(f"{self.name}: the machine {what} without {pattern!r}; its log is {self.log_path}") from None
        return self.child.match

    def expect_all(self, patterns, timeout=TIME_LIMIT):
        """Waits for each of several, in whatever order they come."""
        left = list(patterns)
        while left:
            found = self.expect("|".join(f"(?:{pattern})" for pattern in left), timeout)[0]
            left.remove(next(pattern for pattern in left if re.fullmatch(pattern, found)))

    def send(self, text):
        self.child.send(text)

    def ask(self, prompt, command, timeout=TIME_LIMIT):
        """Types a command and returns what it printed before the prompt came back."""
        self.send(command + "\r")
        self.expect(re.escape(command) + r"\s*\r?\n", timeout)
        self.expect(prompt, timeout)
        return self.child.before

    def ends(self, timeout=TIME_LIMIT):
        """Waits until QEMU ends by itself; returns its exit code."""
        self.child.expect(pexpect.EOF, timeout=timeout)
        self.child.close()
        return self.child.exitstatus

    def monitor(self, command):
        """The answer of QEMU's monitor."""
        self.until(lambda: os.path.exists(self.monitor_path))
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(TIME_LIMIT)
            wire.connect(self.monitor_path)

            def until_prompt():
                text = b""
                while not text.endswith(b"(qemu) "):
                    part = wire.recv(65536)
                    if not part:
                        break
                    text += part
                return text.decode("utf-8", "replace")

            until_prompt()
            wire.sendall(command.encode() + b"\n")
            return until_prompt()

    def until(self, condition):
        """Asks again and again until the condition holds: for what the serial line does not tell."""
        end = time.monotonic() + TIME_LIMIT
        while not condition():
            assert self.child.isalive(), f"{self.name}: QEMU has ended"
            assert time.monotonic() < end, f"{self.name}: {TIME_LIMIT} s went by"
            time.sleep(0.1)

    def stop(self):
        if self.child.isalive():
            self.child.kill(signal.SIGKILL)
        self.child.close(force=True)
        self.log.close()
        if os.path.exists(self.monitor_path):
            os.unlink(self.monitor_path)
