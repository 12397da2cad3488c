"""What a guest consists of, and how it is started."""

import contextlib
import fcntl
import os
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


def power_on(guest: Guest, said: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start QEMU; returns it and where its ports are read: console, events, the command's output.

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
    pipes = [os.pipe() for _ in range(3)]
    theirs = [pipe[1] for pipe in pipes]
    for port in theirs:
        with contextlib.suppress(PermissionError):  # the system allows its users less
            fcntl.fcntl(port, fcntl.F_SETPIPE_SZ, PORT_SIZE)
    line = qemu.command_line(
        image=guest.image,
        initramfs=Path(f"/proc/self/fd/{archive}"),
        topology=guest.topology,
        ports=theirs,
        accelerator=guest.accelerator,
        cpus=guest.cpus,
        memory=guest.memory,
        append=guest.append,
    )
    try:
        with said.open("wb") as log:
            process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[*theirs, archive],
                # Ctrl-C is for the harness, which ends its guests itself.
                start_new_session=True,
            )
    finally:
        for descriptor in (archive, *theirs):
            os.close(descriptor)
    return process, [pipe[0] for pipe in pipes]
