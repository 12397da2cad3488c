"""The guest that the options of a command describe."""

import argparse
import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.vm import accelerator, kernels
from vfio_hw.vm.kernels import patched
from vfio_hw.vm.machine import Guest
from vfio_hw.vm.topology import topology

DEFAULT_KERNEL = "latest"
# What is booted beside the kernel, where no option says otherwise.
MACHINE: Mapping[str, Any] = {"accel": "auto", "machine": "intel-iommu", "cpus": 2, "memory": "2G"}
DEFAULT_MACHINE: str = MACHINE["machine"]

# What vm/init.c mounts over the host's.
_OWN = ("/dev", "/proc", "/sys", "/run")


def add_arguments(
    parser: argparse.ArgumentParser,
    *,
    several: bool = False,
    kernel: str = DEFAULT_KERNEL,
    like: str = "",
) -> None:
    """Add the options that say which guest is booted.

    :param several: ``--kernel`` and ``--modules`` may be given any number of times; their values
        are lists, or None.
    :param kernel: the one that is booted when none is named.
    :param like: what is meant when an option is not given, which is None then; "": a new guest.
    """
    how: dict[str, Any] = {"action": "append"} if several else {"default": kernel}
    parser.add_argument(
        "--kernel",
        **how,
        metavar="NAME|PATH",
        help=f"{', '.join(kernels.NAMES)}, a built kernel tree or a bzImage; "
        f"{'repeatable ' if several else ''}(default: {like or kernel})",
    )
    parser.add_argument(
        "--modules",
        type=Path,
        action="append" if several else "store",
        metavar="DIRECTORY",
        help="modules of a bzImage given by path"
        f"{'; repeatable, each goes to the image of its release' if several else ''}",
    )
    parser.add_argument(
        "--patch",
        action="append",
        type=Path,
        metavar="FILE",
        default=[],
        help="a diff, or an mbox of mails that have one, on top of each kernel, in a copy of its"
        " source; repeatable",
    )
    add_machine(parser, like)
    if like:
        parser.set_defaults(kernel=None, **dict.fromkeys(MACHINE))


def add_machine(parser: argparse.ArgumentParser, like: str = "") -> None:
    """Add those of them that are not about its kernel."""
    parser.add_argument(
        "--accel",
        choices=["auto", "kvm", "tcg"],
        default=MACHINE["accel"],
        help="auto: KVM where it is seen to boot a kernel, else TCG"
        f" (default: {like or MACHINE['accel']})",
    )
    parser.add_argument(
        "--machine",
        default=DEFAULT_MACHINE,
        metavar="NAME",
        help=f"one of fixtures/machines (default: {like or DEFAULT_MACHINE})",
    )
    for name, kind in (("cpus", whole), ("memory", memory)):
        text = f"of the guest (default: {like or MACHINE[name]})"
        parser.add_argument(f"--{name}", type=kind, default=MACHINE[name], help=text)


def arguments(args: argparse.Namespace) -> dict[str, str | int | list[str] | None]:
    """What those options were given, as JSON can hold it; paths as seen from anywhere."""
    named = args.kernel in kernels.NAMES
    return {
        "kernel": args.kernel if named else str(Path(args.kernel).absolute()),
        "modules": _each(args.modules, lambda path: str(path.absolute())),
        "patch": [str(path.absolute()) for path in args.patch],
        "accel": args.accel,
        "machine": args.machine,
        "cpus": args.cpus,
        "memory": args.memory,
    }


def _each(given: Any, made: Callable[[Any], Any]) -> Any:
    """The value of --modules, which may be one, several or none."""
    if isinstance(given, list):
        return [made(each) for each in given]
    return given and made(given)


def absolute(kernel: str) -> str:
    """A kernel's name, or its path as seen from anywhere."""
    path = Path(kernel).expanduser()
    named = kernel in kernels.NAMES or ("/" not in kernel and not path.exists())
    return kernel if named else str(path.absolute())


def set_arguments(args: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """The inverse of :func:`arguments`."""
    vars(args).update(
        given,
        modules=_each(given["modules"], Path),
        # A record may be older than this option.
        patch=[Path(path) for path in given.get("patch", ())],
    )


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`arguments` gave, from a file that anybody may have written.

    :raises ArgumentError, LookupError, TypeError: no command line would have said that.
    """
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    words = [f"--{name}={given[name]}" for name in ("kernel", *MACHINE)]
    words += [f"--modules={given['modules']}"] if given["modules"] else []
    words += [f"--patch={path}" for path in given.get("patch", ())]
    return arguments(parser.parse_args(words))


def described(
    args: argparse.Namespace, argv: list[str], say: Callable[[str], None], cwd: Path
) -> tuple[Guest, kernels.Kernel]:
    """The guest that the options describe; its kernel is built when it has to be."""
    machine = topology(args.machine)
    kernel = kernels.get(args.kernel, modules=args.modules, say=say)
    if args.patch:
        kernel = patched.get(kernel, args.patch, say)
    guest = Guest(
        image=kernel.image,
        modules=kernel.modules,
        topology=machine,
        argv=argv,
        cwd=visible(cwd),
        environment={
            # A user's PATH has no sbin, where modprobe is.
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "HOME": "/root",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "VFIO_HW_GUEST": "1",
        },
        accelerator=accelerator.chosen(
            args.accel,
            image=kernel.image,
            known_to_boot=args.kernel in kernels.NAMES and not args.patch,
            say=say,
        ),
        cpus=args.cpus,
        memory=args.memory,
    )
    return guest, kernel


def visible(path: Path) -> Path:
    """The path, absolute; a guest sees it too.

    :raises HarnessError: it lies where a guest has a file system of its own.
    """
    absolute = path.absolute()
    for own in _OWN:
        if absolute.is_relative_to(own):
            raise HarnessError(f"a guest does not see {absolute}, as {own} is its own: move it")
    return absolute


def seconds(text: str) -> float:
    """An option's positive, finite number of seconds: 90, 90s, 1.5m, 2h."""
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    with contextlib.suppress(ValueError):
        number = float(text[:-1]) * unit if unit else float(text)
        if 0 < number < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"give a time above 0, such as 90s or 2m, not '{text}'")


def whole(text: str) -> int:
    """An option's whole number, at least 1."""
    with contextlib.suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise argparse.ArgumentTypeError(f"give a whole number, 1 or more, not '{text}'")


def memory(text: str) -> str:
    """An option's size of a memory: 512M, 2G; nothing else that QEMU would take for an option."""
    if re.fullmatch(r"[1-9][0-9]{0,5}[MG]", text):
        return text
    raise argparse.ArgumentTypeError(f"give a size such as 512M or 2G, not '{text}'")
