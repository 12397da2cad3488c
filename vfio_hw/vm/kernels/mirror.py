"""Finds the Debian mirror that this machine's own apt uses, and the keys it is trusted by."""

import re
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools

# Where the package debian-archive-keyring, on which apt depends, puts the archive's keys.
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Mirror:
    """A Debian archive: its address, and the value of Signed-By that its signatures must match."""

    address: str
    signed_by: str


def find() -> Mirror:
    """The mirror in apt's configuration.

    :raises HarnessError: no apt, no Debian mirror, or no keys for it.
    """
    answer = tools.run(
        ["apt-get", "indextargets", "Created-By: Packages", "Component: main"],
        "asking apt for its Debian mirror",
        timeout=60,
    )
    for target in map(_fields, _paragraphs(answer)):
        if target.get("Label") == "Debian":
            return Mirror(target["Repo-URI"], _signed_by(target))
    # apt says nothing of sources whose lists it has never fetched.
    raise HarnessError(
        "apt knows no Debian mirror to fetch kernel sources from: run apt-get update, add a mirror "
        "to /etc/apt/sources.list.d, or give a built kernel by its path"
    )


def _signed_by(target: dict[str, str]) -> str:
    """The value in the source that the target came from, else the keyring of the archive."""
    name, _, number = target.get("Sourcesentry", "").rpartition(":")
    source = Path(name)
    if number.isdigit() and source.is_file():
        found = entry_keys(source.read_text(), int(number), source.suffix == ".sources")
        if found:
            return found
    if _KEYRING.is_file():
        return str(_KEYRING)
    raise HarnessError(
        f"no keys to check {target['Repo-URI']} with: apt-get install debian-archive-keyring"
    )


def entry_keys(text: str, number: int, stanzas: bool) -> str:
    """The Signed-By of entry ``number`` (from 1) of an apt source file, empty when it has none.

    A stanza's value is a path, fingerprints or a whole key, and may go over several lines; in
    the one-line style entries are numbered by line (sources.list(5)).
    """
    if stanzas:
        paragraphs = _paragraphs(text)
        fields = _fields(paragraphs[number - 1]) if number <= len(paragraphs) else {}
        return next((fields[name] for name in fields if name.lower() == "signed-by"), "")
    lines = text.splitlines()
    line = lines[number - 1] if number <= len(lines) else ""
    option = re.search(r"\[[^\]]*\bsigned-by=([^\s\]]+)", line, re.IGNORECASE)
    return option[1].replace(",", " ") if option else ""


def _paragraphs(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [part for part in re.split(r"\n\s*\n", "\n".join(lines)) if part.strip()]


def _fields(paragraph: str) -> dict[str, str]:
    """Name and value of each field; lines that continue a value stay as they are."""
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.strip("\n").splitlines():
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')}\n{line}"
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields
