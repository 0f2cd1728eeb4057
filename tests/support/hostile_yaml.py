"""Seeded hostile experiments: a sound one into which attacks are put, or no experiment at all."""

from __future__ import annotations

import random

from experiment_files import GOOD

PLANTED = "planted"
"""The file that each of the attacks would leave in the current folder if any of it were run."""

_RUN = f"import pathlib; pathlib.Path('{PLANTED}').touch()"

TAGS = [
    f'!!python/object/apply:os.system ["touch {PLANTED}"]',
    f"!!python/object/apply:subprocess.check_call [[touch, {PLANTED}]]",
    f'!!python/object/new:os.system ["touch {PLANTED}"]',
    f'!!python/object/apply:builtins.exec ["{_RUN}"]',
    f"!!python/object/apply:builtins.eval [\"open('{PLANTED}', 'w')\"]",
    "!!python/name:os.system",
    "!!python/module:os",
    f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{PLANTED}]]",
    "!include /etc/passwd",
    "!ENV ${HOME}",
    "!<tag:yaml.org,2002:python/object:os.PathLike> {}",
]

GENOTYPES = [
    f"{{name: x, text: \"Genotype(normal=__import__('os').system('touch {PLANTED}'), "
    'normal_concat=[2], reduce=[], reduce_concat=[2])"}',
    f"{{name: x, text: \"open('{PLANTED}', 'w')\"}}",
    f"{{name: x, text: \"Genotype(normal=[c for c in [open('{PLANTED}', 'w')]], "
    'normal_concat=[2], reduce=[], reduce_concat=[2])"}',
    '{name: x, text: "Genotype(normal=[], normal_concat=range(0, 10**12), reduce=[], '
    'reduce_concat=range(10**12))"}',
    "{file: /etc/passwd}",
    "{file: ../../../../etc/passwd}",
    "{file: /dev/zero}",
    "{file: pipe.json}",
    "{file: /proc/self/environ}",
    "{file: 'http://192.0.2.1/cell.json'}",
    "{zoo: ../../etc/passwd}",
    "{zoo: __class__}",
]

NAMES = [
    "../up", "/etc/cron.d/x", "..", ".", "a/b", "a\\\\b", "CON:", "-rf", ".hidden", "x" * 300,
    "nul\\0", "$(touch planted)", "`touch planted`", "%2e%2e%2f", "\\u202etxt", "ä", "a b", "*",
]  # fmt: skip

NUMBERS = [
    "1e309", "-1", "0", ".nan", "-.inf", "9" * 400, "0x" + "f" * 80, "1_000_000_000_000", "true",
    "null", "[]", "{}", "''", "1e-400", "999999999999999999999",
]  # fmt: skip

KEYS = [
    "title: A title", "paper4", "cifar100", "0.25", "seed: [0, 1]", "cells: 8", "channels: 16",
    "epochs: 30", "precision: fp32", "accuracy_by_index", "weight_decay: 0", "[DARTS, SNAS]",
]  # fmt: skip


def bomb(draws: random.Random) -> str:
    """Text that costs more than it is long."""
    depth, wide = draws.randrange(8, 40), draws.randrange(2, 12)
    aliases = "\n".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * wide)}]" for i in range(depth)
    )
    many = draws.randrange(30_000, 100_000)
    return draws.choice(
        [
            aliases,
            f"{GOOD}\n{aliases}",
            "a: " + draws.choice("[{") * many,
            "[a, " * (many // 4),
            "{a: " * (many // 4),
            "- " * many,
            "? " * many,
            "a: [" + "1," * many + "]",
            "{" + "".join(f"k{i}," for i in range(many // 4)) + "}",
            "\n".join(f"{' ' * i}- a:" for i in range(300)),
            "a: &a [*a, *a]",
            "a: &a {b: *a}",
            "&a " * many,
            "!!str " * many,
            "a: " + "'" * many,
            'a: "' + "\\x41" * (many // 4),
            "a: >\n" + "\n" * many,
            "%TAG ! tag:x,2020:\n" * (many // 100) + "---\na: !b 1",
            "#" * 600_000,
        ]
    )


def hostile(seed: int) -> str:
    """An experiment that must not load, or not do any harm."""
    draws = random.Random(seed)
    kind = draws.randrange(7)
    if kind == 0:
        return bomb(draws)
    if kind == 1:
        return GOOD.replace("[DARTS, SNAS]", f"[{draws.choice(GENOTYPES)}]")
    if kind == 2:
        name = draws.choice(NAMES)
        place = draws.choice(["{accuracy: accuracy_by_index}", "[cifar10, cifar100]", "paper4"])
        return GOOD.replace(
            place, {"{": f'{{"{name}": accuracy_by_index}}'}.get(place[0], f'["{name}"]')
        )
    if kind == 3:
        key = draws.choice(KEYS)
        return GOOD.replace(
            key,
            f"{key.split(':')[0]}: {draws.choice(NUMBERS)}"
            if ":" in key
            else draws.choice(NUMBERS),
        )
    if kind == 4:
        return mutated(draws)
    if kind == 5:
        sizes = (
            "landscape: {contour: {pairs: 1001, epochs: [" + ",".join(map(str, range(30))) + "]}}"
        )
        seeds = ",".join(str(i) for i in range(draws.randrange(3000, 60_000)))
        return draws.choice([f"{GOOD}{sizes}\n", GOOD.replace("seed: [0, 1]", f"seed: [{seeds}]")])
    key = draws.choice(KEYS)
    value = draws.choice(TAGS)
    return GOOD.replace(key, f"{key.split(':')[0]}: {value}" if ":" in key else value)


def mutated(draws: random.Random) -> str:
    """The sound one with pieces doubled, swapped, cut or replaced by junk."""
    text = bytearray(GOOD.encode())
    for _ in range(draws.randrange(1, 30)):
        at = draws.randrange(len(text))
        junk = bytes(
            draws.choice(b"[]{}&*!|>%@`'\"\\:,-?#\t\n\0\xff aA1")
            for _ in range(draws.randrange(1, 6))
        )
        if draws.random() < 0.5:
            text[at : at + draws.randrange(4)] = junk
        else:
            text[at:at] = junk
    return text.decode("utf-8", errors="replace")
