"""Reports of faults in kernel text, each with the title that crash dashboards give it.

A rule matches at the beginning of a line only: a device name before the same words makes them
ordinary text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from vfio_hw.oracle.splat_rules import PANIC, RULES, SYMBOL, Rule

_STAMP = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)?")
_FRAME = re.compile(rf"^ *(?:\[<[0-9a-f]+>\] )?({SYMBOL})|^RIP: [0-9a-f]{{4}}:({SYMBOL})")
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
    r"|device_(?:add|create|init))"
)


@dataclass(frozen=True)
class Splat:
    """One report: ``title`` without addresses and numbers, ``text`` as the kernel wrote it."""

    title: str
    text: str


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
    starts: list[tuple[int, Rule, re.Match[str]]] = []
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


def _matching(text: str, seen: bool) -> tuple[Rule, re.Match[str]] | None:
    for rule in RULES:
        if match := rule.pattern.match(text):
            return rule, match
    match = PANIC.pattern.match(text)
    if match and not (seen and _CONSEQUENCE.match(text)):
        return PANIC, match
    return None


def _follows(
    texts: list[str], start: tuple[int, Rule, re.Match[str]], index: int, rule: Rule
) -> bool:
    """The line that ``rule`` found at ``index`` is the oops or warning announced at ``start``."""
    begin, opened, _ = start
    if not opened.leads or index - begin > _LEAD or any(map(_CLOSING.match, texts[begin:index])):
        return False
    return rule.leads or _WARNING.match(texts[index]) is not None


def _explains(texts: list[str], begin: int, index: int, rule: Rule) -> bool:
    """The line is the message of the WARN() just above it: some architectures print it after."""
    return rule.leads and index - begin == 1 and _WARNING.match(texts[begin]) is not None


def _splat(texts: list[str], begin: int, rule: Rule, match: re.Match[str], limit: int) -> Splat:
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


def _title(rule: Rule, match: re.Match[str], report: list[str]) -> str:
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
        candidates += re.findall(rf", at: ({SYMBOL})", "\n".join(report))[:1]
    for index, text in enumerate(report):
        if text.strip() == "stack backtrace:":  # lockdep prints stacks of other times before it
            report = report[index:]
            break
    candidates += [frame[1] or frame[2] for frame in map(_FRAME.match, report) if frame]
    names = [re.split(r"[+.]", symbol)[0] for symbol in candidates]
    return next((name for name in names if not _SERVANT.match(name)), names[0] if names else "")


def _normal(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,16}\b|\d+", "N", text).rstrip("!. ")
