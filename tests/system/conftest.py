"""Fixtures: machines that end with their test, guests that are built once, and the serial log of each failed test."""

import os
import re
import subprocess

import pytest

from machine import OUT, TOP, Locked, Machine, make_image


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for machine in getattr(item, "machines", []):
            machine.log.flush()
            with open(machine.log_path, encoding="utf-8", errors="replace", newline="") as file:
                text = file.read().replace("\r", "")
            report.sections.append((f"serial line of {machine.name} (its end)", text[-6000:]))


@pytest.fixture
def boot(request):
    """boot(config, files, cmdline=..., machine=..., memory=..., smp=..., uefi=...) starts a machine for the length of the test."""
    machines = request.node.machines = []

    def start(config, files=None, cmdline="", plinth=None, **options):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", request.node.name).strip("-")
        if machines:
            name += f"-{len(machines) + 1}"
        machine = Machine(name, make_image(config, files or {}, cmdline, plinth), **options)
        machines.append(machine)
        return machine

    yield start
    for machine in machines:
        machine.stop()


def build(*targets):
    with Locked("make"):
        done = subprocess.run(["make", "--no-print-directory", *targets], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session", autouse=True)
def plinth():
    build("build/release/plinth", "build/host/checkconfig", "guests")


@pytest.fixture(scope="session")
def debug(plinth):
    """The hypervisor with assertions and UBSan traps: the path of its image, for boot(plinth=...)."""
    build("build/debug/plinth", "DEBUG=1")
    return os.path.join(TOP, "build/debug/plinth")


@pytest.fixture(scope="session")
def guest(plinth):
    """guest(NAME): the path of a bare-metal guest."""
    return lambda name: os.path.join(TOP, "build/guest", name + ".elf")


@pytest.fixture(scope="session")
def linux():
    """The demo guest's kernel and initramfs: a stock Linux with a shell."""
    folder = os.path.join(OUT, "linux")
    with Locked("linux"):
        done = subprocess.run([os.path.join(TOP, "guests/demo/build"), folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"vmlinuz": os.path.join(folder, "vmlinuz"), "initrd.img": os.path.join(folder, "initrd.img")}
