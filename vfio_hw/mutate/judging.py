"""A verdict for each mutant, and for the clean kernels between them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import seen, variant
from vfio_hw.mutate.mutant import Mutant
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNFIT,
    Record,
    Verdict,
)
from vfio_hw.mutate.trial import Bench
from vfio_hw.order import Order
from vfio_hw.vm.kernels import Kernel
from vfio_hw.vm.kernels.config import settings

_CLEAN_EVERY = 10


def verdicts(
    bench: Bench, mutants: Sequence[Mutant], kernel: Kernel, record: Record
) -> Iterator[Verdict]:
    """Each verdict as it comes. Those in the record stand, unless kernel or mutant have changed."""
    done = {(v.id, v.key): v for v in record.read() if v.verdict in (DETECTED, SURVIVED)}
    options = settings(kernel.config.read_text()) if kernel.config else None
    for number, mutant in enumerate(mutants):
        if number % _CLEAN_EVERY == 0:
            key = f"{number} {kernel.modules}"
            yield done.get((CLEAN, key)) or _clean(bench, kernel, record, key)
        if mutant.equivalent:
            yield Verdict(mutant.id, EQUIVALENT, text=mutant.equivalent)
        elif mutant.needs and options is not None and mutant.needs not in options:
            text = f"it takes {mutant.needs} to see it: try --kernel latest-debug"
            yield Verdict(mutant.id, UNFIT, kernel=bench.release, text=text)
        else:
            found = done.get((mutant.id, variant.key_of(mutant, kernel)))
            yield found or _tried(bench, mutant, kernel, record)


def _clean(bench: Bench, kernel: Kernel, record: Record, key: str) -> Verdict:
    order = Order(last=seen.known_tests(bench.finds, kernel.release))
    out = _fresh(record, f"{CLEAN}-{key.partition(' ')[0]}")
    verdict = replace(bench.tried(CLEAN, kernel.modules, order, out), key=key)
    record.write(verdict)
    return verdict


def _tried(bench: Bench, mutant: Mutant, kernel: Kernel, record: Record) -> Verdict:
    try:
        made = variant.provide(mutant, kernel)
    except HarnessError as error:
        verdict = Verdict(mutant.id, BAD, kernel=kernel.release, text=str(error))
    else:
        order = Order(
            tests=seen.tests_of(mutant.id),
            last=seen.known_tests(bench.finds, kernel.release),
            promise=mutant.promise,
            devices=tuple(device for device in mutant.devices if device != "none"),
            races=mutant.race,
        )
        verdict = bench.tried(mutant.id, made.modules, order, _fresh(record, mutant.id))
        verdict = replace(verdict, key=made.key, build_seconds=made.seconds)
        if verdict.verdict == DETECTED:
            seen.remember(mutant.id, verdict.test)
    record.write(verdict)
    return verdict


def _fresh(record: Record, name: str) -> Path:
    """A directory that no earlier trial of the same name has used."""
    names = (name, *(f"{name}-again-{number}" for number in range(1, 1000)))
    return next(d for d in (record.directory / each for each in names) if not d.exists())
