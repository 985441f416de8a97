"""What the scripts of all peers share: arguments, files, timing, the line of JSON.

A peer gives, for each workload that it can run, a function that prepares it: data into
memory, whatever is not timed. That gives a `Job`: `run` is timed and returns the
result in hand; `answer` makes the numbers of it that must agree with Windrow's.
"""

import argparse
import json
import os
import resource
import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable

SECOND_US = 1_000_000
FIRST_S = 1_735_689_600
# Slow peers are not repeated beyond this.
REPEATS_S = 20

# Workload -> the set of readings; as in `workload/catalog.rs`.
SETS = {"W1": "slow", "W2-zipf": "zipf", "W3b": "wide", "W5": "disorder", "W6": "zipf", "W7-q5": "bids",
        "W7-q11": "bids"}
FORMS = {
    "W8-ndjson": "ndjson",
    "W8-csv": "csv",
    "W8-parquet-zstd": "zstd.parquet",
    "W8-parquet-snappy": "snappy.parquet",
    "W8-ipc": "arrow",
    "W8-ipc-hop": "arrow",
}


@dataclass
class Job:
    run: Callable[[], Any]
    answer: Callable[[Any], dict]
    # What is not said by the query: `panes by hand, then …`.
    form: str = ""
    # Timed apart; its median is subtracted.
    beside: Callable[[], Any] | None = None
    # Whether the memory of this process is the engine's.
    in_process: bool = True


class Unfit(Exception):
    """The peer cannot run this workload; the text says why."""


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--text-rows", type=int, default=2_000_000)
    parser.add_argument("--first", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    name = SETS.get(args.workload, "uniform")
    form = FORMS.get(args.workload, "arrow")
    stored = args.text_rows if form in ("csv", "ndjson") else args.rows * (2 if name == "slow" else 1)
    args.path = os.path.join(args.dir, f"{name}-{stored}.{form}")
    # Files are read whole.
    in_file = args.workload in FORMS
    args.count = stored if in_file or not args.first else min(args.first, stored)
    # Before the engine is imported: some read it only then.
    for variable in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
                     "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS",
                     "PATHWAY_THREADS"):
        os.environ[variable] = str(args.threads)
    return args


def table(args, columns=("ts", "sensor", "pm25")):
    """The first rows of the file as a pyarrow table in memory."""
    import pyarrow
    from pyarrow import ipc

    # Not mapped: the bytes are in memory, whatever the page cache holds.
    with pyarrow.OSFile(args.path) as file:
        reader = ipc.open_file(file, options=ipc.IpcReadOptions(included_fields=[
            ["ts", "sensor", "pm25", "temp"].index(column) for column in columns]))
        batches, left = [], args.count
        for index in range(reader.num_record_batches):
            if left == 0:
                break
            batch = reader.get_batch(index)
            batch = batch.slice(0, min(left, batch.num_rows))
            left -= batch.num_rows
            batches.append(batch)
    rows = pyarrow.Table.from_batches(batches)
    if args.workload.startswith("W7"):
        # Items and bidders are numbers.
        from pyarrow import compute

        numbers = compute.utf8_slice_codeunits(rows["sensor"], len("sensor-")).cast("int64")
        rows = rows.set_column(1, "sensor", numbers)
    return rows


def scratch(args):
    """A folder for what a run leaves behind; `run.py` empties it."""
    folder = os.path.join(args.dir, "scratch")
    os.makedirs(folder, exist_ok=True)
    return folder


def columns_answer(columns):
    """The answer of result columns that numpy can take: `{"n": …, "low": …}`."""
    import numpy

    answer = {"rows": len(next(iter(columns.values())))}
    for name, column in columns.items():
        values = numpy.asarray(column)
        if name == "n":
            answer["n"] = int(values.sum())
        elif name in ("low", "high"):
            answer[name] = float(values.min() if name == "low" else values.max())
            answer[name + "s"] = float(values.sum())
        else:
            answer[name] = float(values.sum())
    return answer


def sql_answer(columns):
    """The select list that makes the same numbers of a query's result, in SQL."""
    parts = ["count(*) AS rows"]
    for name in columns:
        if name == "n":
            parts.append("sum(n) AS n")
        elif name in ("low", "high"):
            best = "min" if name == "low" else "max"
            parts.append(f"{best}({name}) AS {name}, sum({name}) AS {name}s")
        else:
            parts.append(f"sum({name}) AS {name}")
    return ", ".join(parts)


def result_columns(workload):
    """The columns of the workload's result that are compared."""
    if workload == "W6":
        return ["n", "p50", "p95", "p99"]
    if workload == "W6-median":
        return ["median"]
    if workload.startswith("W7"):
        return ["n"]
    if workload.startswith("W4"):
        return ["mean", "low", "high"]
    columns = ["n", "mean", "low", "high"]
    if workload.startswith(("W2", "W5")) or workload == "W8-ipc-hop":
        columns.insert(1, "total")
    if workload.endswith("stddev"):
        columns.append("spread")
    return columns


def timed(work):
    """Seconds, and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measured(args, job):
    """What is said of a job: its answer, then its times."""
    first, result = timed(job.run)
    line = {"answer": job.answer(result), "form": job.form}
    del result
    repeats = max(1, min(args.repeat, int(REPEATS_S / first)))
    seconds = [timed(job.run)[0] for _ in range(repeats)]
    if job.beside:
        job.beside()
        apart = statistics.median(timed(job.beside)[0] for _ in range(min(3, repeats)))
        if apart >= min(seconds):
            raise Unfit(f"{min(seconds):.2f} s is no more than what is subtracted")
        seconds = [each - apart for each in seconds]
        line["subtracted"] = apart
    if job.in_process:
        line["rss_bytes_max"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    median = statistics.median(seconds)
    return line | {
        "rows": args.count,
        "seconds": median,
        "rows_per_second": args.count / median,
        "repeats": seconds,
    }


def main(engine, args, version, jobs):
    """Prepares, answers, times and prints; a reason if the peer cannot."""
    line = {"engine": engine, "workload": args.workload, "threads": args.threads}
    try:
        if args.workload not in jobs:
            raise Unfit("not written for this peer")
        line["version"] = version()
        line |= measured(args, jobs[args.workload](args))
    except (ImportError, Unfit) as error:
        line["skipped"] = str(error)
    print(json.dumps(line), flush=True)
