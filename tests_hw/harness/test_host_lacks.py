"""This file boots the machine `host` without what VFIO needs: doctor says so, bind does nothing."""

import json
import sys
from dataclasses import replace

import pytest

from tests_hw.harness.booting import run
from vfio_hw.vm.machine import Deadlines, Ending

_BOOT = 180.0  # seconds: a busy machine takes many times what an idle one does

WITHOUT_IOMMU = """
set -e
modprobe e1000e
bind() {{ {python} -m vfio_hw bind "$@" 0000:00:05.0 || echo "status $?"; }}
bind; bind --dry-run
echo "it has $(basename $(readlink /sys/bus/pci/devices/0000:00:05.0/driver))"
echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
bind
echo "it has $(basename $(readlink /sys/bus/pci/devices/0000:00:05.0/driver))"
{python} -m vfio_hw unbind 0000:00:05.0
"""


def test_a_function_that_no_iommu_guards_is_not_bound(machine, tmp_path):
    """Unless VFIO was told to do without one."""
    said = bytearray()
    guest = machine("sh", "-c", f"exec 2>&1\n{WITHOUT_IOMMU.format(python=sys.executable)}")
    ended = run(
        replace(guest, append=["intel_iommu=off"]),
        tmp_path / "out",
        deadlines=Deadlines(boot=_BOOT, whole=600.0),
        on_output=said.extend,
    )
    text = said.decode(errors="replace")
    assert (ended.ending, ended.status) == (Ending.EXITED, 0), text
    refused, _, bound = text.partition("it has e1000e")
    assert refused.count("no IOMMU guards 0000:00:05.0") == 2, text
    assert refused.count("vfio-hw doctor --here") == refused.count("status 3") == 2, text
    assert "0000:00:05.0: e1000e -> vfio-pci" in bound and "it has vfio-pci" in bound, text
    assert "0000:00:05.0 driver: 'vfio-pci' -> 'e1000e'" in bound, text


DOCTOR = f"""
{sys.executable} -m vfio_hw doctor --here --json >/tmp/doctor; echo "status $?"
cat /tmp/doctor
{sys.executable} -m vfio_hw list | tail -1
"""
WITHOUT = """
modules=/lib/modules/$(uname -r)
cp -a $modules/. /tmp/modules; rm $modules; mv /tmp/modules $modules
find $modules -name vfio-pci.ko* -delete; depmod
"""


@pytest.fixture
def doctor(machine, tmp_path):
    """Boots a machine, runs a script and doctor there; its checks by name, its verdict, list's."""

    def told(script: str, *parameters: str) -> tuple[dict[str, dict[str, str]], int, str]:
        guest = machine("sh", "-c", f"set -e; {script}\nset +e; {DOCTOR}")
        host = guest.topology
        guest = replace(
            guest,
            topology=replace(host, kernel_parameters=(*host.kernel_parameters, *parameters)),
        )
        said = bytearray()
        ended = run(
            guest,
            tmp_path / "out",
            deadlines=Deadlines(boot=_BOOT, whole=600.0),
            on_output=said.extend,
        )
        text = said.decode(errors="replace")
        assert (ended.ending, ended.status) == (Ending.EXITED, 0), f"{ended.text}\n{text}"
        first, _, rest = text[text.index("status ") :].partition("\n")
        whole, end = json.JSONDecoder().raw_decode(rest)
        assert whole["possible"]["here"] is False
        checks = {each["name"]: each for each in whole["checks"]}
        return checks, int(first.split()[1]), rest[end:].strip()

    return told


def test_doctor_says_that_the_iommu_is_off_and_what_to_do(doctor):
    checks, status, conclusion = doctor("", "intel_iommu=off")
    assert status == 3 and conclusion.startswith("none of ")
    assert checks["IOMMU"]["verdict"] == "not here"
    assert checks["IOMMU"]["reason"] == "none is in use: there is no IOMMU group"
    assert "intel_iommu=on" in checks["IOMMU"]["remedy"]
    assert checks["groups"]["reason"] == "there is none"
    assert checks["devices"]["verdict"] == "not here"
    assert "it has no IOMMU group" in checks["0000:00:04.0"]["reason"]


def test_doctor_names_the_module_that_this_kernel_has_not(doctor):
    checks, status, _ = doctor(WITHOUT)
    assert status == 3
    check = checks["module vfio-pci"]
    assert check["verdict"] == "not here" and "not in this kernel" in check["reason"]
    assert check["remedy"] == "boot one built with CONFIG_VFIO_PCI"
    assert all(checks[f"module {name}"]["verdict"] == "note" for name in ("vfio", "iommufd"))
