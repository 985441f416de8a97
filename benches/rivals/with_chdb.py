"""chDB (ClickHouse in process): tables of the Memory engine, one statement each.

HOP is panes of a second by GROUP BY, then frames over a dense grid of panes.
"""

import peer

args = peer.arguments()


def version():
    import chdb

    return chdb.__version__


def session(args):
    from chdb import session

    base = session.Session()
    base.query(f"SET max_threads = {args.threads}")
    return base


def loaded(args):
    base = session(args)
    readings = peer.table(args)
    base.query("CREATE TABLE readings (ts DateTime64(6, 'UTC'), sensor String, pm25 Float64) "
               "ENGINE = Memory")
    base.query("INSERT INTO readings SELECT ts, sensor, pm25 FROM Python(readings)")
    return base


def job(base, query, workload, before=(), **more):
    import json

    names = peer.result_columns(workload)
    # Not `low AS low`: ClickHouse would take the alias for the column.
    select = peer.sql_answer(names).replace(" AS ", " AS _")
    text = f"SELECT {select} FROM ({query}) SETTINGS max_threads = {args.threads}"

    def run():
        for statement in before:
            base.query(statement)
        return base.query(text, "JSONEachRow").data()

    def answer(result):
        row = json.loads(result)
        return {name[1:]: (int(value) if name in ("_rows", "_n") else float(value))
                for name, value in row.items()}

    return peer.Job(run, answer, **more)


def tumble(source, ts="toUnixTimestamp64Micro(ts)"):
    return f"""
        SELECT sensor, intDiv({ts}, 10000000) AS w, count() AS n, avg(pm25) AS mean,
               min(pm25) AS low, max(pm25) AS high
        FROM {source} GROUP BY sensor, w"""


def panes(keyed, spread):
    squares = ", sum(pm25 * pm25) AS q" if spread else ""
    key = "sensor, " if keyed else ""
    return f"""
        SELECT {key}intDiv(toUnixTimestamp64Micro(ts), 1000000) AS s, toInt64(count()) AS c,
               sum(pm25) AS t, min(pm25) AS l, max(pm25) AS h{squares}
        FROM readings GROUP BY {key}s"""


def windows(seconds, keyed, spread):
    key = "sensor, " if keyed else ""
    partition = "PARTITION BY sensor " if keyed else ""
    keys = "(SELECT DISTINCT sensor FROM panes) AS k CROSS JOIN" if keyed else ""
    # Panes without readings add nothing: 0 to sums, the far ends to min and max.
    far = 1e300
    q, zero, summed, squares, spread = (
        ", q", ", 0. AS q", ", sum(q) AS q", ", sum(q) OVER v AS s2",
        ", sqrt(greatest(s2 - total * total / n, 0) / (n - 1)) AS spread",
    ) if spread else [""] * 5
    return f"""
        WITH grid AS (
            SELECT {key}s, c, t, l, h{q} FROM panes
            UNION ALL
            SELECT {key}s, toInt64(0) AS c, 0. AS t, {far} AS l, -{far} AS h{zero}
            FROM {keys} (SELECT arrayJoin(range(a, b + {seconds})) AS s
                         FROM (SELECT min(s) AS a, max(s) AS b FROM panes)) AS e),
        cells AS (
            SELECT {key}s, sum(c) AS c, sum(t) AS t, min(l) AS l, max(h) AS h{summed}
            FROM grid GROUP BY {key}s),
        sums AS (
            SELECT {key}s, sum(c) OVER v AS n, sum(t) OVER v AS total, min(l) OVER v AS low,
                   max(h) OVER v AS high{squares}
            FROM cells WINDOW v AS ({partition}ORDER BY s
                                    ROWS BETWEEN {seconds - 1} PRECEDING AND CURRENT ROW))
        SELECT {key}s, n, total, total / n AS mean, low, high{spread} FROM sums WHERE n > 0"""


def hopping(seconds=60, keyed=True, spread=False):
    def prepare(args):
        base = loaded(args)
        # What is named twice would be computed twice: panes are a table.
        made = panes(keyed, spread)
        base.query(f"CREATE TABLE panes ENGINE = Memory AS {made} LIMIT 0")
        before = ["TRUNCATE TABLE panes", f"INSERT INTO panes {made}"]
        return job(base, windows(seconds, keyed, spread), args.workload, before,
                   form="panes of 1 s into a table, then frames of panes")

    return prepare


def over(keyed, frame):
    def prepare(args):
        # A frame of RANGE wants a number to add to.
        partition = "PARTITION BY sensor " if keyed else ""
        query = f"""
            SELECT avg(pm25) OVER v AS mean, min(pm25) OVER v AS low, max(pm25) OVER v AS high
            FROM (SELECT sensor, pm25, toUnixTimestamp64Micro(ts) AS us FROM readings)
            WINDOW v AS ({partition}ORDER BY us {frame} PRECEDING AND CURRENT ROW)"""
        return job(loaded(args), query, args.workload)

    return prepare


def too_slow(args):
    raise peer.Unfit("it adds up a frame anew for each row: 1.2 million readings each time")


def percentiles(args):
    # States are merged: one of each pane of ten seconds goes into 30 windows.
    return job(loaded(args), """
        SELECT sensor, w, sum(c) AS n, quantilesDDMerge(0.01, 0.5, 0.95, 0.99)(q) AS p,
               p[1] AS p50, p[2] AS p95, p[3] AS p99
        FROM (
            SELECT sensor, intDiv(toUnixTimestamp64Micro(ts), 10000000) AS pane, count() AS c,
                   quantilesDDState(0.01, 0.5, 0.95, 0.99)(pm25) AS q
            FROM readings GROUP BY sensor, pane)
        ARRAY JOIN arrayMap(i -> pane - i, range(30)) AS w
        GROUP BY sensor, w""", args.workload, form="DDSketch states of panes of 10 s, merged")


def median(args):
    return job(loaded(args), """
        SELECT quantileExactInclusive(0.5)(pm25) OVER v AS median FROM readings
        WINDOW v AS (PARTITION BY sensor ORDER BY ts
                     ROWS BETWEEN 99 PRECEDING AND CURRENT ROW)""", args.workload)


def in_memory(query):
    return lambda args: job(loaded(args), query, args.workload)


def from_file(form, schema):
    def prepare(args):
        structure = f", '{schema}'" if schema else ""
        source = f"file('{args.path}', {form}{structure})"
        return job(session(args), tumble(source), args.workload)

    return prepare


TEXT = "ts DateTime64(6, \\'UTC\\'), sensor String, pm25 Float64, temp Float64"

JOBS = {
    "W1": hopping(3600, keyed=False),
    "W2": hopping(),
    "W2-zipf": hopping(),
    "W2-stddev": hopping(spread=True),
    "W3": in_memory(tumble("readings")),
    "W3b": in_memory(tumble("readings")),
    "W4-range": too_slow,
    "W4-range-key": over(True, "RANGE BETWEEN 60000000"),
    "W4-rows": over(False, "ROWS BETWEEN 999"),
    "W4-rows-key": over(True, "ROWS BETWEEN 999"),
    "W6": percentiles,
    "W6-median": median,
    "W8-ndjson": from_file("JSONEachRow", TEXT),
    "W8-csv": from_file("CSVWithNames", TEXT),
    "W8-parquet-zstd": from_file("Parquet", None),
    "W8-parquet-snappy": from_file("Parquet", None),
    "W8-ipc": from_file("Arrow", None),
}

if __name__ == "__main__":
    peer.main("chdb", args, version, JOBS)
