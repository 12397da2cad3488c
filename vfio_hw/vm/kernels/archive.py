"""Finds kernel source packages in the Debian archive and fetches them, checked, uninstalled."""

import contextlib
import functools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import mirror, progress, tools
from vfio_hw.vm.kernels.apt import Apt

# By their aliases, so that a new release of Debian changes nothing here.
SUITES = ("unstable", "stable-backports", "stable", "oldstable-backports", "oldstable")

_LISTS_MEGABYTES = 200  # 62 of lists, and twice as much while they are unpacked


@dataclass(frozen=True)
class Package:
    """A source package of a kernel, as the archive names it."""

    name: str
    version: str

    @property
    def kernel_version(self) -> str:
        """The kernel's own version: without the epoch and the packagers' revision."""
        return self.version.split(":", 1)[-1].rsplit("-", 1)[0]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def choose(packages: Iterable[Package], series: str | None) -> Package:
    """The newest package of a series ("6.12"), or of all when ``series`` is None.

    Packages without a series in their name, and release candidates, are not kernels to test.

    :raises HarnessError: there is none; says which series there are.
    """
    kernels = [package for package in packages if _is_release(package)]
    wanted = [p for p in kernels if series is None or p.name == f"linux-source-{series}"]
    if not wanted:
        there = ", ".join(sorted({p.name for p in kernels})) or "none at all"
        asked = f"linux-source-{series}" if series else "kernel source package"
        raise HarnessError(f"the Debian archive has no {asked} now: it has {there}")
    return max(wanted, key=functools.cmp_to_key(_compare))


def _is_release(package: Package) -> bool:
    named = re.fullmatch(r"linux-source-\d+\.\d+", package.name)
    return named is not None and "~rc" not in package.version


def _compare(one: Package, other: Package) -> int:
    """Orders by version, by dpkg's own rules."""

    def holds(relation: str) -> bool:
        command = ["dpkg", "--compare-versions", one.version, relation, other.version]
        return subprocess.run(command, check=False).returncode == 0

    return 1 if holds("gt") else -1 if holds("lt") else 0


class Archive:
    """The Debian archive, through an apt of our own in ``<cache>/apt``."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._apt = Apt(cache.directory() / "apt")

    def packages(self) -> list[Package]:
        """Every linux-source package of every suite, from lists fetched now.

        A suite that is not there is left out.

        :raises HarnessError: no apt, no mirror, no network, or a full disk.
        """
        said = self.ask()
        names = self._apt.query("pkgnames", "linux-source-").split()
        if not names:
            raise HarnessError(f"no kernel source package was found ({tools.complaint(said)})")
        return sorted({package for name in names for package, _ in self.versions(name)}, key=str)

    def ask(self) -> str:
        """Fetch the lists of all suites; returns what apt says.

        :raises HarnessError: no apt, no mirror, no network, or a full disk.
        """
        tools.require([("apt-get", "apt"), ("dpkg", "dpkg")], "finding kernel sources")
        # apt tries for minutes to write to a full disk.
        cache.require_space(cache.directory(), _LISTS_MEGABYTES, "fetching package lists")
        debian = mirror.find()
        self._say("asking the Debian archive for its kernel packages")
        said = self._apt.update(debian, SUITES, "none")
        codenames = {suite: self._apt.codename(suite) for suite in SUITES}
        # A mirror that is filled on demand may serve an alias long out of date, so the lists come
        # from the directories that the aliases stand for.
        there = [name for name in codenames.values() if name]
        if not there:
            raise HarnessError(
                f"no package lists could be fetched ({tools.complaint(said)}): "
                "see whether this machine reaches its Debian mirror"
            )
        if missing := [suite for suite, name in codenames.items() if not name]:
            self._say(f"left out, since the archive does not give them: {', '.join(missing)}")
        return self._apt.update(debian, there, "Packages")

    def versions(self, name: str) -> list[tuple[Package, str]]:
        """Every version of a package, with the codename of the suite that has it."""
        rows = [line.split("|") for line in self._apt.query("madison", name).splitlines()]
        return [
            (Package(row[0].strip(), row[1].strip()), row[2].split()[1].partition("/")[0])
            for row in rows
            if row[2].split()[-1] == "Packages"
        ]

    def needs(self, package: Package) -> list[Package]:
        """The packages that it depends on in exactly its own version."""
        described = self._apt.query("show", f"{package.name}={package.version}")
        found = re.search(r"^Depends: (.*)$", described, re.MULTILINE)
        exact = re.findall(r"([\w.+-]+) \(= ([^)]+)\)", found[1] if found else "")
        return [Package(*each) for each in exact if each[1] == package.version]

    def fetch(self, package: Package, into: Path) -> Path:
        """Download the package's .deb into a directory; apt checks it against the signed lists.

        :raises HarnessError: it can not be had whole.
        """
        exact = f"{package.name}={package.version}"
        described = self._apt.query("show", exact)
        size = int(next(iter(re.findall(r"^Size: (\d+)$", described, re.MULTILINE)), "0"))
        doing = f"fetching {package} ({size // 10**6} MB)"
        with progress.bar(doing, size, self._say, unit="bytes") as advanced:
            self._apt.download(exact, into, doing, lambda: advanced(_bytes(into)))
        found = list(into.glob("*.deb"))
        if len(found) != 1:
            raise HarnessError(f"{doing}: apt-get left no package in {into}: try again")
        return found[0]


def _bytes(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # apt renames what it has finished
            total += path.stat().st_size
    return total
