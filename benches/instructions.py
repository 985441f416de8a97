#!/usr/bin/env python3
"""Instructions for each row of the engine's inner loops, against those recorded.

    python3 benches/instructions.py             compare; exit code 1 if a loop got longer
    python3 benches/instructions.py --record    write benches/record/instructions.toml

Counts are the same on a busy machine and an idle one, so a small loss shows that no
clock would. They say nothing of caches: time is for `cargo bench`. Valgrind knows no
AVX-512; baseline and AVX2 are counted. Standard library only.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORD = os.path.join(ROOT, "benches", "record", "instructions.toml")
LEVELS = ("baseline", "avx2")
# Counting starts and ends with this function of `src/bin/instructions.rs`.
MEASURED = "instructions::measured"
TOLERATED = 0.05
# Below this a difference is one of a call, not of a loop.
TOLERATED_PER_ROW = 0.05
# Strings are hashed with a seed of the process, so that they collide more or less: the
# least of so many runs.
RUNS = 9
BUILD_S, RUN_S = 3_600, 600

HEADER = """\
# Instructions for each row, counted by `python3 benches/instructions.py --record`.
# A difference of more than 5 % is worth an explanation in the commit that records it.
"""


class Skipped(Exception):
    """It cannot be counted here; the text says why."""


def build():
    manifest = os.path.join(ROOT, "Cargo.toml")
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path",
                    manifest, "-p", "windrow-bench", "--bin", "instructions"],
                   check=True, timeout=BUILD_S)
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    return os.path.join(target, "release", "instructions")


def counted(binary, level):
    """Instructions for each row by name, at a level of SIMD."""
    runs = [counted_once(binary, level) for _ in range(RUNS)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def counted_once(binary, level):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "counts")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
             f"--toggle-collect={MEASURED}", f"--dump-after={MEASURED}", binary],
            env=os.environ | {"WINDROW_SIMD": level}, capture_output=True, text=True,
            timeout=RUN_S)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise Skipped(lines[-1] if lines else f"exit code {done.returncode}")
        counts = {}
        # The files are numbered in the order of the calls, as the names are.
        for number, line in enumerate(done.stdout.splitlines(), start=1):
            name, rows = line.split("\t")
            try:
                with open(f"{out}.{number}", encoding="utf-8") as file:
                    total = int(re.search(r"^totals: (\d+)", file.read(), re.M).group(1))
            except (OSError, AttributeError):
                raise Skipped(f"valgrind gave no count for {name}; was {MEASURED} renamed "
                              "or inlined?") from None
            counts[name] = total / int(rows)
        return counts


def read(path):
    """What was recorded: `{level: {name: instructions}}`."""
    levels, level = {}, None
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if head := re.fullmatch(r"\[(\w+)\]\s*", line):
                    level = levels.setdefault(head[1], {})
                elif (pair := re.fullmatch(r'"(.+)" = ([\d.]+)\s*', line)) and level is not None:
                    level[pair[1]] = float(pair[2])
    except OSError:
        pass
    return levels


def write(path, levels):
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    with open(path, "w", encoding="utf-8") as file:
        file.write(HEADER)
        file.write(f'rustc = "{version}"\n')
        for level, counts in levels.items():
            file.write(f"\n[{level}]\n")
            file.writelines(f'"{name}" = {count:.2f}\n' for name, count in counts.items())


def compare(recorded, counts):
    """Lines of a table, and how many loops got longer."""
    lines, longer = [], 0
    for name, count in counts.items():
        before = recorded.get(name)
        if before is None:
            lines.append(f"  {name:<40} {count:9.2f}   new")
            continue
        change = count - before
        verdict = ""
        if abs(change) > max(TOLERATED * before, TOLERATED_PER_ROW):
            verdict = "LONGER" if change > 0 else "shorter"
            longer += change > 0
        share = f"{100 * change / before:+.1f} %" if before else ""
        lines.append(f"  {name:<40} {count:9.2f} {before:9.2f} {share:>9}  {verdict}".rstrip())
    lines += [f"  {name:<40} is no longer counted" for name in recorded if name not in counts]
    return lines, longer


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed")
        return 0
    binary, recorded, levels, longer = build(), read(RECORD), {}, 0
    for level in LEVELS:
        try:
            levels[level] = counted(binary, level)
        except (Skipped, subprocess.TimeoutExpired) as error:
            print(f"{level}: skipped: {error}")
            continue
        lines, more = compare(recorded.get(level, {}), levels[level])
        longer += more
        print(f"{level}: instructions for each row, now and recorded", *lines, sep="\n")
    if args.record:
        # What could not be counted here is kept.
        write(RECORD, recorded | levels)
        print(f"wrote {os.path.relpath(RECORD, ROOT)}")
        return 0
    if longer:
        print(f"{longer} got longer by more than {100 * TOLERATED:.0f} %")
    return 1 if longer else 0


if __name__ == "__main__":
    sys.exit(main())
