"""What the times of a round must say: who had a device or a group open, and what waited for it."""

from collections.abc import Sequence

from vfio_hw.race.outcome import Call

# A removal that is woken returns in milliseconds, on a busy machine in seconds; one that is not
# woken looks again after 10 s.
PROMPT_NS = 5_000_000_000


def removal_in_time(removal: Call, *users: Sequence[Call]) -> str | None:
    """A removal returns neither before the device that was got is closed, nor long after.

    An opening that succeeded has taken a reference, which only its close drops, and the removal
    waits for the last one: had it got past that wait, the opening would have been refused. So it
    never returns before the close begins, whichever of the two began first. The close wakes it.
    Source: vfio_unregister_group_dev() in drivers/vfio/vfio_main.c.

    :param users: of each who opens the device the calls, the opening first and its close last.
    """
    free_ns = removal.start_ns
    for user in users:
        if user[0].outcome != "ok":
            continue
        early_ns = user[-1].start_ns - removal.end_ns
        if early_ns > 0:
            return f"the removal returned {early_ns / 1000:.0f} us before the device was closed"
        free_ns = max(free_ns, user[-1].end_ns)
    late_ns = removal.end_ns - free_ns
    if late_ns > PROMPT_NS:
        return f"the removal returned {late_ns / 1e9:.1f} s after it had nothing to wait for"
    return None


def one_holder(first: Sequence[Call], second: Sequence[Call]) -> str | None:
    """A group is open once at a time, and EBUSY only while another may have it open.

    Between the end of an open and the start of its close it surely is open; from the start of the
    open to the end of the close it may be.

    :param first: the open of the group and, last, its close; ``second`` is another user's.
    """
    for refused, holder in ((first[0], second), (second[0], first)):
        if refused.outcome == "EBUSY" and not (
            holder[0].start_ns <= refused.end_ns and refused.start_ns <= holder[-1].end_ns
        ):
            return "the group was busy (EBUSY) at a time when nobody else had it open"
    if (
        first[0].outcome == second[0].outcome == "ok"
        and first[0].end_ns < second[-1].start_ns
        and second[0].end_ns < first[-1].start_ns
    ):
        return "two users had the group open at the same time"
    return None
