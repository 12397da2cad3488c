"""`vfio-hw run`: boot a kernel, run the hardware tests in it, judge it, keep the record."""

import argparse
import datetime
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from vfio_hw.errors import HarnessError, MachineLost
from vfio_hw.oracle.kernel_log import splats
from vfio_hw.report.events import EventLog, Result
from vfio_hw.vm import accelerator, kernels
from vfio_hw.vm.machine import Deadlines, Ending, Guest, GuestRun
from vfio_hw.vm.supervisor import Supervised, Supervisor
from vfio_hw.vm.topology import topology

PROJECT = Path(__file__).parents[1]
OK, KERNEL_WRONG, USAGE, HARNESS_WRONG, INTERRUPTED = 0, 1, 2, 3, 130

_MARKS = {"passed": "ok", "failed": "FAIL", "skipped": "skip", "error": "ERROR"}
# pytest.ExitCode.NO_TESTS_COLLECTED; importing pytest here would only delay the first verdict.
_PYTEST_NOTHING = 5
_CONSOLE_TAIL = 40


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``run``."""
    parser = commands.add_parser(
        "run",
        help="boot a kernel and run the hardware tests in it",
        description="Boots a kernel under QEMU with an emulated IOMMU, drives its /dev/vfio, races"
        " every use of a device against its removal, and judges the kernel.",
        epilog="Exit status: 0 all promises held; 1 the kernel broke one; 2 wrong usage; 3 the"
        " harness or the machine failed; 130 interrupted.",
    )
    add_guest_arguments(parser)
    parser.add_argument(
        "--device", action="append", default=[], metavar="ADDRESS", help="only this PCI function"
    )
    parser.add_argument("--seed", type=int, help="seed of all random choices")
    parser.add_argument(
        "--race-budget", type=float, metavar="SECONDS", help="time that each race may take"
    )
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="where the record goes")
    parser.add_argument(
        "--most-lost",
        type=int,
        default=3,
        metavar="N",
        help="give up after so many guests died or could not be trusted any more (default: 3)",
    )
    parser.add_argument(
        "selection",
        nargs="*",
        metavar="SELECTION",
        help="what pytest takes: files, FILE::TEST, and after -- options such as -k WORDS"
        " (default: all hardware tests)",
    )
    parser.set_defaults(function=run)


def add_guest_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which guest is booted."""
    parser.add_argument(
        "--kernel",
        default="latest",
        metavar="NAME|PATH",
        help="latest, 6.12, 6.1, a built kernel tree or a bzImage (default: latest)",
    )
    parser.add_argument(
        "--modules", type=Path, metavar="DIRECTORY", help="modules of a bzImage given by path"
    )
    parser.add_argument("--accel", choices=["auto", "kvm", "tcg"], default="auto")
    parser.add_argument(
        "--machine", default="intel-iommu", metavar="NAME", help="fixtures/machines"
    )
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", default="2G")


def guest_of(
    args: argparse.Namespace, argv: list[str], say: Callable[[str], None], cwd: Path
) -> tuple[Guest, kernels.Kernel]:
    """The guest that the options describe; its kernel is built when it has to be."""
    machine = topology(args.machine)
    kernel = kernels.get(args.kernel, modules=args.modules, say=say)
    guest = Guest(
        image=kernel.image,
        modules=kernel.modules,
        topology=machine,
        argv=argv,
        cwd=cwd,
        environment={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/root",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "VFIO_HW_GUEST": "1",
        },
        accelerator=accelerator.chosen(args.accel, image=kernel.image, say=say),
        cpus=args.cpus,
        memory=args.memory,
    )
    return guest, kernel


def run(args: argparse.Namespace) -> int:
    """Run the tests and return the exit status."""
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    guest, kernel = guest_of(args, _pytest(args, seed), _say, PROJECT)
    out = _results_directory(args.results)
    log = EventLog(out / "events.jsonl")
    log.write(
        {
            "event": "run",
            "kernel": kernel.release,
            "image": str(kernel.image),
            "accelerator": guest.accelerator,
            "machine": guest.topology.name,
            "seed": seed,
            "argv": guest.argv,
        }
    )
    _say(
        f"kernel {kernel.release} under {guest.accelerator.upper()}, seed {seed}, results in {out}"
    )
    budget = args.race_budget or 0.0
    supervisor = Supervisor(
        guest,
        out,
        log,
        deadlines=Deadlines(silence=120.0 + 2 * budget, whole=4 * 3600.0),
        explain=_explain,
        on_result=_tell,
        on_output=lambda data: None,
        most_lost=args.most_lost,
    )
    try:
        supervised = supervisor.run()
    except KeyboardInterrupt:
        _say(f"interrupted: the guest is gone; what was finished is in {out}")
        return INTERRUPTED
    except MachineLost as error:
        log.write({"event": "stopped", "text": str(error)})
        _summary(log.results(), out, [])
        raise
    return _ended(log.results(), supervised, out)


def _pytest(args: argparse.Namespace, seed: int) -> list[str]:
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--events", "/dev/ttyS1"]
    line += ["--seed", str(seed), "--ignore", "tests_hw/unit", "--ignore", "tests_hw/harness"]
    if args.race_budget is not None:
        line += ["--race-budget", str(args.race_budget)]
    for address in args.device:
        line += ["--device", address]
    return [*line, *args.selection]


def _results_directory(wanted: Path | None) -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = wanted.absolute() if wanted else PROJECT / "results" / stamp
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise HarnessError(f"{out} exists already: name a new directory with --results") from None
    return out


def _explain(ended: GuestRun, console: str) -> tuple[str, str]:
    """Which oracle saw a guest die, and the text that shows it."""
    found = splats(console.splitlines())
    oracle = {Ending.PANICKED: "panic", Ending.HUNG: "hang"}.get(ended.ending, "exit")
    if found:
        return oracle, "\n\n".join(f"{splat.title}\n{splat.text}" for splat in found)
    tail = "\n".join(console.splitlines()[-_CONSOLE_TAIL:])
    return oracle, f"{ended.text}\nThe console's last lines:\n{tail}"


def _tell(result: Result) -> None:
    line = f"{_MARKS[result.verdict]:5} {result.seconds:6.2f} s  {result.test}"
    if result.verdict == "failed":
        line += f"  [{result.oracle}]"
    _say(line)
    if result.verdict in ("failed", "error"):
        _say("\n".join(f"      | {text}" for text in _essence(result.text)))
    elif result.verdict == "skipped":
        _say(f"      | {result.text}")


def _essence(text: str) -> Iterable[str]:
    """The lines of a failure that say what was wrong; the record has all of them."""
    lines = text.splitlines()
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines)[:12]


def _ended(results: list[Result], supervised: Supervised, out: Path) -> int:
    _summary(results, out, supervised.left)
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return KERNEL_WRONG
    if "error" in verdicts:
        return HARNESS_WRONG
    if supervised.status == _PYTEST_NOTHING or (not results and supervised.status == 0):
        raise HarnessError("no test matches the selection: see pytest --collect-only")
    if supervised.status != 0 or supervised.left:
        output = out / f"guest-{supervised.guests}" / "output.log"
        last = output.read_text(errors="replace").strip().splitlines()[-1:] or ["(no output)"]
        raise HarnessError(
            f"pytest ended with status {supervised.status} in the guest: {last[0]}; see {output}"
        )
    return OK


def _summary(results: list[Result], out: Path, left: list[str]) -> None:
    counts = Counter(result.verdict for result in results)
    words = [f"{counts[verdict]} {verdict}" for verdict in ("passed", "failed")]
    words += [f"{counts[verdict]} {verdict}" for verdict in ("skipped", "error") if counts[verdict]]
    if left:
        words.append(f"{len(left)} not run")
    _say(", ".join(words))
    _say(f"results: {out}")


def _say(text: str) -> None:
    print(text, flush=True)
