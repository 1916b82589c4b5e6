"""What every machine that runs Plinth has in common: an image made by tools/mkiso, and a serial line that is watched."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time

import pexpect

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
OUT = os.path.join(TOP, "build/test")
PLINTH = os.path.join(TOP, "build/release/plinth")
LOG_LINE = r"(?:(?:\r?\n)?\[ *\d+\.\d+\] [^\r\n]*\r?\n)?"  # Plinth's or Linux'


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
    plinth = plinth or PLINTH
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
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
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
    """
    One run of one emulator: qemu.py and bochs.py start it and say where its serial line is (`child`, something of pexpect's).
    Every wait has an end; the whole serial line is kept in build/test/NAME.log.
    """

    time_limit = 120  # seconds for any one wait; nothing that works takes as long
    plinth = PLINTH

    def __init__(self, name):
        os.makedirs(OUT, exist_ok=True)
        self.name = name
        self.log_path = os.path.join(OUT, name + ".log")
        self.log = open(self.log_path, "w", encoding="utf-8", errors="replace", newline="")
        self.child = None

    def watch(self, child):
        self.child = child
        child.logfile_read = self.log
        child.delaybeforesend = None

    def expect(self, pattern, timeout=None):
        """Waits for a regular expression; returns its match. It fails with what was waited for, never by hanging."""
        timeout = timeout or self.time_limit
        try:
            self.child.expect(pattern, timeout=timeout)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            what = "ended" if isinstance(error, pexpect.EOF) else f"went {timeout} s"
            raise AssertionError(f"{self.name}: the machine {what} without {pattern!r}; its log is {self.log_path}") from None
        return self.child.match

    def expect_all(self, patterns, timeout=None):
        """Waits for each of several, in whatever order they come. Returns all that was printed meanwhile."""
        left, text = list(patterns), ""
        while left:
            found = self.expect("|".join(f"(?:{pattern})" for pattern in left), timeout)[0]
            text += self.child.before + found
            left.remove(next(pattern for pattern in left if re.fullmatch(pattern, found)))
        return text

    def results(self, name="test"):
        """
        The number of checks that a guest of tests/guest did, none of which failed, in a VM that attach names. The log overtakes
        what is left of a console's output.
        """
        text = self.expect_all([r"DONE: \d+ passed, \d+ failed", rf"vm {name}: exited with code \d+"])
        failures = re.findall(r"FAIL: [^\r\n]*", text)
        assert not failures, "\n".join(failures)
        return int(re.search(r"DONE: (\d+) passed", text)[1])

    def send(self, text):
        self.child.send(text)

    def ask(self, prompt, command, timeout=None):
        """Types a command and returns what it printed before the prompt came back. A line of a log may come into the echo."""
        self.send(command + "\r")
        self.expect(LOG_LINE.join(re.escape(c) for c in command) + r"\s*\r?\n", timeout)
        self.expect(prompt, timeout)
        return self.child.before

    def where(self):
        """What can be said of a machine whose test failed."""
        return ""

    def is_alive(self):
        """Whether the emulator still runs."""
        raise NotImplementedError

    def ends(self, timeout=None):
        """Waits until the machine is off; returns 0 if it was switched off, else the exit code of an emulator that gave up."""
        raise NotImplementedError

    def stop(self):
        """Ends the emulator, whatever it does, and gives back what it held."""
        raise NotImplementedError

    def complaints(self):
        """What the emulator itself noticed that must not happen, line by line: the test fails with these."""
        return []

    def until(self, condition):
        """Asks again and again until the condition holds: for what the serial line does not tell."""
        end = time.monotonic() + self.time_limit
        while not condition():
            assert self.is_alive(), f"{self.name}: the emulator has ended"
            assert time.monotonic() < end, f"{self.name}: {self.time_limit} s went by"
            time.sleep(0.1)
