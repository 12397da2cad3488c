"""Tests of what vfio-hw does to the machine it runs on; they run in a guest of the machine `host`.

tests_hw/harness/test_host.py boots it.
"""

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vfio_hw.cli import main
from vfio_hw.host import modules, sysfs
from vfio_hw.host.descendants import descendants
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.restore import restore
from vfio_hw.host.safety import Safety
from vfio_hw.host.state import VARIABLE, State
from vfio_hw.plugin import IN_GUEST
from vfio_hw.session import PROJECT

# Seconds. A busy machine takes many times what an idle one does; what stays is not hung.
DEADLINE = 300.0


def sh(*words: object) -> None:
    """Run a command that must succeed."""
    subprocess.run([str(word) for word in words], check=True, timeout=60, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def done(do: list[object], undo: list[object]) -> Iterator[None]:
    """One command has been run inside, and its opposite after."""
    sh(*do)
    try:
        yield
    finally:
        sh(*undo)


@pytest.fixture(autouse=True, scope="session")
def guest(life) -> None:
    """The machine may be broken, and has its drivers."""
    assert os.environ.get(IN_GUEST), "these tests take disks and interfaces away: in a guest only"
    for name in ("ext2", "vfio_iommu_type1", "iommufd"):
        modules.load(name)
    life.load_modules()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """An empty directory of state, which the command finds; nothing is left over in the end."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    found = State()
    yield found
    for _ in restore(found):
        pass
    found.close()


@pytest.fixture
def command(state: State, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs vfio-hw; gives its exit status, and what it said."""

    def run(*words: object) -> tuple[int, str]:
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


@pytest.fixture
def rules() -> Callable[[PciFunction], list[str]]:
    """The rules by which a function may not be taken now."""
    return lambda function: [each.rule for each in Safety().refusals(function)]


@pytest.fixture
def card() -> PciFunction:
    """A network card, alone in its group."""
    return next(each for each in functions_of_kind("e1000e") if not each.siblings())


@pytest.fixture
def edu() -> PciFunction:
    """An edu, alone in its group."""
    return next(each for each in functions_of_kind("edu") if not each.siblings())


@pytest.fixture
def shared() -> list[PciFunction]:
    """The edu and the network card that share a group."""
    first = next(each for each in functions_of_kind("edu") if each.siblings())
    return [first, *(each for each in first.siblings() if each.kind)]


@pytest.fixture
def interface(card: PciFunction) -> str:
    """The interface of the card."""
    return next(each.name for each in descendants(card.path) if each.subsystem == "net")


@pytest.fixture
def scratch() -> tuple[PciFunction, str]:
    """A controller with a disk of 16 MiB that nobody needs, and the disk's name."""
    for function in functions_of_kind("nvme"):
        for each in descendants(function.path):
            if each.subsystem == "block":
                Path(f"/dev/{each.name}").write_bytes(bytes(1 << 20))
                return function, each.name
    raise AssertionError("no NVMe controller has a disk")


@pytest.fixture(scope="session")
def udev() -> Path:
    """Where udev's programs are: those of the host, or where the harness has unpacked them."""
    return Path(os.environ["VFIO_HW_TEST_UDEV"])


@pytest.fixture(scope="session")
def life():
    """The module life.py."""
    described = importlib.util.spec_from_file_location("life", Path(__file__).with_name("life.py"))
    assert described and described.loader
    module = importlib.util.module_from_spec(described)
    sys.modules["life"] = module
    described.loader.exec_module(module)
    return module


@pytest.fixture
def planted(life) -> Iterator[None]:
    """Tests that only this guest has, and the machine as it must be after each test."""
    place = PROJECT / "tests_hw/pci/test_planted.py"
    place.write_text(Path(__file__).with_name("planted.py").read_text())
    for name in ("stays", "lingers", "after"):
        Path("/tmp", name).unlink(missing_ok=True)
    before = life.machine()
    yield
    assert life.machine() == before
    place.unlink()


@pytest.fixture
def here(state, tmp_path, edu):
    """Starts vfio-hw run --here on the edu; the process, and its results."""
    started = []

    def start(
        *words: str, device: str = edu.address, **variables: str
    ) -> tuple[subprocess.Popen[str], Path]:
        results = tmp_path / f"results-{len(started)}"
        own = [f"--device={device}", f"--results={results}", "--test-deadline=1000"]
        environment = {key: value for key, value in os.environ.items() if key != IN_GUEST}
        process = subprocess.Popen(
            [sys.executable, "-m", "vfio_hw", "run", "--here", *own, *words],
            cwd=PROJECT,
            env={**environment, VARIABLE: str(state.path), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process, results

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def ended() -> Callable[[subprocess.Popen[str]], tuple[int, str]]:
    """Waits for the end of a run; its exit status, and what it said."""

    def wait(process: subprocess.Popen[str]) -> tuple[int, str]:
        said, _ = process.communicate(timeout=DEADLINE)
        return process.returncode, said

    return wait


@pytest.fixture
def said_in() -> Callable[[str, str], str]:
    """What a planted test has written into its file, once it has."""

    def wait(name: str, text: str) -> str:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            with contextlib.suppress(FileNotFoundError):
                if re.fullmatch(text, found := Path("/tmp", name).read_text()):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"no planted test has written /tmp/{name}")

    return wait


@pytest.fixture
def running_pytest(said_in) -> Callable[[], int]:
    """The pid of the pytest that is in test_stays, once it is."""
    return lambda: int(said_in("stays", "[0-9]+"))


class Spy:
    """Sees every write."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str]] = []

    def before(self, path: Path, text: str) -> None:
        self.writes.append((str(path), text.strip()))

    def after(self, token: None, *, made: bool) -> None:
        pass


@pytest.fixture
def writes() -> Iterator[list[tuple[str, str]]]:
    """Every write to sysfs of this process so far, path and text."""
    spy = Spy()
    sysfs.keepers.append(spy)
    yield spy.writes
    sysfs.keepers.remove(spy)


@pytest.fixture
def before(life):
    """The machine as it is before the test, which is how it must be after."""
    found = life.machine()
    yield found
    assert life.machine() == found
