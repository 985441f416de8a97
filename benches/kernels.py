#!/usr/bin/env python3
"""Runs `cargo bench --bench kernel`; makes a table of kernels by levels of SIMD.

    python3 benches/kernels.py --record     writes benches/record/DATE-CPU-kernels.md

Million values a second, and whether each level beats the plain loop. Standard library
only.
"""

import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "benches", "rivals"))

import record  # noqa: E402: found by the line above

ROWS = 32 * 1024
LEVELS = ["plain", "baseline", "avx2", "avx512"]
BENCH_S = 3_600
# Less is noise.
NEAR = 0.03


def measured():
    done = subprocess.run(
        ["cargo", "bench", "--locked", "--quiet", "--manifest-path",
         os.path.join(ROOT, "Cargo.toml"), "-p", "windrow-bench", "--bench", "kernel", "--",
         "--output-format", "bencher"],
        stdout=subprocess.PIPE, text=True, timeout=BENCH_S, check=True)
    pattern = r"test kernel/(.+), (\w+) \.\.\. bench:\s+([\d,.]+) ns/iter"
    kernels = {}
    for name, level, nanoseconds in re.findall(pattern, done.stdout):
        rate = ROWS * 1e3 / float(nanoseconds.replace(",", ""))
        kernels.setdefault(name, {})[level] = rate
    return kernels


def verdict(rates):
    """What the widest level is worth, and which levels are no faster than the plain loop."""
    plain = rates.get("plain")
    levels = [level for level in LEVELS[1:] if level in rates]
    if not plain or not levels:
        return "–", "–"
    losing = [level for level in levels if rates[level] < plain * (1 - NEAR)]
    even = [level for level in levels if abs(rates[level] / plain - 1) <= NEAR]
    said = [f"{' and '.join(group)} {word}" for group, word in ((losing, "lose"), (even, "even"))
            if group]
    return f"{rates[levels[-1]] / plain:.2f} ×", "; ".join(said) or "all win"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    kernels = measured()
    if not kernels:
        sys.exit("error: the bench printed no figures")
    rows = [[name, *(f"{rates[level]:,.0f}" if level in rates else "–" for level in LEVELS),
             *verdict(rates)] for name, rates in kernels.items()]
    table = record.grid(["kernel", *LEVELS, "widest / plain", "against the plain loop"], rows)
    print(table)
    if args.record:
        card = record.card(ROOT)
        path = os.path.join(ROOT, "benches", "record", record.name_of(card) + "-kernels.md")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"# Kernels by levels of SIMD, {card['date']}\n\n"
                       f"{card['cpu']}, {card['cores']} cores, {card['system']}; {card['rustc']}; "
                       f"engine {card['engine']}.\n\n"
                       "    python3 benches/kernels.py --record\n\n"
                       f"Million values a second on one thread; {ROWS:,} values, in the second-level "
                       "cache. `plain` is the loop that one would write without the kernel, "
                       "compiled for any processor of the kind; a running sum over rows (which "
                       "rounds otherwise), two stacks over a range, a queue of candidates for the "
                       "least.\n\n" + table + "\n")
        print(f"wrote {os.path.relpath(path, ROOT)}")


if __name__ == "__main__":
    main()
