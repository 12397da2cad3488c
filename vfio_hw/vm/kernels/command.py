"""The command vfio-hw kernel: list, build, path."""

import argparse
import sys

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import names


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``kernel`` and its own commands to the command line."""
    parser = subparsers.add_parser("kernel", help="list, build or find the kernels of guests")
    parser.set_defaults(function=run)
    commands = parser.add_subparsers(dest="kernel_command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="the kernels that are built, the youngest first")
    build = commands.add_parser("build", help="fetch and build a kernel, unless it is there")
    path = commands.add_parser("path", help="print the directory of a built kernel")
    for command in (build, path):
        command.add_argument(
            "kernel", metavar="NAME|PATH", help=f"{', '.join(names.NAMES)}, or a tree or bzImage"
        )
    build.add_argument(
        "--refresh", action="store_true", help="ask the archive whether there is a newer source"
    )


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; the exit status.

    :raises HarnessError: the kernel can not be had.
    """
    if args.kernel_command == "list":
        return _list()
    if args.kernel_command == "build":
        kernel = names.get(args.kernel, say=_say, refresh=args.refresh)
        print(f"{kernel.name} is Linux {kernel.release}: {kernel.directory}")
        return 0
    return _path(args.kernel)


def _list() -> int:
    kernels = names.built()
    for kernel in kernels:
        print(f"{kernel.name:8} {kernel.release:16} {kernel.directory}")
    if not kernels:
        _say(f"no kernel is built yet: vfio-hw kernel build {names.NAMES[0]}")
    return 0


def _path(name: str) -> int:
    if name in names.NAMES:
        kernel = names.known(name)
        if kernel is None:
            raise HarnessError(f"{name} is not built yet: vfio-hw kernel build {name}")
    else:
        kernel = names.get(name, say=_say)
    print(kernel.directory)
    return 0


def _say(text: str) -> None:
    print(f"vfio-hw: {text}", file=sys.stderr, flush=True)
