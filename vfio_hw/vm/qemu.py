"""The command line of one guest."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.vm.topology import Topology

PROGRAM = "qemu-system-x86_64"
# What a guest finds its ports by, in /sys/class/virtio-ports/*/name: vfio_hw/host/virtio_port.py.
REQUESTS, EVENTS = "vfio-hw.requests", "vfio-hw.events"
_SERIAL = 3


def program() -> str:
    """The path of QEMU.

    :raises HarnessError: when it is not installed.
    """
    path = shutil.which(PROGRAM)
    if path is None:
        raise HarnessError(
            f"{PROGRAM} is not installed: run scripts/run, or apt-get install qemu-system-x86"
        )
    return path


@cache
def version() -> str:
    """The first line of what QEMU says of itself."""
    done = subprocess.run([program(), "--version"], capture_output=True, text=True, timeout=30)
    return done.stdout.partition("\n")[0]


def command_line(
    *,
    image: Path,
    initramfs: Path,
    topology: Topology,
    ports: Sequence[int],
    monitor: int,
    requests: int,
    accelerator: str,
    cpus: int,
    memory: str,
    append: Sequence[str] = (),
    images: Mapping[str, Path] | None = None,
) -> list[str]:
    """QEMU's arguments for a guest whose root is the host's, read-only.

    :param ports: descriptors to write to: the console, the events, the command's output, and the
        events of a guest that can write them quicker.
    :param monitor: a socket, for QEMU's own protocol.
    :param requests: a socket, for what the guest asks of its machine.
    :param accelerator: ``kvm`` or ``tcg``.
    :param images: the file of each disk and memory of the topology.
    """
    line = [
        # QEMU must not outlive a harness that was killed.
        "setpriv",
        "--pdeathsig=KILL",
        program(),
        *("-machine", topology.machine),
        *("-accel", "kvm" if accelerator == "kvm" else "tcg,thread=multi"),
        *("-cpu", "host" if accelerator == "kvm" else "max"),
        *("-smp", str(cpus), "-m", memory),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *(
            "-kernel",
            str(image),
            "-initrd",
            str(initramfs),
            "-append",
            " ".join(_parameters(topology, append)),
        ),
        *("-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=root,mount_tag=hostroot,addr=02.0"),
    ]
    for number, descriptor in enumerate(ports):
        line += ["-chardev", f"file,id=port{number},path=/proc/self/fd/{descriptor}"]
        line += ["-serial", f"chardev:port{number}"] if number < _SERIAL else []
    line += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
    line += ["-chardev", f"socket,id=requests,fd={requests}"]
    line += ["-device", "virtio-serial-pci,id=requests-bus,addr=03.0,max_ports=3"]
    line += ["-device", f"virtserialport,bus=requests-bus.0,chardev=requests,name={REQUESTS}"]
    for number in range(_SERIAL, len(ports)):
        line += ["-device", f"virtserialport,bus=requests-bus.0,chardev=port{number},name={EVENTS}"]
    for name in topology.disks:
        # Nobody else has it, and what an emulated disk is told to sync only has to outlive QEMU.
        options = "format=raw,cache=unsafe,file.locking=off"
        line += ["-drive", f"if=none,id={name},file={(images or {})[name]},{options}"]
    for name, size in topology.memories.items():
        options = f"size={size}K,mem-path={(images or {})[name]},share=on"
        line += ["-object", f"memory-backend-file,id={name},{options}"]
    for each in topology.globals:
        line += ["-global", each]
    for device in topology.devices:
        line += ["-device", device]
    return line


def _parameters(topology: Topology, append: Sequence[str]) -> list[str]:
    return [
        "console=ttyS0",
        # Also what a kernel that was configured to be quiet says, or a test has turned down.
        "ignore_loglevel",
        # By which the guest is known as one of ours: vfio_hw/host/guest.py.
        "vfio-hw.guest",
        # An oops leaves locks held and the next call hung: better a fresh guest.
        "oops=panic",
        "panic=-1",
        # On a busy host the emulated timer can be too late for the check, which then panics.
        "no_timer_check",
        # Nor is a clock that was measured on a busy host: the guest must not leave the TSC for it.
        "tsc=reliable",
        # A test may log faster than it is read; what is overwritten is not judged.
        "log_buf_len=16M",
        # Well before a silent guest is given up, its kernel says which task waits, and where.
        "sysctl.kernel.hung_task_timeout_secs=20",
        *topology.kernel_parameters,
        *append,
    ]
