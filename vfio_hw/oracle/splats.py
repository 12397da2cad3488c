"""Reports of faults in kernel text, each with the title that crash dashboards give it.

The shapes are those of lib/bug.c, kernel/panic.c, mm/kasan/report.c, kernel/locking/lockdep.c and
the other reporters, of Linux 6.1 to 7.3. A rule matches at the beginning of a line only: a device
name before the same words makes them ordinary text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SYMBOL = r"[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+"
_STAMP = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)?")
_FRAME = re.compile(rf"^ *(?:\[<[0-9a-f]+>\] )?({_SYMBOL})|^RIP: [0-9a-f]{{4}}:({_SYMBOL})")
_OPENING = re.compile(r"-+\[ cut here \]-+$|={20,}$")
_CLOSING = re.compile(r"---\[ end (?:trace|Kernel panic)")
_LONGEST = 120  # lines of one report
_LEAD = 12  # lines within which the oops that a leading line announces must follow

# Functions that only carry out what their caller asked for: the caller names the fault.
_SERVANT = re.compile(
    r"(?:__|_)?(?:dump_stack|show_(?:stack|regs|trace)|k[amc]san_|asan_|ubsan_|print_|check_"
    r"|report_bug|warn_|mem(?:cpy|set|move)$|refcount_|rcuref_|kref_|atomic_|instrument"
    r"|list_|hlist_|lock_|lockdep|validate_chain|mark_lock|mutex_|down_|up_|rwsem|raw_|do_raw_|spin"
    r"|queued_|native_queued|rt_mutex|might_|schedule|wait_for_|io_schedule|completion|do_wait"
    r"|debug_(?:print|check|object)|bad_page|free_(?:page|unref|froz)|kv?z?free|kmem_cache|slab_"
    r"|usercopy|copy_(?:to|from)_user|nmi_|trigger_|rcu_|asm_(?:exc|sysvec)|sysvec_|exc_|warn$"
    r"|handle_bug|static_call|srcu_|synchronize_|flush_work|preempt|irqentry|common_interrupt"
    r"|resched|sched_show|unwind|arch_stack|stack_trace|object_err|end_report|hrtimer|timer|tick|sysfs_|kobject_"
    r"|device_(?:add|create))"
)


@dataclass(frozen=True)
class Splat:
    """One report: ``title`` without addresses and numbers, ``text`` as the kernel wrote it."""

    title: str
    text: str


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    title: str  # {function} and the groups of the pattern are filled in
    leads: bool = False  # the oops or warning that follows within a few lines belongs to it
    locks: bool = False  # the place is where the first lock it names was, or would be, taken


def _rule(pattern: str, title: str, leads: bool = False, locks: bool = False) -> _Rule:
    return _Rule(re.compile(pattern), title, leads, locks)


_RULES = (
    _rule(
        rf"BUG: KASAN: (?P<what>[\w-]+)(?: in (?P<at>{_SYMBOL}))?",
        "KASAN: {what}{access} in {function}",
    ),
    _rule(
        rf"BUG: (?P<tool>KFENCE|KCSAN|KMSAN): (?P<what>[\w -]+?) in (?P<at>{_SYMBOL})",
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
    _rule(r"list_(?:add|del) (?:corruption|double add)", "BUG: corrupted list in {function}", True),
    _rule(
        r"(?:usercopy: )?Kernel memory (?:exposure|overwrite) attempt detected",
        "BUG: bad usercopy in {function}",
        leads=True,
    ),
    _rule(r"refcount_t: ", "WARNING: refcount bug in {function}", leads=True),
    _rule(r"rcuref - imbalanced put", "WARNING: rcuref bug in {function}", leads=True),
    _rule(r"ODEBUG: \w+ [\w ]+\(active state", "WARNING: ODEBUG bug in {function}", leads=True),
    _rule(rf"WARNING: CPU: \d+ PID: \d+ at (?:\S+ )?(?P<at>{_SYMBOL})", "WARNING in {function}"),
    _rule(rf"WARNING: (?:.* )?at (?P<at>{_SYMBOL}).*, CPU#\d+: ", "WARNING in {function}"),
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
        r"(?:rcu: )?INFO: \S+ (?:self-)?detected (?:expedited )?stalls? on CPU",
        "INFO: rcu detected stall in {function}",
    ),
    _rule(r"INFO: (?P<what>trying to register non-static key)", "INFO: {what} in {function}"),
    _rule(r"(?P<what>sysfs: cannot create duplicate filename)", "{what} in {function}"),
    _rule(r"(?P<what>iommufd: Time out waiting for iommufd object)", "{what}"),
)
_PANIC = _rule(r"Kernel panic - not syncing: (?P<what>.*)", "kernel panic: {what}")
_WARNING = re.compile(r"WARNING: .*\+0x")  # the line that follows the message of a WARN()
_CONSEQUENCE = re.compile(
    r".*(?:Fatal exception|panic_on_warn|warned too often|hung_task|softlockup|hard LOCKUP"
    r"|RCU Stall|Oopsed too often|kasan\.fault)"
)


def without_stamp(line: str) -> str:
    """A console line without its level, time stamp and caller."""
    return _STAMP.sub("", line.rstrip("\r\n"), count=1)


def splats(lines: Iterable[str]) -> list[Splat]:
    """Every report in these lines of a kernel log, from /dev/kmsg, dmesg or a console."""
    texts = [without_stamp(line) for line in lines]
    starts: list[tuple[int, _Rule, re.Match[str]]] = []
    for index, text in enumerate(texts):
        found = _matching(text, bool(starts))
        if found is None or (starts and _follows(texts, starts[-1], index, found[0])):
            continue
        if starts and _explains(texts, starts[-1][0], index, found[0]):
            starts[-1] = (starts[-1][0], found[0], starts[-1][2])
        else:
            starts.append((index, *found))
    ends = [start for start, _, _ in starts[1:]] + [len(texts)]
    return [_splat(texts, *start, end) for start, end in zip(starts, ends, strict=False)]


def _matching(text: str, seen: bool) -> tuple[_Rule, re.Match[str]] | None:
    for rule in _RULES:
        if match := rule.pattern.match(text):
            return rule, match
    match = _PANIC.pattern.match(text)
    if match and not (seen and _CONSEQUENCE.match(text)):
        return _PANIC, match
    return None


def _follows(
    texts: list[str], start: tuple[int, _Rule, re.Match[str]], index: int, rule: _Rule
) -> bool:
    """The line that ``rule`` found at ``index`` is the oops or warning announced at ``start``."""
    begin, opened, _ = start
    if not opened.leads or index - begin > _LEAD or any(map(_CLOSING.match, texts[begin:index])):
        return False
    return rule.leads or _WARNING.match(texts[index]) is not None


def _explains(texts: list[str], begin: int, index: int, rule: _Rule) -> bool:
    """The line is the message of the WARN() just above it: some architectures print it after."""
    return rule.leads and index - begin == 1 and _WARNING.match(texts[begin]) is not None


def _splat(texts: list[str], begin: int, rule: _Rule, match: re.Match[str], limit: int) -> Splat:
    first = begin
    for index in range(begin, max(begin - 4, -1), -1):
        if _OPENING.match(texts[index]):
            first = index
            break
    last = min(limit, begin + _LONGEST)
    for index in range(begin + 1, last):
        if _CLOSING.match(texts[index]):
            last = index + 1
            break
    report = texts[first:last]
    return Splat(_title(rule, match, report[begin - first :]), "\n".join(report))


def _title(rule: _Rule, match: re.Match[str], report: list[str]) -> str:
    groups = match.groupdict()
    access = re.match(r"(Read|Write) (?:of|at) ", report[1] if len(report) > 1 else "")
    values = {name: _normal(text or "") for name, text in groups.items()}
    function = _function(groups.get("at"), report, rule.locks)
    title = rule.title if function else rule.title.replace(" in {function}", "")
    return title.format(
        **values, access=f" {access[1]}" if access else "", function=function
    ).strip()


def _function(at: str | None, report: list[str], locks: bool) -> str:
    """The function to blame: the first of those on the stack that acted on its own behalf."""
    candidates = [at] if at else []
    if locks:
        candidates += re.findall(rf", at: ({_SYMBOL})", "\n".join(report))[:1]
    for index, text in enumerate(report):
        if text.strip() == "stack backtrace:":  # lockdep prints stacks of other times before it
            report = report[index:]
            break
    candidates += [frame[1] or frame[2] for frame in map(_FRAME.match, report) if frame]
    names = [re.split(r"[+.]", symbol)[0] for symbol in candidates]
    return next((name for name in names if not _SERVANT.match(name)), names[0] if names else "")


def _normal(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+", "N", text).rstrip("!. ")
