"""How numbers and text are written."""

from orchestrator.output.text import byte_size, duration, escape_control, fixed, signed


def test_spans_read_well():
    lengths = (0.4, 90, 600, 7200, 86400 * 3, 86400 * 800)
    shown = ["0 s", "90 s", "10 min", "2.0 h", "3.0 days", "2.2 years"]
    assert [duration(s) for s in lengths] == shown


def test_what_a_terminal_would_obey_is_written_out():
    every = "".join(map(chr, (*range(32), *range(0x7F, 0xA0), 0x200F, 0x2029, 0x202E, 0x2067)))
    shown = escape_control(f"a{every}b")
    assert shown.replace("\t", "").replace("\n", "").isprintable()
    assert shown.startswith("a\\x00")
    assert escape_control("ä 日本 \\x1b\t\n") == "ä 日本 \\x1b\t\n"


def test_byte_sizes_have_a_unit():
    sizes = (0, 999, 1000, 2_500_000, 999_960, 10**16)
    shown = ["0 bytes", "999 bytes", "1.0 kB", "2.5 MB", "1.0 MB", "10000.0 TB"]
    assert [byte_size(count) for count in sizes] == shown


def test_numbers_are_as_the_paper_prints_them():
    numbers = (1.005, -0.004, -2.0, 3.25, None, float("nan"))
    assert [fixed(n) for n in numbers] == ["1.00", "−0.00", "−2.00", "3.25", "–", "–"]
    assert [signed(n) for n in numbers] == ["+1.00", "0.00", "−2.00", "+3.25", "–", "–"]
