"""Fixtures: machines that end with their test, guests that are built once, and the serial log of each failed test."""

import functools
import os
import re
import subprocess

import pytest

from bochs import Bochs
from machine import OUT, PLINTH, TOP, Locked, make_image
from qemu import Qemu

EMULATORS = {"amd": Qemu, "intel": Bochs, "amd-bochs": functools.partial(Bochs, cpu="ryzen")}
VENDORS = ["amd", "intel"]  # amd-bochs is for tests that ask for it: interrupts are not all right there (docs/debugging.md)


def pytest_configure(config):
    config.addinivalue_line("markers", "vendors(*NAMES): the CPU vendors that a test is for; amd is run by QEMU, intel by Bochs. Default: both")
    config.addinivalue_line("markers", "check: one of the few tests of `make check`")


def pytest_generate_tests(metafunc):
    """Every test that starts a machine is run once for each vendor, unless it says which."""
    if "vendor" not in metafunc.fixturenames:
        return
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if not any("vendor" in re.split(r"[ ,]+", names) for names in own):
        only = metafunc.definition.get_closest_marker("vendors")
        metafunc.parametrize("vendor", only.args if only else VENDORS)


@pytest.fixture
def vendor(request):
    """"amd" or "intel"; pytest_generate_tests gives it."""
    return request.param


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test is good only if the emulator, too, has nothing to complain of."""
    outcome = yield
    outcome.get_result()
    for machine in getattr(item, "machines", []):
        wrong = machine.complaints()
        assert not wrong, f"{machine.name}: the emulator complains:\n" + "\n".join(wrong[:20])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for machine in getattr(item, "machines", []):
            if not machine.log.closed:
                machine.log.flush()
            with open(machine.log_path, encoding="utf-8", errors="replace", newline="") as file:
                text = file.read().replace("\r", "")
            report.sections.append((f"serial line of {machine.name} (its end)", text[-6000:]))
            try:
                where = machine.where()
            except (AssertionError, OSError) as error:  # it may end while it is asked
                where = f"It does not say: {error}"
            if where:
                report.sections.append((f"where {machine.name} is", where))
            wrong = machine.complaints()
            if wrong:
                report.sections.append((f"complaints of the emulator of {machine.name}", "\n".join(wrong[:20])))


@pytest.fixture
def boot_on(request):
    """boot_on(VENDOR, ...): as boot, for tests that choose the vendor themselves."""
    machines = request.node.machines = []

    def start(vendor, config, files=None, cmdline="", plinth=None, **options):
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{request.path.stem}-{request.node.name}".replace("test_", "")).strip("-")
        if machines:
            name += f"-{len(machines) + 1}"
        machine = EMULATORS[vendor](name, make_image(config, files or {}, cmdline, plinth), **options)
        machine.plinth = plinth or PLINTH
        machines.append(machine)
        return machine

    yield start
    for machine in machines:
        machine.stop()


@pytest.fixture
def boot(boot_on, vendor):
    """
    boot(config, files, cmdline=..., memory=..., smp=..., cpu=..., date=..., counted=...) starts a machine of the test's vendor for
    the length of the test. Qemu and Bochs tell what else each of them takes.
    """
    return lambda *args, **options: boot_on(vendor, *args, **options)


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
