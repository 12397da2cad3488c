"""The command vfio-hw; also an interrupt while it still loads is told in one sentence."""

import sys


def main() -> int:
    """Run the command and return its exit status."""
    try:
        from vfio_hw.cli import main as command

        return command()
    except KeyboardInterrupt:
        print("vfio-hw: interrupted; nothing is left running", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
