"""How numbers and text are written."""

import pytest

from orchestrator.output.text import byte_size, cores, duration, escape_control


def test_spans_read_well():
    lengths = (0.4, 90, 600, 7200, 86400 * 3, 86400 * 800)
    assert [duration(s) for s in lengths] == [
        "0 s",
        "90 s",
        "10 min",
        "2.0 h",
        "3.0 days",
        "2.2 years",
    ]


def test_what_a_terminal_would_obey_is_written_out():
    every = "".join(map(chr, (*range(32), *range(0x7F, 0xA0), 0x200F, 0x2029, 0x202E, 0x2067)))
    shown = escape_control(f"a{every}b")
    assert shown.replace("\t", "").replace("\n", "").isprintable()
    assert shown.startswith("a\\x00")
    assert escape_control("ä 日本 \\x1b\t\n") == "ä 日本 \\x1b\t\n"


def test_there_is_a_core():
    assert cores() >= 1


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (2_500_000, "2.5 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_byte_sizes_have_a_unit(count, shown):
    assert byte_size(count) == shown
