"""This file checks what a fork of ours may be: another user only where this one is root."""

import os
import resource

import pytest

from vfio_hw.errors import KernelSplat, Unsupported
from vfio_hw.host import capability
from vfio_hw.host.forked import forked
from vfio_hw.host.limits import give_up_privileges


def test_an_ordinary_user_stays_who_he_is_and_is_no_other():
    """In a process of its own, since it is for good."""
    own = os.geteuid()
    uid = own or 1234

    def life(ready):
        if own == 0:
            os.setresuid(uid, uid, uid)
        give_up_privileges(8192)
        assert resource.getrlimit(resource.RLIMIT_MEMLOCK) == (8192, 8192)
        assert os.getresuid() == (uid, uid, uid)
        give_up_privileges(4096, uid + 1)
        ready()

    said = f"to be user {uid + 1} is not for user {uid}"
    with pytest.raises(Unsupported, match=said), forked(life):
        pass


def test_who_has_not_a_capability_is_told_what_takes_it():
    def life(ready):
        if os.geteuid() == 0:
            capability.need(capability.CAP_SYS_RESOURCE, "it")
            os.setresuid(1234, 1234, 1234)
        capability.need(capability.CAP_SYS_RESOURCE, "it")
        ready()

    with pytest.raises(Unsupported, match=r"^it takes more rights than user \d+ has"), forked(life):
        pass


def test_what_a_kernel_option_promises_stays_a_failure_in_a_fork():
    def life(ready):
        raise Unsupported("no such thing", option="CONFIG_SUCH")

    with pytest.raises(KernelSplat, match=r"CONFIG_SUCH.*no such thing"), forked(life):
        pass
