"""
Bochs: the machine with an emulated Intel CPU, which checks every VM entry as the manual demands and says in its log what was wrong.

Its time is the number of instructions executed, so that no load of the test machine shows. Debian's build holds the internal debugger,
which wants to be told to go on (the -rc file) and reads commands from a standard input that must stay open.
"""

import datetime
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pexpect
import pexpect.fdpexpect

from machine import OUT, TOP, Machine

CPU = "corei7_skylake_x"
IPS = 50_000_000   # instructions a virtual second: fewer make waiting cheaper, and work last longer
RUN_LIMIT = 900    # seconds of wall time after which a machine ends, even if nobody is left to end it
START_LIMIT = 30   # seconds until Bochs opens its serial line

# SeaBIOS has no ACPI sleep states on Bochs' board, so Plinth asks for the power button, and the test is who presses it.
OFF = r"power: this machine cannot be switched off by software: press its power button\s"

# Bochs' words for what a hypervisor must not do: lines of level "error" about a control field, a guest or host state that fails its
# checks, an instruction of VMX that fails, an MSR area or EPT entry that is wrong; and any panic, such as a triple fault. Of the exits
# it calls EPT violations errors, too, which they are not: that is how a guest reaches a device.
WRONG = re.compile(r"^\d+(?:p\[.*|e\[CPU\d+ *\] (?:VM(?!EXIT: EPT violation)|FAIL: VMCS|#GP: VMX|INVEPT|INVVPID|EPT |is_eptptr_valid|Can't access VMCS"
                   r"|.*no resolution|.*shutdown).*)$", re.M)


class Wire(pexpect.fdpexpect.fdspawn):
    """A serial line that is a socket: one that Bochs closed abruptly has come to its end, too."""

    def read_nonblocking(self, size=1, timeout=None):
        try:
            return super().read_nonblocking(size, timeout)
        except ConnectionResetError:
            self.flag_eof = True
            raise pexpect.EOF("the connection was reset") from None


class Bochs(Machine):
    time_limit = 240

    def __init__(self, name, iso, memory="512M", smp=1, cpu=CPU, ips=IPS, counted=True, date=None, allow=(), extra=()):
        """
        counted: always so here. date: what its clock says at the start, a UTC datetime; the same in every run unless given.
        allow: regular expressions for lines of Bochs' log that the test provokes on purpose. extra: further lines of its configuration.
        """
        super().__init__(name)
        self.allow = allow
        self.extra = extra
        self.bochs_log = os.path.join(OUT, name + ".bochs.log")
        self.disk = os.path.join(OUT, name + ".img")
        self.remove_disk()  # what a run that was killed may have left
        shutil.copyfile(iso, self.disk)  # Bochs locks it, and the guest may write
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            self.start(memory, smp, cpu, ips, date or datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc), listener)
            self.socket = self.connection(listener)
        self.watch(Wire(self.socket.fileno(), timeout=self.time_limit, encoding="utf-8", codec_errors="replace", maxread=65536))

    def start(self, memory, smp, cpu, ips, date, listener):
        megabytes = int(memory[:-1]) * (1024 if memory[-1] == "G" else 1)
        with open(os.path.join(TOP, "tools/bochsrc"), encoding="utf-8") as file:
            config = re.sub(r"^#.*\n", "", file.read(), flags=re.M)
        config = config.format(cpu=cpu, smp=smp, ips=ips, megabytes=megabytes, disk=self.disk, port=listener.getsockname()[1],
                               log=self.bochs_log, sync="none", time=int(date.timestamp()))
        config = "\n".join([config, *self.extra, ""])
        path = os.path.join(OUT, self.name + ".bochsrc")
        go = os.path.join(OUT, self.name + ".go")
        for file, text in ((path, config), (go, "c\n")):
            with open(file, "w", encoding="utf-8") as out:
                out.write(text)
        # Bochs shrugs off polite signals, hence KILL.
        command = ["timeout", "--foreground", "-s", "KILL", str(RUN_LIMIT), "bochs-bin", "-q", "-f", path, "-rc", go]
        self.log.write(" ".join(command) + "\n")
        self.console_path = os.path.join(OUT, self.name + ".bochs.out")
        with open(self.console_path, "wb") as console:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=console, stderr=subprocess.STDOUT,
                                            env={**os.environ, "TERM": "linux"}, start_new_session=True)

    def connection(self, listener):
        """Bochs' end of the serial line."""
        listener.settimeout(0.5)
        end = time.monotonic() + START_LIMIT
        while self.is_alive() and time.monotonic() < end:
            try:
                return listener.accept()[0]
            except TimeoutError:
                pass
        self.stop()
        raise AssertionError(f"{self.name}: Bochs did not start; see {self.console_path} and {self.bochs_log}")

    def is_alive(self):
        return self.process.poll() is None

    def ends(self, timeout=None):
        """Presses the power button if Plinth asks for it."""
        if self.child.expect([OFF, pexpect.EOF], timeout=timeout or self.time_limit) == 0:
            return 0
        return self.process.wait(timeout=START_LIMIT)

    def complaints(self):
        with open(self.bochs_log, encoding="utf-8", errors="replace") as file:
            lines = [match[0] for match in WRONG.finditer(file.read())]
        return [line for line in lines if not any(re.search(pattern, line) for pattern in self.allow)]

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        if self.child:
            self.socket.close()
        self.log.close()
        self.remove_disk()

    def remove_disk(self):
        for path in (self.disk, self.disk + ".lock"):
            if os.path.exists(path):
                os.unlink(path)
