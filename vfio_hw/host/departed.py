"""What a function loses by what is done to it: with its driver, and when we take it off its bus.

Of what comes back to the bus the kernel makes another device, with a new identity and with nothing
of what the old one was set to. So what that had is noted before it goes, and what is noted of it
holds of the new one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vfio_hw.host import target as targets
from vfio_hw.host.record import Record
from vfio_hw.host.sysfs import attribute
from vfio_hw.host.target import Target, function_of

#: Which drivers set, too: vfio-pci lets a function sleep while it has it, and forbids that after.
BY_DRIVERS = "power/control"
#: Attributes that a function loses with its bus, by what it has of each when it is found there
#: (None: that differs), those first that are put back last.
#: Source: Documentation/ABI/testing/sysfs-bus-pci, and sysfs-devices-power.
LOST: Mapping[str, str | None] = {
    "sriov_numvfs": "0",
    "sriov_drivers_autoprobe": "1",
    BY_DRIVERS: None,
    "d3cold_allowed": None,
    "reset_method": None,
    "driver_override": "",
}


class Departed:
    """Which functions have left because of us: the model of each, by its identity."""

    def __init__(self, models: Mapping[str, str] | None = None) -> None:
        self.models = dict(models or {})

    def leaving(self, address: str, records: dict[Target, Record]) -> Iterator[dict[str, Any]]:
        """A function is about to be removed; the lines that a journal with these records gets."""
        model, identity = _model(address), Target("driver", address).identity()
        if model is None:
            return  # the write will fail
        yield from self._kept(_of(address), identity, records)
        self.models[identity] = model
        yield {"departed": identity, "model": model}

    def changing(self, address: str, records: dict[Target, Record]) -> Iterator[dict[str, Any]]:
        """The same of a function that is about to get, or lose, a driver."""
        own = Target("attribute", str((targets.PCI / address).resolve() / BY_DRIVERS))
        yield from self._kept([own], Target("driver", address).identity(), records)

    def _kept(
        self, lost: Iterable[Target], identity: str, records: dict[Target, Record]
    ) -> Iterator[dict[str, Any]]:
        """How these are now, of which nothing is noted yet."""
        for each in lost:
            record = records.get(each)
            if record and (record.identity == identity or self.brought_back(each, record)):
                continue
            if (old := each.value()) is None:
                continue
            records.pop(each, None)
            records[each] = Record(old, identity)
            yield {"kept": [each.kind, each.name], "old": old, "identity": identity}

    def brought_back(self, target: Target, record: Record) -> bool:
        """The function that the record is of has left because of us, and is there as another one.

        What is there is of the same model: of another one nothing is known.
        """
        address, model = function_of(target), self.models.get(record.identity)
        if address is None or model is None or target.identity() == record.identity:
            return False
        return _model(address) == model

    def followed(self, target: Target, record: Record) -> Iterator[dict[str, Any]]:
        """If it was, the record is of the new one from now on; the line that a journal gets.

        What the new one has it has because of us.
        """
        if self.brought_back(target, record):
            record.identity, record.made, record.pending = target.identity(), target.value(), []
            name = [target.kind, target.name]
            yield {"returned": name, "identity": record.identity, "value": record.made}

    def theirs(self, target: Target, record: Record) -> bool:
        """Somebody has set what was brought back to a value that it has neither anew nor of us."""
        name = target.name.partition(f"/{function_of(target)}/")[2]
        fresh, value = LOST.get(name), target.value()
        return fresh is not None and value not in (fresh, record.old, *record.ours)

    def learned(self, others: Mapping[str, str], identities: Iterable[str]) -> list[dict[str, Any]]:
        """Of these identities other journals know that they have left; the lines for this one."""
        new = {each: others[each] for each in identities if each in others.keys() - self.models}
        self.models.update(new)
        return [{"departed": identity, "model": model} for identity, model in new.items()]

    def replay(self, line: dict[str, Any], records: dict[Target, Record]) -> bool:
        """Take in one of these lines; whether it is one."""
        if "departed" in line:
            self.models[str(line["departed"])] = str(line["model"])
        elif "kept" in line:
            target = _named(line["kept"])
            records.pop(target, None)
            record = Record(str(line["old"]), str(line["identity"]), unwanted="unwanted" in line)
            records[target] = record
        elif "returned" in line:
            record, value = records[_named(line["returned"])], line["value"]
            record.identity, record.pending = str(line["identity"]), []
            record.made = None if value is None else str(value)
        else:
            return False
        return True


def _named(words: list[Any]) -> Target:
    kind, name = words
    return Target(str(kind), str(name))


def _of(address: str) -> list[Target]:
    """All that a function loses."""
    path = (targets.PCI / address).resolve()
    lost = [Target("attribute", str(path / name)) for name in LOST]
    return [*lost, Target("driver", address)]


def _model(address: str) -> str | None:
    """What tells a function from one of another kind: its vendor, device, subsystem and class."""
    return attribute(targets.PCI / address / "modalias")
