"""What a guest consists of, and how it is started."""

import contextlib
import fcntl
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.vm import qemu
from vfio_hw.vm.initramfs import initramfs
from vfio_hw.vm.topology import Topology

# QEMU throws away what a port can not take at once: room for what a guest says while the harness is
# busy or stopped.  A socket would not do: it counts many times the size of small writes.
PORT_SIZE = 1 << 20

# Seconds that a kernel which has panicked waits before it resets a machine whose memory is wanted.
_HELD = 600


@dataclass(frozen=True)
class Guest:
    """What to boot and what to run in it."""

    image: Path
    modules: Path | None
    topology: Topology
    argv: Sequence[str]
    cwd: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    accelerator: str = "tcg"
    cpus: int = 2
    memory: str = "2G"
    append: Sequence[str] = ()
    packed: Sequence[Path] = ()
    """Files of the host that it gets in its memory, so as not to ask for each of them."""
    vmcore: bool = False
    """Whether its memory is kept when its kernel has panicked."""
    #: Where the images of the topology's disks and memories are kept; None: gone with the guest.
    images: Path | None = None


@dataclass(frozen=True)
class Powered:
    """A running QEMU, and how to talk to it; all of it is to be closed by whoever has this."""

    process: subprocess.Popen[bytes]
    ports: Sequence[int]
    """Where its ports are read: console, events, the command's output, events once more."""
    monitor: socket.socket
    requests: socket.socket
    """Where the guest asks for something; does not block."""

    def off(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10.0)
        for port in self.ports:
            os.close(port)
        self.monitor.close()
        self.requests.close()


def power_on(guest: Guest, said: Path) -> Powered:
    """Start QEMU.

    :param said: file for what QEMU itself says.
    :raises HarnessError: when QEMU is not installed.
    """
    content = initramfs(
        guest.argv,
        environment=guest.environment,
        cwd=guest.cwd,
        modules=guest.modules,
        packed=guest.packed,
    )
    archive = os.memfd_create("initramfs")
    with open(archive, "wb", closefd=False) as file:
        file.write(content)
    sizes = {**guest.topology.disks, **guest.topology.memories}
    images = {name: _image(guest, name, size) for name, size in sizes.items()}
    pipes = [os.pipe() for _ in range(4)]
    theirs = [pipe[1] for pipe in pipes]
    for port in theirs:
        with contextlib.suppress(PermissionError):  # the system allows its users less
            fcntl.fcntl(port, fcntl.F_SETPIPE_SZ, PORT_SIZE)
    monitor, requests = socket.socketpair(), socket.socketpair()
    requests[0].setblocking(False)
    line = qemu.command_line(
        image=guest.image,
        initramfs=Path(f"/proc/self/fd/{archive}"),
        topology=guest.topology,
        ports=theirs,
        monitor=monitor[1].fileno(),
        requests=requests[1].fileno(),
        accelerator=guest.accelerator,
        cpus=guest.cpus,
        memory=guest.memory,
        append=[*guest.append, *([f"panic={_HELD}"] if guest.vmcore else [])],
        images={name: Path(f"/proc/self/fd/{image}") for name, image in images.items()},
    )
    try:
        with said.open("wb") as log:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[
                    *theirs,
                    archive,
                    *images.values(),
                    monitor[1].fileno(),
                    requests[1].fileno(),
                ],
                # Ctrl-C is for the harness, which ends its guests itself.
                start_new_session=True,
            )
    finally:
        for descriptor in (archive, *theirs, *images.values()):
            os.close(descriptor)
        monitor[1].close()
        requests[1].close()
    return Powered(process, [pipe[0] for pipe in pipes], monitor[0], requests[0])


def _image(guest: Guest, name: str, kibibytes: int) -> int:
    """The image of a disk or memory, open: as an earlier guest left it, or empty."""
    if guest.images is None:
        image = os.memfd_create(name)
    else:
        guest.images.mkdir(parents=True, exist_ok=True)
        file = guest.images / f"{name}.img"
        image = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.truncate(image, kibibytes << 10)
    return image
