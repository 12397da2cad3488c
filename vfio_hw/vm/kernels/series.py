"""Patches in files: a diff, or mails in an mbox, as git format-patch and b4 write them."""

import email.errors
import email.header
import email.message
import mailbox
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools

_SECONDS = 60.0
_DIFF = re.compile(rb"^(?:diff --git |--- \S)", re.MULTILINE)
_NUMBER = re.compile(r"\[[^\]]*?(\d+)/\d+\]")
_REFUSED = re.compile(r"FAILED|can't find file|malformed|previously applied|No such file")


@dataclass(frozen=True)
class Patch:
    """One change."""

    title: str
    diff: bytes


def read(path: Path) -> list[Patch]:
    """The patches of a file, in the order of their numbers.

    :raises HarnessError: there is none in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HarnessError(f"the patch {path}: {error.strerror}") from error
    if content.startswith(b"From "):
        found = _of_mails(path)
    else:
        found = [Patch(path.name, content)] if _DIFF.search(content) else []
    if not found:
        raise HarnessError(f"{path} holds no patch: give a diff, or mails that have one (mbox)")
    return found


def _of_mails(path: Path) -> list[Patch]:
    numbered = []
    for place, mail in enumerate(mailbox.mbox(path)):
        title = " ".join(_subject(mail, path.name).split())
        number = _NUMBER.search(title)
        text = b"\n".join(_texts(mail))
        # A cover letter has none.
        if _DIFF.search(text):
            numbered.append((int(number[1]) if number else 0, place, Patch(title, text)))
    return [patch for *_, patch in sorted(numbered, key=lambda each: each[:2])]


def _subject(mail: email.message.Message, otherwise: str) -> str:
    """As it reads: one with a character beyond ASCII comes encoded, and so does its number."""
    raw = mail.get("Subject", otherwise)
    try:
        return str(email.header.make_header(email.header.decode_header(raw)))
    except (LookupError, UnicodeError, email.errors.HeaderParseError):
        return str(raw)


def _texts(mail: email.message.Message) -> list[bytes]:
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    payloads = (part.get_payload(decode=True) for part in parts)
    return [payload.replace(b"\r\n", b"\n") for payload in payloads if isinstance(payload, bytes)]


def apply(patches: list[Patch], source: Path) -> None:
    """Change the files of a source; what was hard-linked to them stays as it is.

    :raises HarnessError: one does not apply as it is; the source is then changed in part.
    """
    tools.require([("patch", "patch")], "applying patches")
    for patch in patches:
        done = subprocess.run(
            ["patch", "-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch"],
            cwd=source,
            env=tools.environment(),
            input=patch.diff,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
            why = next(filter(_REFUSED.search, said), said[-1] if said else "patch said nothing")
            raise HarnessError(f"'{patch.title}' does not apply to {source.name}: {why.strip()}")
