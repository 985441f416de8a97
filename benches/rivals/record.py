"""The tables: on the terminal, and in `benches/record` with the machine's card."""

import datetime
import json
import os
import platform
import re
import subprocess

from judge import best, ratio
from peers import PEERS

KINDS = {peer.name: peer.kind for peer in PEERS}


def said(*command):
    """The first line that a command prints, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.strip().splitlines()[0] if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired, IndexError):
        return ""


def cpu():
    """The processor's name, with what tells generations apart."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            text = file.read()
        field = lambda name: re.search(rf"^{name}\s*:\s*(.*)$", text, re.M).group(1)
        flags = field("flags").split()
        simd = [name for name in ("avx2", "avx512f") if name in flags]
        return (f"{field('model name')} (family {field('cpu family')}, model {field('model')}; "
                f"{', '.join(simd) or 'no AVX'})")
    except (OSError, AttributeError):
        return (said("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
                or platform.machine())


def card(root):
    """What a figure depends on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    of_engine = ["--", "core", "sql"]
    changed = said("git", "-C", root, "status", "--porcelain", *of_engine)
    commit = said("git", "-C", root, "rev-parse", "--short=12", "HEAD") or "unknown"
    engine = said("git", "-C", root, "log", "-1", "--format=%h", "--abbrev=12", *of_engine)
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "rustc": said("rustc", "--version"),
        "commit": commit,
        # The last one that changed what is measured.
        "engine": (engine or "unknown") + (" with changes" if changed else ""),
        "python": platform.python_version(),
    }


def name_of(card):
    """A day, a machine and an engine: a record of another engine is another file."""
    model = card["cpu"].split("(")[0].strip().lower()
    words = f"{model} {card['engine'].replace(' with changes', '+')[:7]}"
    return f"{card['date']}-{re.sub('[^a-z0-9]+', '-', words).strip('-')}"


def millions(line):
    """Million rows in a second, to three digits."""
    rate = line and line.get("rows_per_second")
    if not rate:
        return "–"
    rate /= 1e6
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


def times(value):
    if value is None:
        return "–"
    return f"{value:.0f} ×" if value >= 20 else f"{value:.1f} ×"


def grid(header, rows):
    """A table that reads well as it is and as Markdown."""
    cells = [header, *rows]
    widths = [max(len(str(row[place])) for row in cells) for place in range(len(header))]

    def line(row):
        return "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def summary(lines, bandwidth, threads):
    """One row for each workload: ours, the best peers, ratios, the physical limit."""
    rows = []
    for workload in dict.fromkeys(line["workload"] for line in lines):
        of = [line for line in lines if line["workload"] == workload]
        ours = {line["threads"]: line for line in of if line["engine"] == "windrow"}
        mine, single = ours.get(threads, {}), ours.get(1, {})
        peers = [line for line in of
                 if line["engine"] != "windrow" and line["threads"] == threads]
        batch, stream = (best([line for line in peers if KINDS.get(line["engine"]) == kind])
                         for kind in ("batch", "stream"))
        speed = mine.get("rows_per_second")
        share = "–"
        if speed and mine.get("bytes"):
            read = speed * mine["bytes"] / mine["rows"]
            share = f"{read / 1e9:.3g} GB/s"
            if bandwidth.get(str(threads)):
                share += f", {100 * read / bandwidth[str(threads)]:.0f} %"
        scale = "–"
        if threads > 1 and speed and single.get("rows_per_second"):
            scale = times(speed / single["rows_per_second"])
        rows.append([
            workload,
            mine.get("failed") or millions(mine),
            millions(single),
            scale,
            f"{batch['engine']} {millions(batch)}" if batch else "–",
            times(ratio(mine, batch)) if batch else "–",
            f"{stream['engine']} {millions(stream)}" if stream else "–",
            times(ratio(mine, stream)) if stream else "–",
            share,
        ])
    return grid(["workload", f"Windrow, {threads} threads", "1 thread", "gain", "best batch peer",
                 "ratio", "best streaming peer", "ratio", "input read, share of memory"], rows)


def details(lines):
    """Each run: the engine, its rate, whether it gave the answer."""
    rows = []
    for line in lines:
        if line.get("skipped") == "not written for this peer":
            continue
        spread = "–"
        if line.get("repeats"):
            spread = f"{min(line['repeats']):.4g}–{max(line['repeats']):.4g} s"
        fate = line.get("failed") or line.get("skipped")
        if not fate:
            off = line.get("disagreement", "not compared")
            fate = "the same" if off is None else f"OTHER ANSWER: {off}"
            fate = "is compared with" if line["engine"] == "windrow" and off == "not compared" \
                else fate
        rss = line.get("rss_bytes_max")
        rows.append([
            line["workload"], line["threads"], line["engine"], line.get("version", "–"),
            f"{line['rows']:,}" if line.get("rows") else "–", millions(line), spread,
            f"{rss / 2**20:,.0f}" if rss else "–",
            fate + (f"; {line['form']}" if line.get("form") else ""),
        ])
    return grid(["workload", "threads", "engine", "version", "rows", "M rows/s",
                 "of repeats", "peak MiB", "answer; form"], rows)


def write(folder, card, bandwidth, lines, borrowed, latency, memory, threads, commands):
    """The record of a day, a machine and an engine. Gives the paths."""
    os.makedirs(folder, exist_ok=True)
    base = os.path.join(folder, name_of(card))
    whole = {"card": card, "bandwidth": bandwidth, "commands": commands, "threads": threads,
             "lines": lines, "latency": latency, "memory": memory}
    with open(base + ".json", "w", encoding="utf-8") as file:
        json.dump(whole, file, indent=1, ensure_ascii=False)
        file.write("\n")
    reads = ", ".join(f"{rate / 1e9:.1f} GB/s with {count} thread{'s' * (count != '1')}"
                      for count, rate in bandwidth.items() if count.isdigit())
    gain = bandwidth.get("compute_gain")
    gain = f" Two threads that only compute do {gain:.2f} times the work of one." if gain else ""
    parts = [
        f"# Windrow and its peers, {card['date']}",
        f"{card['cpu']}, {card['cores']} cores, {card['memory_gib']} GiB, {card['system']}; "
        f"{card['rustc']}; Python {card['python']}; commit {card['commit']}, "
        f"the engine as of {card['engine']}.\n"
        f"Memory is read at {reads or 'a rate that was not measured'}.{gain}\n\n"
        + "\n".join(f"    {command}" for command in commands),
        "Million rows a second, the median of the repeats. A ratio stands only where both gave "
        "the same answer. `benches/README.md` says what the workloads are.",
        summary(lines + borrowed, bandwidth, threads),
    ]
    if latency:
        parts.append("Milliseconds from the scheduled arrival of the reading that closes a window "
                     "to its result, HOP 60 s / 1 s by sensor with stddev, at shares of the greatest "
                     "rate; `no engine` is the filling of batches and the machine's own pauses:")
        parts.append(latency_table(latency))
    if memory:
        parts.append("State of one pane of {count, sum, min, max}:")
        parts.append(memory_table(memory))
    parts += ["## Every run", details(lines)]
    with open(base + ".md", "w", encoding="utf-8") as file:
        file.write("\n\n".join(parts) + "\n")
    return base + ".md", base + ".json"


def memory_table(memory):
    def number(line, name, digits=1):
        return f"{line[name]:.{digits}f}" if name in line else "–"

    rows = [[f"{line['keys']:,}", number(line, "pane_bytes_per_key"),
             number(line, "key_bytes_per_key"), f"{line['state_bytes_per_key']:.1f}",
             f"{line['rss_bytes_per_key']:.1f}", number(line, "rss_per_state", 2),
             f"{line['rss_bytes_max'] / 2**20:,.0f}",
             f"{line['rss_bytes_max_with_results'] / 2**20:,.0f}"] for line in memory]
    return grid(["W10: keys", "bytes a key and pane", "bytes a key without a pane",
                 "both", "resident bytes a key", "peak resident / state", "peak MiB, rows in",
                 "peak MiB, results out"], rows)


def latency_table(latency):
    """W9: what windows waited, and what the filling of batches and the machine cost."""
    def row(line, what, load):
        times = [f"{load[name]:.3g}" if load.get(name) is not None else "–"
                 for name in ("p50_ms", "p99_ms", "p99_9_ms", "max_ms")]
        return [line["threads"], f"{line['batch_rows']:,}",
                f"{line['rows_per_second_max'] / 1e6:.3g}", what,
                f"{load['rows_per_second_offered'] / 1e6:.3g}",
                f"{load['rows_per_second'] / 1e6:.3g}", f"{load['windows']:,}", *times]

    rows = []
    for line in latency:
        rows += [row(line, f"{100 * load['share']:.0f} %", load) for load in line["loads"]]
        rows.append(row(line, "no engine", line["without_engine"]))
    return grid(["W9: threads", "rows a batch", "greatest, M rows/s", "load", "offered",
                 "achieved", "windows", "p50 ms", "p99", "p99.9", "max"], rows)


def known(folder, card):
    """Lines, latency, memory and commands of earlier runs of the same day, machine and engine."""
    try:
        with open(os.path.join(folder, name_of(card) + ".json"), encoding="utf-8") as file:
            whole = json.load(file)
    except (OSError, ValueError):
        return [[], [], [], []]
    if whole.get("card", {}).get("engine") != card["engine"]:
        return [[], [], [], []]
    return [whole.get(name, []) for name in ("lines", "latency", "memory", "commands")]
