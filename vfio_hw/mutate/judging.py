"""A verdict for each mutant, and for the clean kernels between them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import seen, variant
from vfio_hw.mutate.again import Failure, Repeat
from vfio_hw.mutate.control import Control, failed_clean, is_test, ran
from vfio_hw.mutate.mutant import Mutant, version
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNCLEAR,
    UNFIT,
    Record,
    Verdict,
)
from vfio_hw.mutate.trial import Bench
from vfio_hw.mutate.variant import Variant
from vfio_hw.order import Order
from vfio_hw.report.events import EventLog
from vfio_hw.vm.kernels import Kernel
from vfio_hw.vm.kernels.config import settings

_CLEAN_EVERY = 10
# So many failures that a clean kernel has too, and the mutant can not be judged.
_MOST_TRIALS = 10


def verdicts(
    bench: Bench, mutants: Sequence[Mutant], kernel: Kernel, record: Record
) -> Iterator[Verdict]:
    """Each verdict as it comes. Those in the record stand, unless kernel or mutant have changed, or
    the test that saw the mutant has failed on a clean kernel since.

    A clean kernel comes before the first mutant, on each machine, and then every tenth, with the
    tests in the order that this mutant gets. A mutant is detected by a test that fails twice on it
    and passes on a clean kernel: one that has not shown that yet, as it is now, has to. When it
    fails there, it decides nothing here; when it can not be seen whether it passes, or it does not
    fail again, the mutant is unclear.
    """
    return _Judging(bench, kernel, record).verdicts(mutants)


class _Judging:
    def __init__(self, bench: Bench, kernel: Kernel, record: Record) -> None:
        self._kernel, self._record = kernel, record
        self._own = bench
        self._controls: dict[str, Control] = {}
        found = [v for v in record.read() if v.verdict == DETECTED or _held(v)]
        self._done = {(v.id, v.key): v for v in found}

    def verdicts(self, mutants: Sequence[Mutant]) -> Iterator[Verdict]:
        config = self._kernel.config
        options = settings(config.read_text()) if config else None
        for number, mutant in enumerate(mutants):
            unfit = mutant.needs and options is not None and mutant.needs not in options
            tried = not mutant.equivalent and not unfit
            first = tried and mutant.machine not in self._controls
            if number % _CLEAN_EVERY == 0 or first:
                yield self._clean(f"{number} {self._kernel.modules}", mutant)
            if mutant.equivalent:
                yield Verdict(mutant.id, EQUIVALENT, text=mutant.equivalent)
            elif unfit:
                text = f"it takes {mutant.needs} to see it: try --kernel latest-debug"
                yield Verdict(mutant.id, UNFIT, kernel=self._own.kernel, text=text)
            else:
                yield self._found(mutant) or self._tried(mutant)

    def _found(self, mutant: Mutant) -> Verdict | None:
        found = self._done.get((mutant.id, variant.key_of(mutant, self._kernel)))
        return None if found and found.test in self._control(mutant).unsound else found

    def _control(self, mutant: Mutant) -> Control:
        """What a clean kernel does on the mutant's machine."""
        name = mutant.machine
        if name not in self._controls:
            control = Control(self._own.on(name), self._kernel, self._fresh, name)
            control.doubt(failed_clean(self._record.directory, name))
            self._controls[name] = control
        return self._controls[name]

    def _order(self, mutant: Mutant) -> Order:
        known = seen.known_tests(self._own.finds, self._kernel.release)
        unsound = self._control(mutant).unsound
        return Order(
            tests=tuple(t for t in seen.tests_of(mutant.id) if t not in unsound),
            last=(*known, *sorted(unsound)),
            promise=mutant.promise,
            about=mutant.about,
            devices=tuple(device for device in mutant.devices if device != "none"),
            ways=_ways(mutant.file),
            races=mutant.race,
        )

    def _clean(self, key: str, mutant: Mutant) -> Verdict:
        bench, control, order = (
            self._own.on(mutant.machine),
            self._control(mutant),
            self._order(mutant),
        )
        if verdict := self._done.get((CLEAN, key)):
            control.booted |= ran(verdict)
            return verdict
        out = control.place(key.partition(" ")[0])
        verdict = replace(bench.tried(CLEAN, self._kernel.modules, order, out), key=key)
        control.booted |= ran(verdict)
        control.take(EventLog(out / "events.jsonl").results(), order.races)
        self._record.write(verdict)
        return verdict

    def _tried(self, mutant: Mutant) -> Verdict:
        try:
            made = variant.provide(mutant, self._kernel)
        except HarnessError as error:
            verdict = Verdict(mutant.id, BAD, kernel=self._own.kernel, text=str(error))
        else:
            verdict = self._judged(mutant, made)
        verdict = replace(verdict, version=version(mutant))
        self._record.write(verdict)
        return verdict

    def _judged(self, mutant: Mutant, made: Variant) -> Verdict:
        bench, control = self._own.on(mutant.machine), self._control(mutant)
        for _ in range(_MOST_TRIALS):
            out = self._fresh(mutant.id)
            order, unsound = self._order(mutant), frozenset(control.unsound)
            found = bench.tried(mutant.id, made.modules, order, out, unsound)
            if found.verdict != DETECTED:
                break
            sound, why = control.of(found, order)
            if sound is False:
                continue
            if sound:
                repeat = Repeat(bench, self._kernel, control, self._fresh)
                how, why = repeat.of(Failure(mutant, made, found, order, out))
                found = replace(found, again=how)
            if why:
                found = replace(found, verdict=UNCLEAR, text=f"{why}; it had said: {found.text}")
            elif is_test(found.test):
                seen.remember(mutant.id, found.test)
            break
        else:
            text = f"fails on a clean kernel too, as {_MOST_TRIALS - 1} before it: see why first"
            found = replace(found, verdict=UNCLEAR, text=text)
        return replace(found, key=made.key, build_seconds=made.seconds)

    def _fresh(self, name: str) -> Path:
        """A directory that no earlier trial of the same name has used."""
        names = (name, *(f"{name}-again-{number}" for number in range(1, 1000)))
        every = (self._record.directory / each for each in names)
        return next(directory for directory in every if not directory.exists())


def _held(verdict: Verdict) -> bool:
    """Whether tests passed, and none failed."""
    return verdict.verdict == SURVIVED and verdict.passed > 0


def _ways(file: str) -> tuple[str, ...]:
    """The ways to open a device that lead through a source file; none: all of them."""
    name = Path(file).name
    if name == "device_cdev.c" or "iommufd" in file:
        return ("iommufd", "cdev")
    if name in ("container.c", "vfio_iommu_type1.c"):
        return ("vfio_type1v2_iommu", "vfio_type1_iommu", "group")
    return ()
