"""The command vfio-hw."""

import argparse
import errno
import io
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vfio_hw import bisect, guest, race_command, replay, run
from vfio_hw.coverage import command as coverage_command
from vfio_hw.errors import HarnessError
from vfio_hw.here import binding, doctor, listing
from vfio_hw.host.text import printable, printable_lines
from vfio_hw.mutate import command as mutate_command
from vfio_hw.mutate import table as mutate_table
from vfio_hw.report import terminal, uapi_command
from vfio_hw.repro import command as repro_command
from vfio_hw.vm import kernels, machine
from vfio_hw.vm.kernels import command as kernel_command

# The series that vfio_hw/uapi/declarations describe.
_DECLARED = (7, 2)

_LOOK = "see that it is there and what it should be"
_REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give this user the right to it",
    errno.EROFS: "name a place that can be written",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments, do what they say, and return the exit status."""
    while (lowest := os.open(os.devnull, os.O_RDWR)) <= 2:
        # Started with a standard descriptor closed: nothing else of ours may take its place.
        os.set_inheritable(lowest, True)
    os.close(lowest)
    # What can not be said in the terminal's encoding is escaped: no command ends half-way for it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    # argparse would not take options again once it has seen a positional argument.
    end = words.index("--") if "--" in words else len(words)
    parser = _parser()
    args, unknown = parser.parse_known_args(words[:end])
    if unknown:
        after = f": {args.takes_rest} go after --" if args.takes_rest else ""
        parser.error(f"{args.command} does not take {shlex.join(unknown)}{after}")
    args.words, args.rest = words[:end], words[end + 1 :]
    if args.rest and not args.takes_rest:
        parser.error(f"nothing may follow --: {shlex.join(args.rest)}")
    # What a lab's timeout or a closed terminal sends leaves as little behind as Ctrl-C; unless it
    # was nohup that has started us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        return int(args.function(args))
    except HarnessError as error:
        print(printable_lines(f"vfio-hw: {error}"), file=sys.stderr)
        _print_notes(error)
        return run.HARNESS_WRONG
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more on its way out.
        terminal.hang_up()
        return 128 + 13
    except OSError as error:
        where = printable(f" on {error.filename}") if error.filename else ""
        print(
            f"vfio-hw: {error.strerror or error}{where}: {_REMEDIES.get(error.errno or 0, _LOOK)}",
            file=sys.stderr,
        )
        _print_notes(error)
        return run.HARNESS_WRONG
    except KeyboardInterrupt as error:
        _print_notes(error)
        raise


def _print_notes(error: BaseException) -> None:
    """What could not be undone after it, a line each."""
    for note in getattr(error, "__notes__", ()):
        print(f"vfio-hw: {printable(note)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfio-hw", description="Torture and conformance harness for Linux VFIO."
    )
    parser.set_defaults(takes_rest="")  # what may follow --
    commands = parser.add_subparsers(
        title="commands", required=True, dest="command", metavar="COMMAND"
    )
    run.add_parser(commands)
    race_command.add_parser(commands)
    bisect.add_parser(commands)
    bisect.add_step_parser(commands)
    mutate_command.add_parser(commands)
    mutate_table.add_parser(commands)
    uapi_command.add_parser(commands)
    coverage_command.add_parser(commands)
    replay.add_parser(commands)
    repro_command.add_parser(commands)
    _add_vm(commands)
    kernel_command.add_parser(commands)
    binding.add_parsers(commands)
    doctor.add_parser(commands)
    listing.add_parser(commands)
    _add_headers(commands)
    return parser


def _add_vm(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "vm",
        help="run one command in a guest",
        usage="%(prog)s [options] -- COMMAND [ARGUMENT ...]",
        description="Boots a guest whose root is this machine's, writable for the guest only, runs"
        " the command there in this directory, and passes its exit status.",
        epilog="Exit status: the command's; 1 when the guest's kernel died or hung, 3 when the"
        " guest did not boot, was killed or ran for too long.",
    )
    guest.add_arguments(parser)
    parser.add_argument(
        "--deadline",
        type=guest.seconds,
        default=3600.0,
        metavar="SECONDS",
        help="default: %(default)g",
    )
    parser.add_argument("--console", type=Path, metavar="FILE", help="keep the kernel's console")
    parser.set_defaults(function=_vm, takes_rest="a command and its arguments")


def _vm(args: argparse.Namespace) -> int:
    def say(text: str) -> None:
        print(f"vfio-hw: {text}", file=sys.stderr, flush=True)

    def output(data: bytes) -> None:
        while data:
            data = data[os.write(1, data) :]

    if not args.rest:
        print("vfio-hw: name the command after --, as in: vfio-hw vm -- uname -r", file=sys.stderr)
        return run.USAGE
    described, _ = guest.described(args, args.rest, say, Path.cwd())
    if args.console:
        args.console.write_bytes(b"")
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        deadlines = machine.Deadlines(whole=args.deadline)
        ended = machine.run(described, Path(directory), deadlines=deadlines, on_output=output)
        console = ended.console.read_bytes()
        if args.console:
            args.console.write_bytes(console)
    if ended.status is not None:
        return ended.status
    tail = b"\n".join(console.splitlines()[-20:]).decode(errors="replace")
    command = shlex.join(args.rest)
    said = f"{tail}\nvfio-hw: {command}: {ended.ending.value}: {ended.text}"
    print(printable_lines(said), file=sys.stderr)
    return run.KERNEL_WRONG if ended.ending.of_kernel else run.HARNESS_WRONG


def _add_headers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "headers",
        help="compare our declarations with a kernel's headers",
        description="Compiles a program against the kernel's own headers and compares every struct"
        " size, member offset, constant and ioctl number with vfio_hw/uapi.",
    )
    parser.add_argument("--kernel", default="latest", metavar="NAME")
    parser.set_defaults(function=_headers)


def _headers(args: argparse.Namespace) -> int:
    from vfio_hw.uapi import headercheck

    kernel = kernels.get(args.kernel, say=print)
    if kernel.headers is None:
        raise HarnessError(f"{args.kernel} has no headers of its own: name an archive kernel")
    # What kernels as new as the declarations lack, nobody has: then it is ours that is wrong.
    strict = tuple(map(int, kernel.release.split(".")[:2])) >= _DECLARED
    report = headercheck.check(kernel.headers.parent, strict=strict)
    print(f"our declarations against the headers of Linux {kernel.release}\n{report}")
    return run.KERNEL_WRONG if report.differences else run.OK
