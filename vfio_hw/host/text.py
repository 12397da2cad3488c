"""Text that a device, a process or a user chose, made fit to be printed."""


def printable(text: str) -> str:
    """The text in one line, every character escaped that is not simply seen.

    Escapes a newline and what moves a terminal's cursor, hides or reorders text, and bytes that
    were no text at all: names in sysfs and of processes are anybody's to choose.
    """
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which it stays, with its tabs."""
    lines = text.split("\n")
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that "surrogateescape" kept
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
