"""Finds kernel source packages in the Debian archive and fetches them, checked, uninstalled.

apt is run with a configuration of its own (apt.conf(5)), kept in the cache directory: its own
sources, lists and caches. Nothing of the system's apt is read but its mirror, keys and proxies,
and nothing is changed.
"""

import functools
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import mirror, progress, tools

# By their aliases, so that a new release of Debian changes nothing here.
SUITES = ("unstable", "stable-backports", "stable", "oldstable-backports", "oldstable")

_DOWNLOAD_SECONDS = 1800.0


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
        raise HarnessError(
            f"the archive has no kernel source package of series {series or 'X.Y'}: it has {there}"
        )
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
    """The Debian archive, seen through an apt configuration in ``<cache>/apt``."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._root = cache.directory() / "apt"
        self._configuration = self._root / "apt.conf"

    def packages(self) -> list[Package]:
        """Every linux-source package of every suite, from lists fetched now.

        A suite that is not there is left out.

        :raises HarnessError: no apt, no mirror, no network, or a full disk.
        """
        tools.require([("apt-get", "apt"), ("dpkg", "dpkg")], "finding kernel sources")
        self._configure(mirror.find())
        self._say("asking the Debian archive for its kernel source packages")
        trouble = self._update()
        lists = self._root / "lists"
        missing = [s for s in SUITES if not list(lists.glob(f"*_dists_{s}_*Release"))]
        if len(missing) == len(SUITES):
            raise HarnessError(
                f"no package lists could be fetched ({tools.complaint(trouble)}): "
                "see whether this machine reaches its Debian mirror"
            )
        if missing:
            self._say(f"the archive does without {', '.join(missing)}")
        names = self._query("pkgnames", "linux-source-").split()
        if not names:
            return []
        rows = [line.split("|") for line in self._query("madison", *names).splitlines()]
        return sorted({Package(r[0].strip(), r[1].strip()) for r in rows}, key=str)

    def fetch(self, package: Package, into: Path) -> Path:
        """Download the package's .deb into a directory; apt checks it against the signed lists.

        :raises HarnessError: it can not be had whole.
        """
        exact = f"{package.name}={package.version}"
        described = self._query("show", exact)
        size = int(next(iter(re.findall(r"^Size: (\d+)$", described, re.MULTILINE)), "0"))
        command = ["apt-get", f"-c={self._configuration}", "-q", "download", exact]
        doing = f"fetching {package} ({size // 10**6} MB)"
        with progress.bar(doing, size, self._say, unit="bytes") as advanced:
            tools.watch(
                command,
                doing,
                timeout=_DOWNLOAD_SECONDS,
                log=self._root / "download.log",
                into=into,
                glance=lambda: advanced(_bytes(into)),
            )
        found = list(into.glob("*.deb"))
        if len(found) != 1:
            raise HarnessError(f"{doing}: apt-get left no package in {into}: try again")
        return found[0]

    def _query(self, *words: str) -> str:
        command = ["apt-cache", f"-c={self._configuration}", *words]
        return tools.run(command, "reading the package lists", timeout=120)

    def _update(self) -> str:
        """Fetch the lists anew; what apt complains of. Some suites failing is no failure."""
        # With none of the old lists left, whatever is there afterwards is today's.
        shutil.rmtree(self._root / "lists", ignore_errors=True)
        (self._root / "lists" / "partial").mkdir(parents=True)
        command = f'exec apt-get -c="{self._configuration}" -q update 2>&1 || true'
        output = tools.run(["sh", "-c", command], "fetching package lists", timeout=600)
        if tools.names_full_disk(output):
            raise cache.disk_full(self._root)
        return output

    def _configure(self, found: mirror.Mirror) -> None:
        for part in ("cache/archives/partial", "state"):
            (self._root / part).mkdir(parents=True, exist_ok=True)
        (self._root / "state" / "status").touch()
        self._configuration.write_text(
            f"""\
Dir::Etc::sourcelist "{self._root}/debian.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
Dir::State "{self._root}/state";
Dir::State::lists "{self._root}/lists";
Dir::State::status "{self._root}/state/status";
Dir::Cache "{self._root}/cache";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
        )
        (self._root / "debian.sources").write_text(
            f"Types: deb\nURIs: {found.address}\nSuites: {' '.join(SUITES)}\n"
            f"Components: main\nTargets: Packages\nSigned-By: {found.signed_by}\n"
        )


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
