"""This file checks how a build is followed, and what is put into the cache of it."""

from vfio_hw.vm.kernels import build, progress


def test_steps_are_counted_once_each_as_the_log_grows(tmp_path):
    log = tmp_path / "log"
    log.write_text("  CC      a.o\n  CC    ")
    count = build._line_counter(log)
    assert (count(), count()) == (1, 1)
    with log.open("a") as file:
        file.write("  b.o\n  LD      c.o\n")
    assert count() == 3


def test_headers_are_no_measure_of_a_build(tmp_path):
    log = tmp_path / "log"
    log.write_text("  HDRINST usr/include/a.h\n  CC      a.o\n  HDRINST usr/include/b.h\n")
    assert build._line_counter(log)() == 1


def test_without_a_terminal_a_line_is_said_at_most_every_half_minute(monkeypatch):
    now, said = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with progress.bar("building", 200, said.append) as advanced:
        for second in range(95):
            now[0] = 100.0 + second
            advanced(second)
    assert said == [
        "building",
        "building: 30 of about 200 steps, 30 s",
        "building: 60 of about 200 steps, 60 s",
        "building: 90 of about 200 steps, 90 s",
    ]


def test_only_headers_are_taken_from_where_headers_are_made(tmp_path):
    (tmp_path / "linux").mkdir()
    names = ["linux", "vfio.h", "Makefile", ".install"]
    assert build._no_headers(str(tmp_path), names) == ["Makefile", ".install"]
