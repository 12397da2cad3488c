"""How the kernel's reports of faults begin, each with the title that crash dashboards give it.

The shapes are those of lib/bug.c, kernel/panic.c, mm/kasan/report.c, kernel/locking/lockdep.c and
the other reporters, of Linux 6.1 to 7.3.
"""

import re
from dataclasses import dataclass

SYMBOL = r"[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+"


@dataclass(frozen=True)
class Rule:
    """How one kind of report begins, and what it is called."""

    pattern: re.Pattern[str]
    title: str  # {function} and the groups of the pattern are filled in
    leads: bool = False  # the oops or warning that follows within a few lines belongs to it
    locks: bool = False  # the place is where the first lock it names was, or would be, taken


def _rule(pattern: str, title: str, leads: bool = False, locks: bool = False) -> Rule:
    return Rule(re.compile(pattern), title, leads, locks)


RULES = (
    _rule(
        rf"BUG: KASAN: (?P<what>[\w-]+)(?: in (?P<at>{SYMBOL}))?",
        "KASAN: {what}{access} in {function}",
    ),
    _rule(
        rf"BUG: (?P<tool>KFENCE|KCSAN|KMSAN): (?P<what>[\w -]+?) in (?P<at>{SYMBOL})",
        "{tool}: {what} in {function}",
    ),
    _rule(
        r"BUG: (?:unable to handle )?kernel NULL pointer dereference",
        "BUG: unable to handle kernel NULL pointer dereference in {function}",
        leads=True,
    ),
    _rule(
        r"BUG: unable to handle (?:page fault|kernel paging request)",
        "BUG: unable to handle kernel paging request in {function}",
        leads=True,
    ),
    _rule(r"BUG: .*stack guard page was hit", "BUG: stack guard page was hit in {function}", True),
    _rule(r"(?:watchdog: )?BUG: soft lockup", "BUG: soft lockup in {function}"),
    _rule(r"(?:watchdog: )?(?:CPU\d+: )?Watchdog detected hard", "BUG: hard lockup in {function}"),
    _rule(
        r"BUG: (?P<what>sleeping function called from invalid context|scheduling while atomic)",
        "BUG: {what} in {function}",
    ),
    _rule(r"BUG: Bad (?P<what>page \w+|rss-counter state)", "BUG: Bad {what} in {function}"),
    _rule(r"BUG: (?P<what>(?:spin|rw)lock [\w ]+?) on CPU", "BUG: {what} in {function}"),
    _rule(r"BUG: (?P<what>using \S+ in preemptible)", "BUG: {what} code in {function}"),
    _rule(r"BUG (?P<what>\S+) \(.*?\): (?P<how>.*)", "BUG {what}: {how}"),
    _rule(r"BUG: (?P<what>.*)", "BUG: {what}", leads=True),
    _rule(r"\[ BUG: (?P<what>.*?)!? \]", "BUG: {what} in {function}", locks=True),
    _rule(r"kernel BUG at ", "kernel BUG in {function}", leads=True),
    _rule(r"PANIC: double fault", "PANIC: double fault in {function}", leads=True),
    _rule(
        r"(?:Oops: )?(?P<what>[A-Za-z][\w -]*?)(?:, .*)?: [0-9a-f]{4} (?:ilc:\d )?\[#\d+\]",
        "{what} in {function}",
        leads=True,
    ),
    _rule(
        r"page dumped because: VM_(?:BUG|WARN)_ON\w*\(.*(?:ref_count|_refcount)",
        "BUG: bad page reference in {function}",
        leads=True,
    ),
    _rule(r"list_(?:add|del) (?:corruption|double add)", "BUG: corrupted list in {function}", True),
    _rule(
        r"(?:usercopy: )?Kernel memory (?:exposure|overwrite) attempt detected",
        "BUG: bad usercopy in {function}",
        leads=True,
    ),
    _rule(r"refcount_t: ", "WARNING: refcount bug in {function}", leads=True),
    _rule(r"rcuref - imbalanced put", "WARNING: rcuref bug in {function}", leads=True),
    _rule(r"ODEBUG: \w+ [\w ]+\(active state", "WARNING: ODEBUG bug in {function}", leads=True),
    _rule(rf"WARNING: CPU: \d+ PID: \d+ at (?:\S+ )?(?P<at>{SYMBOL})", "WARNING in {function}"),
    _rule(rf"WARNING: (?:.* )?at (?P<at>{SYMBOL}).*, CPU#\d+: ", "WARNING in {function}"),
    _rule(
        r"WARNING: (?:possible \w+ (?:lock inversion|locking)|\S+-safe -> \S+-unsafe lock order)",
        "possible deadlock in {function}",
        locks=True,
    ),
    _rule(r"WARNING: inconsistent lock state", "inconsistent lock state in {function}", locks=True),
    _rule(
        r"WARNING: (?P<what>suspicious RCU usage|bad unlock balance|bad contention"
        r"|Nested lock was not taken|chain_key collision)",
        "WARNING: {what} in {function}",
    ),
    _rule(
        r"WARNING: (?P<what>held lock freed|lock held when returning to user space)",
        "WARNING: {what} in {function}",
        locks=True,
    ),
    _rule(
        r"WARNING: .* still has locks held!", "WARNING: locks still held in {function}", locks=True
    ),
    _rule(r"UBSAN: (?P<what>[\w-]+) in ", "UBSAN: {what} in {function}"),
    _rule(r"INFO: task .*:\d+ blocked.* for more than", "INFO: task hung in {function}"),
    _rule(
        r"(?:rcu: )?INFO: \S+ (?:self-)?detected (?:expedited )?stalls?\b",
        "INFO: rcu detected stall in {function}",
    ),
    _rule(r"INFO: (?P<what>trying to register non-static key)", "INFO: {what} in {function}"),
    _rule(r"(?P<what>sysfs: cannot create duplicate filename)", "{what} in {function}"),
    _rule(
        r"kobject: kobject (?:'.*' )?\(\S+\): (?P<what>tried to init an initialized object"
        r"|tried to add an uninitialized object|must have a ktype|invalid kobject pointer)",
        "kobject: {what} in {function}",
    ),
    _rule(r"kmemleak: \d+ new suspected memory leaks", "kmemleak: new suspected memory leaks"),
    _rule(r"irq \d+: (?P<what>nobody cared)", "irq: {what}"),
    _rule(r"(?P<what>iommufd: Time out waiting for iommufd object)", "{what}"),
)
PANIC = _rule(r"Kernel panic - not syncing: (?P<what>.*)", "kernel panic: {what}")
