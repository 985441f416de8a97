#!/usr/bin/env python3
"""Windrow and its peers on the same readings, for the same answers.

    python3 benches/rivals/run.py --install --record      all of it
    python3 benches/rivals/run.py W2 W3 --peers polars    some of it

A workload's name stands for those that begin with it: W4 for W4-range, W4-rows, …
Standard library only; the peers live in environments of their own outside of the
source tree, as does the data.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import peers
import record
from judge import disagreement

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "benches", "rivals")
RECORDS = os.path.join(ROOT, "benches", "record")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                     "windrow", "rivals")

BUILD_S = 3_600
DATA_S = 1_200
BANDWIDTH_S = 120
# A shared machine's lock is given back between two runs when it was held for so long.
LOCK_HELD_S = 200

# These give the answer of another workload in another form: its peers are theirs too.
SAME_WORK = {"W2-dict": "W2", "W2-int": "W2", "W2-dict-stddev": "W2-stddev",
             "W2-int-stddev": "W2-stddev"}


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: all")
    parser.add_argument("--peers", nargs="*", metavar="PEER",
                        help="default: all that are installed; none: only Windrow")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--text-rows", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--timeout", type=int, default=300, metavar="SECONDS",
                        help="of one engine on one workload")
    parser.add_argument("--install", action="store_true", help="install or update the peers first")
    parser.add_argument("--record", action="store_true", help="write benches/record/…")
    parser.add_argument("--dir", default=os.path.join(CACHE, "data"), help="where the data lies")
    parser.add_argument("--lock", metavar="FILE",
                        help="hold this lock while timing, on a machine shared with other work")
    return parser.parse_args()


class Failed(Exception):
    """A step failed; the text says which and why."""


def run(what, command, timeout, env=None):
    """What a command printed; it and its children are ended after `timeout` seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True, env=env, errors="replace")
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed(f"{what} took longer than {timeout} s") from None
    finally:
        # Whatever it started and left behind, too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        lines = [line for line in err.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit code {process.returncode}"
        raise Failed(f"{what} failed: {reason[:300]}")
    return out


def last_json(what, text):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                return json.loads(line)
    raise Failed(f"{what} printed no line of JSON")


class Lock:
    """A lock that other work on the machine takes too; nothing if there is no file."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.since = None

    def take(self):
        if self.file and self.since is None:
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.since = time.monotonic()

    def give(self):
        if self.file and self.since is not None:
            import fcntl

            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.since = None

    def breathe(self):
        if self.since is not None and time.monotonic() - self.since > LOCK_HELD_S:
            self.give()
            time.sleep(1)
        self.take()


class Comparison:
    def __init__(self, args):
        self.args = args
        self.binary = os.path.join(
            os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"),
            "release", "workload")
        self.lock = Lock(args.lock)
        self.references = {}
        self.common = ["--dir", args.dir, "--rows", str(args.rows),
                       "--text-rows", str(args.text_rows)]

    def prepare(self):
        """Builds, writes the data that is missing, measures memory; gives the workloads."""
        print("building", flush=True)
        self.lock.take()
        run("the build", ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path",
                          os.path.join(ROOT, "Cargo.toml"), "-p", "windrow-bench",
                          "--bin", "workload"], BUILD_S)
        known = run("the list", [self.binary, "list"], 60).split() + ["W9", "W10"]
        asked = self.args.workloads or known
        chosen = dict.fromkeys(
            name for one in asked for name in known
            if name == one or name.startswith(one + "-") or name == one + "b")
        unknown = [one for one in asked if not any(name.startswith(one) for name in known)]
        if unknown or not chosen:
            raise Failed(f"there is no workload {', '.join(unknown)}; there are {', '.join(known)}")
        print("writing data that is missing", flush=True)
        run("the data", [self.binary, "data", *self.common], DATA_S)
        self.lock.breathe()
        text = run("the bandwidth", [self.binary, "bandwidth"], BANDWIDTH_S)
        return chosen, last_json("the bandwidth", text)

    def windrow(self, workload, threads, repeat, first=None):
        what = f"windrow {workload}, {threads} threads"
        line = {"engine": "windrow", "workload": workload, "threads": threads}
        command = [self.binary, "run", workload, *self.common, "--threads", str(threads),
                   "--repeat", str(repeat)]
        try:
            text = run(what, command + (["--first", str(first)] if first else []),
                       self.args.timeout)
            return line | last_json(what, text)
        except Failed as error:
            return line | {"failed": str(error)}

    def reference(self, workload, rows):
        """Windrow's answer over the first so many rows."""
        key = (workload, rows)
        if key not in self.references:
            line = self.windrow(workload, self.args.threads, 0, rows)
            self.references[key] = line.get("answer")
        return self.references[key]

    def peer(self, peer, workload):
        args = self.args
        what = f"{peer.name} {workload}"
        line = {"engine": peer.name, "workload": workload, "threads": args.threads}
        python = peers.python(CACHE, peer)
        if not python:
            return line | {"skipped": "not installed; --install does it"}
        command = [python, os.path.join(HERE, f"with_{peer.name}.py"), workload, *self.common,
                   "--threads", str(args.threads), "--repeat", str(args.repeat)]
        first = peer.rows_for(workload)
        if first and first < args.rows:
            command += ["--first", str(first)]
        try:
            line |= last_json(what, run(what, command, args.timeout))
        except Failed as error:
            return line | {"failed": str(error)}
        finally:
            # A peer that was ended could not tidy up.
            shutil.rmtree(os.path.join(args.dir, "scratch"), ignore_errors=True)
        if "answer" in line:
            reference = self.reference(workload, line["rows"])
            line["disagreement"] = disagreement(reference, line["answer"])
        return line

    def workload(self, workload, chosen_peers):
        """All engines, one after the other; gives their lines."""
        lines = []
        for threads in dict.fromkeys([self.args.threads, 1]):
            self.lock.breathe()
            line = self.windrow(workload, threads, self.args.repeat)
            if threads == self.args.threads and "answer" in line:
                self.references[workload, line["rows"]] = line["answer"]
            elif "answer" in line:
                reference = self.references.get((workload, line["rows"]))
                line["disagreement"] = disagreement(reference, line["answer"])
            lines.append(line)
        for peer in chosen_peers:
            self.lock.breathe()
            line = self.peer(peer, workload)
            lines.append(line)
            if line.get("failed") or line.get("disagreement"):
                print(f"  {peer.name}: {line.get('failed') or line['disagreement']}", flush=True)
        return lines

    def latency(self):
        """W9."""
        lines = []
        for threads in dict.fromkeys([self.args.threads, 1]):
            self.lock.breathe()
            what = f"W9, {threads} threads"
            try:
                lines.append(last_json(what, run(
                    what, [self.binary, "latency", "--threads", str(threads)], self.args.timeout)))
            except Failed as error:
                print(f"  {error}", flush=True)
        return lines

    def memory(self):
        """W10."""
        lines = []
        for keys in (1_000_000, 10_000_000):
            self.lock.breathe()
            what = f"W10 with {keys:,} keys"
            try:
                lines.append(last_json(what, run(what, [
                    self.binary, "memory", "--keys", str(keys), "--threads",
                    str(self.args.threads)], self.args.timeout)))
            except Failed as error:
                print(f"  {error}", flush=True)
        return lines


def borrowed(lines):
    """Peers of workloads that give the answer of another one: its own lines."""
    found = []
    for workload, other in SAME_WORK.items():
        ours = [line for line in lines if line["workload"] == workload and "answer" in line]
        if not ours:
            continue
        for line in lines:
            if line["workload"] == other and line["engine"] != "windrow" and "answer" in line:
                off = line.get("disagreement", "not compared")
                if off is None and line["rows"] == ours[0]["rows"]:
                    off = disagreement(ours[0]["answer"], line["answer"])
                found.append(line | {"workload": workload, "disagreement": off})
    return found


def command_said():
    """The command without what is of this machine alone."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if skip:
            skip = False
        elif word in ("--dir", "--lock"):
            skip = True
        elif not word.startswith(("--dir=", "--lock=")):
            words.append(word)
    return " ".join(["python3", "benches/rivals/run.py", *words])


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    # An engine is ended with what called it.
    signal.signal(signal.SIGTERM, interrupted)
    args = parsed()
    names = [peer.name for peer in peers.PEERS]
    wrong = [name for name in args.peers or [] if name not in names]
    if wrong:
        raise Failed(f"there is no peer {', '.join(wrong)}; there are {', '.join(names)}")
    chosen_peers = [peer for peer in peers.PEERS if args.peers is None or peer.name in args.peers]
    if args.install:
        for peer in chosen_peers:
            reason = peers.install(CACHE, peer)
            print(f"{peer.name}: {reason or 'installed'}", flush=True)
    comparison = Comparison(args)
    workloads, bandwidth = comparison.prepare()
    card = record.card(ROOT)
    lines, latency, memory, commands = (record.known(RECORDS, card) if args.record
                                        else ([], [], [], []))
    commands = [*(one for one in commands if one != command_said()), command_said()]
    for workload in workloads:
        print(f"── {workload}", flush=True)
        if workload == "W9":
            latency = comparison.latency() or latency
            print(record.latency_table(latency), flush=True)
        elif workload == "W10":
            memory = comparison.memory() or memory
            print(record.memory_table(memory), flush=True)
        else:
            new = comparison.workload(workload, chosen_peers)
            done = {(line["engine"], line["threads"]) for line in new}
            lines = [line for line in lines if line["workload"] != workload
                     or (line["engine"], line["threads"]) not in done] + new
            print(record.details(new), flush=True)
        if args.record:
            shown = sorted(lines, key=lambda line: place(line["workload"]))
            record.write(RECORDS, card, bandwidth, shown, borrowed(shown), latency, memory,
                         args.threads, commands)
    comparison.lock.give()
    lines.sort(key=lambda line: place(line["workload"]))
    if lines:
        print("\n" + record.summary(lines + borrowed(lines), bandwidth, args.threads))
    bad = [line for line in lines if line.get("failed") or line.get("disagreement")]
    for line in bad:
        print(f"{line['workload']} {line['engine']}: {line.get('failed') or line['disagreement']}")
    return 1 if any(line["engine"] == "windrow" for line in bad) else 0


def place(workload):
    """W10 after W9, W3b after W3."""
    name, _, rest = workload.partition("-")
    digits = "".join(letter for letter in name if letter.isdigit())
    return int(digits or 0), name, rest


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
