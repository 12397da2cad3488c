"""This file checks that every kind of leak is seen and named, and what is none is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_hw.oracle.leaks import Leaks

VFIO_REFERENCES = """vfio 45056 {} vfio_pci,[permanent], Live 0x0
ext4 5000 5 - Live 0x0
"""
BUFFERS = """0x01-0x02   20480 kernel_clone+0xc6/0x3c0 pages=4 vmalloc
0x03-0x04    8192 execmem_alloc+0x8b/0x190 pages=1 vmalloc
"""
INTERRUPTS = """           CPU0       CPU1
   4:          0         55  IR-IO-APIC    4-edge      ttyS0
"""
IOMEM = "fea00000-fea00fff : 0000:00:04.0\n"
FUNCTION = "sys/bus/pci/devices/0000:00:04.0"
COMMAND_OFFSET = 4


def config(command: int) -> str:
    """The first bytes of a config space, all of them ASCII."""
    return "\0" * COMMAND_OFFSET + chr(command) + "\0"


class Machine:
    """A directory that looks like the parts of a machine that the oracle reads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("proc/modules", VFIO_REFERENCES.format(1))
        self.put("sys/module/vfio/version", "")
        self.put("proc/vmallocinfo", BUFFERS)
        self.put("proc/interrupts", INTERRUPTS)
        self.put("proc/iomem", IOMEM)
        self.put("sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/available_instances", "24")
        self.put(f"{FUNCTION}/driver_override", "(null)")
        self.put(f"{FUNCTION}/class", "0x00ff00")
        self.put(f"{FUNCTION}/enable", "0")
        self.put(f"{FUNCTION}/config", config(2))
        self.put(f"{FUNCTION}/power/runtime_usage", "0")
        self.put(f"{FUNCTION}/power/runtime_status", "suspended")
        self.put("sys/kernel/iommu_groups/7/type", "DMA")
        self.put("dev/vfio/vfio", "")
        self.put("proc/self/status", "VmLck:\t       0 kB\nVmPin:\t       0 kB\nThreads:\t1\n")
        self.link("proc/self/fd/0", "/dev/null")
        self.link("proc/self/fd/3", "pipe:[4711]")

    def put(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(f"{text}\n")

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def titles(machine: Machine, change: Callable[[], object], alone: bool = False) -> list[str]:
    leaks = Leaks(machine.root, grace=0.0, alone=alone)
    leaks.before("a test")
    change()
    return [finding.title for finding in leaks.after()]


def test_nothing_changed_is_no_finding(machine: Machine) -> None:
    assert titles(machine, lambda: None) == []


TYPE = "sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1"
NOBODYS = "0000:00:04.0 (no driver)"
PLANTED = [
    ("proc/modules", VFIO_REFERENCES.format(2), "module vfio: references 0 -> 1"),
    ("proc/modules", VFIO_REFERENCES.format(0), "module vfio: references 0 -> -1"),
    (f"{TYPE}/available_instances", "23", "mdev type mtty-1 of mtty: available instances 24 -> 23"),
    (f"{TYPE}/devices/6f1d9e0a", "", "mdev type mtty-1 of mtty: devices: 1 more"),
    ("dev/vfio/12", "", "/dev/vfio: 1 more"),
    ("dev/vfio/devices/vfio0", "", "/dev/vfio/devices: 1 more"),
    ("sys/class/vfio/12", "", "/sys/class/vfio: 1 more"),
    ("sys/class/vfio-dev/vfio0", "", "/sys/class/vfio-dev: 1 more"),
    ("sys/kernel/iommu_groups/8/type", "DMA", "/sys/kernel/iommu_groups: 1 more"),
    ("sys/bus/mdev/devices/6f1d9e0a", "", "/sys/bus/mdev/devices: 1 more"),
    ("sys/kernel/debug/vfio/0000:00:04.0", "", "/sys/kernel/debug/vfio: 1 more"),
    ("sys/kernel/debug/kvm/36-17/exits", "", "/sys/kernel/debug/kvm: 1 more"),
    (
        "proc/vmallocinfo",
        f"{BUFFERS}0x05-0x06 4096 sample_init+0x1/0x2 [vfio] pages=1 vmalloc",
        "module vfio: vmalloc (bytes) 0 -> 4096",
    ),
    (
        "proc/interrupts",
        f"{INTERRUPTS} 27: 0 0 IR-PCI-MSI-0000:00:04.0 0-edge vfio-msi[0](0000:00:04.0)",
        "interrupt handlers of VFIO: 1 more",
    ),
    ("proc/iomem", f"{IOMEM}  fea00000-fea00fff : vfio", "I/O regions claimed by VFIO: 0 -> 1"),
    (f"{FUNCTION}/driver_override", "vfio-pci", "PCI functions with a driver_override: 1 more"),
    (f"{FUNCTION}/enable", "1", f"{NOBODYS}: times enabled 0 -> 1"),
    (f"{FUNCTION}/enable", "-1", f"{NOBODYS}: times enabled 0 -> -1"),
    (f"{FUNCTION}/power/runtime_usage", "1", f"{NOBODYS}: runtime PM usage 0 -> 1"),
    (f"{FUNCTION}/msi_irqs/27", "msi", f"{NOBODYS}: MSI interrupts 0 -> 1"),
    (f"{FUNCTION}/config", config(6), "0000:00:04.0: bus master: 0 -> 1"),
    (f"{FUNCTION}/config", config(0), "0000:00:04.0: memory decoding off: 0 -> 1"),
    (f"{FUNCTION}/power/runtime_status", "active", "0000:00:04.0: awake: 0 -> 1"),
    ("proc/self/status", "VmLck: 0 kB\nVmPin: 8 kB", "own VmPin (kB): 0 -> 8"),
    ("proc/self/status", "VmLck: 4 kB\nVmPin: 0 kB", "own VmLck (kB): 0 -> 4"),
    ("proc/self/status", "Threads: 2", "own threads: 1 -> 2"),
]


@pytest.mark.parametrize(("path", "text", "title"), PLANTED, ids=[x[2] for x in PLANTED])
def test_a_planted_leak_is_named(machine: Machine, path: str, text: str, title: str) -> None:
    assert titles(machine, lambda: machine.put(path, text)) == [title]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("proc/modules", VFIO_REFERENCES.format(1).replace("5 -", "6 -")),
        ("proc/modules", f"{VFIO_REFERENCES.format(1)}mdpy 12288 1 - Live 0x0"),
        ("proc/modules", VFIO_REFERENCES.format(2).replace("vfio_pci,", "vfio_pci,mdev,")),
        ("proc/vmallocinfo", f"{BUFFERS}0x05-0x06 4096 sample_init+0x1/0x2 [ext4] pages=1"),
        ("proc/vmallocinfo", f"{BUFFERS}0x05-0x06 4096 kernel_clone+0xc6/0x3c0 pages=4"),
        ("proc/interrupts", INTERRUPTS.replace("55", "99")),
        ("dev/vfio/devices/.keep/x", ""),
        ("sys/kernel/debug/kvm/exits", ""),
        ("sys/bus/pci/devices/0000:00:05.0/driver_override", "(null)"),
        ("sys/class/mdev_bus/mdpy/mdev_supported_types/mdpy-hd/available_instances", "4"),
        (f"{FUNCTION}/config", config(3)),
        ("proc/self/status", "VmLck: 0 kB"),
    ],
)
def test_what_is_no_leak_is_not_named(machine: Machine, path: str, text: str) -> None:
    machine.put("dev/vfio/devices/.keep/y", "")
    assert titles(machine, lambda: machine.put(path, text)) == []


def test_a_function_left_with_another_driver_is_named(machine: Machine) -> None:
    def bind() -> None:
        machine.link(f"{FUNCTION}/driver", "../../../bus/pci/drivers/vfio-pci")
        machine.put(f"{FUNCTION}/power/runtime_usage", "1")  # of another driver: not compared

    assert titles(machine, bind) == ["PCI functions and their drivers: 1 more"]


def test_a_function_with_a_driver_of_its_own_may_be_busy(machine: Machine) -> None:
    machine.link(f"{FUNCTION}/driver", "../../../bus/pci/drivers/nvme")
    assert titles(machine, lambda: machine.put(f"{FUNCTION}/enable", "1")) == []
    assert titles(machine, lambda: machine.put(f"{FUNCTION}/config", config(6))) == []


def test_what_firmware_has_left_may_be_mended(machine: Machine) -> None:
    machine.put(f"{FUNCTION}/config", config(4))
    assert titles(machine, lambda: machine.put(f"{FUNCTION}/config", config(2))) == []


def test_a_link_to_a_device_that_has_gone_says_so(machine: Machine) -> None:
    leaks = Leaks(machine.root, grace=0.0)
    leaks.before("a test")
    machine.link(f"{TYPE}/devices/6f1d9e0a", "../../nowhere")
    (finding,) = leaks.after()
    assert finding.text == "appeared: 6f1d9e0a (dangling)"


STAT = "{} (racer (x)) {} 1 0 0"


@pytest.mark.parametrize(
    ("path", "text", "title"),
    [
        ("proc/sys/fs/file-nr", "101\t0\t9000", "open files: 100 -> 101"),
        ("proc/vmstat", "nr_foll_pin_acquired 9\nnr_foll_pin_released 5", "pages pinned: 2 -> 4"),
        ("proc/77/stat", STAT.format(77, "S"), "processes racer (x): 0 -> 1"),
    ],
)
def test_amounts_of_the_whole_machine_are_compared_when_it_is_ours(
    machine: Machine, path: str, text: str, title: str
) -> None:
    machine.put("proc/sys/fs/file-nr", "100\t0\t9000")
    machine.put("proc/vmstat", "nr_foll_pin_acquired 7\nnr_foll_pin_released 5")
    machine.put("proc/2/stat", "2 (kthreadd) S 0 0 0")
    before = (machine.root / path).read_text() if (machine.root / path).exists() else ""
    assert titles(machine, lambda: machine.put(path, text)) == []
    machine.put(path, before)
    assert titles(machine, lambda: machine.put(path, text), alone=True) == [title]


def test_a_process_that_becomes_blocked_is_named(machine: Machine) -> None:
    machine.put("proc/77/stat", STAT.format(77, "S"))
    assert titles(
        machine, lambda: machine.put("proc/77/stat", STAT.format(77, "D")), alone=True
    ) == ["processes racer (x) blocked in state D: 0 -> 1"]


@pytest.mark.parametrize(
    ("pid", "stat"),
    [
        (2, "2 (kthreadd) D 0 0 0"),
        (78, "78 (kworker/0:1) D 2 0 0"),
        (78, STAT.format(78, "Z")),
    ],
    ids=["father", "kernel", "zombie"],
)
def test_threads_of_the_kernel_and_zombies_are_no_processes(
    machine: Machine, pid: int, stat: str
) -> None:
    machine.put("proc/2/stat", "2 (kthreadd) S 0 0 0")
    assert titles(machine, lambda: machine.put(f"proc/{pid}/stat", stat), alone=True) == []


def test_an_amount_of_the_machine_is_not_told_beside_what_explains_it(machine: Machine) -> None:
    machine.put("proc/sys/fs/file-nr", "100\t0\t9000")

    def leak() -> None:
        machine.put("proc/sys/fs/file-nr", "101\t0\t9000")
        machine.put("dev/vfio/12", "")

    assert titles(machine, leak, alone=True) == ["/dev/vfio: 1 more"]
