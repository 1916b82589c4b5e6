"""QEMU: the machine with an emulated AMD CPU, and with every board, firmware and device that a test may ask for."""

import bisect
import datetime
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess

import pexpect

from machine import OUT, Machine

FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
FIRMWARE_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
CPU = "EPYC,+svm,+npt"
PM_TIMER_HZ = 3579545


def settle():
    """
    Called in QEMU's process before it begins: all of its threads stay on one CPU, for its emulated CPU may else lose an interrupt
    (docs/debugging.md, "QEMU"). Tests that run side by side take one each; who runs some by hand gets any.
    """
    cpus = sorted(os.sched_getaffinity(0))
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or os.getpid())
    os.sched_setaffinity(0, {cpus[worker % len(cpus)]})


def symbols(plinth):
    """A function that says which of the hypervisor's functions a hexadecimal address is in, None: in none."""
    table = [line.split() for line in subprocess.run(["nm", "-n", plinth], capture_output=True, text=True, check=True).stdout.splitlines()]
    code = [(int(address, 16), name) for address, kind, name in table if kind in "tT"]
    starts = [address for address, _ in code]

    def named(word):
        address = int(word, 16)
        i = bisect.bisect_right(starts, address) - 1
        if i < 0 or address - starts[i] >= 0x4000:
            return None
        return f"{code[i][1]}+{address - starts[i]:x}"

    return named


class Qemu(Machine):
    # In a machine that is counted, log 2 of an instruction's nanoseconds: 8 ns, as if it were a slow CPU, so that what takes time does not take many.
    instruction_shift = 3

    def __init__(self, name, iso, machine="q35", memory="512M", smp=1, uefi=False, cpu=CPU, counted=False, date=None,
                 serial=("-serial", "stdio"), extra=(), allow=()):
        """
        counted: its time is the number of instructions executed, so that no load of the test machine shows.
        date: what its clock says at the start, a UTC datetime. allow is for Bochs, whose CPU checks more.
        """
        super().__init__(name)
        self.monitor_path = os.path.join("/tmp", f"plinth-{os.getpid()}-{hashlib.sha256(name.encode()).hexdigest()[:12]}")
        command = ["-machine", machine, "-accel", "tcg,thread=single", "-cpu", cpu, "-smp", str(smp),
                   "-m", memory, "-nic", "none", "-display", "none", "-monitor", f"unix:{self.monitor_path},server=on,wait=off",
                   "-no-reboot", "-cdrom", iso, *serial, *extra]
        if counted:
            command += ["-icount", f"shift={self.instruction_shift},sleep=off"]
        if date:
            command += ["-rtc", date.astimezone(datetime.timezone.utc).strftime("base=%Y-%m-%dT%H:%M:%S")]
        if uefi:
            variables = os.path.join(OUT, name + ".vars")
            shutil.copyfile(FIRMWARE_VARS, variables)
            command += ["-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE}",
                        "-drive", f"if=pflash,format=raw,file={variables}"]
        self.log.write("qemu-system-x86_64 " + " ".join(command) + "\n")
        self.watch(pexpect.spawn("qemu-system-x86_64", command, timeout=self.time_limit, encoding="utf-8", codec_errors="replace",
                                 maxread=65536, dimensions=(50, 200), preexec_fn=settle))

    def is_alive(self):
        return self.child.isalive()

    def ends(self, timeout=None):
        self.child.expect(pexpect.EOF, timeout=timeout or self.time_limit)
        self.child.close()
        return self.child.exitstatus

    def monitor(self, command):
        """The answer of QEMU's monitor."""
        self.until(lambda: os.path.exists(self.monitor_path))
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(self.time_limit)
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

    def halt(self):
        """
        Stops the time of a machine that is counted, until go_on(). Returns it in seconds, by the ACPI PM timer of the board (q35), which
        begins anew after 4.7 s.
        """
        self.monitor("stop")
        return int(re.search(r"0x0*608\] *= *(0x[0-9a-f]+)", self.monitor("i /w 0x608"))[1], 16) % 2**24 / PM_TIMER_HZ

    def go_on(self):
        self.monitor("cont")

    def where(self):
        """
        Where each CPU is, for the report of a failed test: the function, and what looks like those that called it. If it is in a
        guest the names mean nothing.
        """
        if not self.is_alive():
            return f"The emulator ended: exit status {self.child.exitstatus}, signal {self.child.signalstatus}."
        named = symbols(self.plinth)
        lines = []
        for cpu in re.findall(r"CPU #(\d+)", self.monitor("info cpus")):
            self.monitor(f"cpu {cpu}")
            registers = self.monitor("info registers")
            rip, flags = re.search(r"RIP=([0-9a-f]+) (RFL=[0-9a-f]+ .*HLT=\d)", registers).groups()
            rsp = re.search(r"RSP=([0-9a-f]+)", registers)[1]
            stack = re.findall(r"0x([0-9a-f]{16})", self.monitor(f"x /96gx 0x{rsp}").partition("\n")[2])
            callers = [named(word) for word in stack]
            lines.append(f"CPU {cpu}: {named(rip) or rip} {flags}\n  " + " ".join(caller for caller in callers if caller))
        return "\n".join(lines)

    def stop(self):
        if self.child.isalive():
            self.child.kill(signal.SIGKILL)
        self.child.close(force=True)
        self.log.close()
        if os.path.exists(self.monitor_path):
            os.unlink(self.monitor_path)
