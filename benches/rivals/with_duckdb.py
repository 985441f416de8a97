"""DuckDB: native tables in memory, one statement each.

HOP is panes of a second by GROUP BY, then frames over a dense grid of panes: a key
without a reading in some second still has windows around it.
"""

import peer

args = peer.arguments()


def version():
    import duckdb

    return duckdb.__version__


def connection(args):
    import duckdb

    return duckdb.connect(config={"threads": args.threads, "preserve_insertion_order": False})


def loaded(args):
    base = connection(args)
    rows = peer.table(args)
    base.execute("CREATE TABLE readings AS SELECT * FROM rows")
    return base


def job(base, query, workload, **more):
    select = f"SELECT {peer.sql_answer(peer.result_columns(workload))} FROM ({query})"

    def run():
        return base.execute(select).fetchall()

    def answer(result):
        names = [column[0] for column in base.description]
        return {name: float(value) if isinstance(value, float) else int(value)
                for name, value in zip(names, result[0])}

    return peer.Job(run, answer, **more)


def tumble(source):
    return f"""
        SELECT sensor, epoch_us(ts) // 10000000 AS w, count(*) AS n, avg(pm25) AS mean,
               min(pm25) AS low, max(pm25) AS high
        FROM {source} GROUP BY sensor, w"""


def hop(source, seconds, keyed, spread):
    key = "sensor, " if keyed else ""
    squares = ", sum(pm25 * pm25) AS s2" if spread else ""
    spread = ", sqrt(greatest(s2 - total * total / n, 0) / (n - 1)) AS spread" if spread else ""
    windowed = ", sum(s2) OVER w AS s2" if squares else ""
    keys = "(SELECT DISTINCT sensor FROM panes)" if keyed else "(SELECT 1)"
    using = "USING (sensor, s)" if keyed else "USING (s)"
    partition = "PARTITION BY sensor " if keyed else ""
    return f"""
        WITH panes AS MATERIALIZED (
            SELECT {key}epoch_us(ts) // 1000000 AS s, count(*) AS n, sum(pm25) AS total,
                   min(pm25) AS low, max(pm25) AS high{squares}
            FROM {source} GROUP BY {key}s),
        ends AS (SELECT unnest(range(min(s), max(s) + {seconds})) AS s FROM panes),
        grid AS (SELECT * FROM {keys} CROSS JOIN ends),
        sums AS (
            SELECT {key}s, sum(n) OVER w AS n, sum(total) OVER w AS total,
                   min(low) OVER w AS low, max(high) OVER w AS high{windowed}
            FROM grid LEFT JOIN panes {using}
            WINDOW w AS ({partition}ORDER BY s ROWS {seconds - 1} PRECEDING))
        SELECT {key}s, n::BIGINT AS n, total, total / n AS mean, low, high{spread}
        FROM sums WHERE n > 0"""


def hopping(seconds=60, keyed=True, spread=False):
    def prepare(args):
        return job(loaded(args), hop("readings", seconds, keyed, spread), args.workload,
                   form="panes of 1 s, then frames of panes")

    return prepare


def over(keyed, frame):
    def prepare(args):
        partition = "PARTITION BY sensor " if keyed else ""
        query = f"""
            SELECT avg(pm25) OVER w AS mean, min(pm25) OVER w AS low, max(pm25) OVER w AS high
            FROM readings WINDOW w AS ({partition}ORDER BY ts {frame} PRECEDING)"""
        return job(loaded(args), query, args.workload)

    return prepare


def median(args):
    return job(loaded(args), """
        SELECT median(pm25) OVER (PARTITION BY sensor ORDER BY ts ROWS 99 PRECEDING) AS median
        FROM readings""", args.workload)


def percentiles(args):
    # Sketches cannot be merged here: each reading goes into all its 30 windows.
    return job(loaded(args), """
        SELECT sensor, w, count(*) AS n, approx_quantile(pm25, 0.5) AS p50,
               approx_quantile(pm25, 0.95) AS p95, approx_quantile(pm25, 0.99) AS p99
        FROM (SELECT sensor, pm25, epoch_us(ts) // 10000000 - unnest(range(30)) AS w FROM readings)
        GROUP BY sensor, w""", args.workload, form="each reading into its 30 windows")


HOT_ITEMS = """
    WITH panes AS (
        SELECT sensor, epoch_us(ts) // 2000000 AS p, count(*) AS c FROM readings GROUP BY ALL),
    items AS MATERIALIZED (
        SELECT sensor, w, sum(c)::BIGINT AS n
        FROM (SELECT sensor, c, p - unnest(range(5)) AS w FROM panes) GROUP BY sensor, w)
    SELECT sensor, w, n FROM items
    JOIN (SELECT w, max(n) AS most FROM items GROUP BY w) USING (w) WHERE n = most"""

SESSIONS = """
    WITH marked AS (
        SELECT sensor, ts, ts - lag(ts) OVER (PARTITION BY sensor ORDER BY ts)
               <= INTERVAL '10' SECOND AS goes_on FROM readings),
    numbered AS (
        SELECT sensor, count(*) FILTER (goes_on IS NOT TRUE)
               OVER (PARTITION BY sensor ORDER BY ts ROWS UNBOUNDED PRECEDING) AS s FROM marked)
    SELECT sensor, s, count(*) AS n FROM numbered GROUP BY sensor, s"""


def in_memory(query):
    return lambda args: job(loaded(args), query, args.workload)


def from_file(source):
    return lambda args: job(connection(args), tumble(source.format(args.path)), args.workload)


COLUMNS = "columns = {{ts: 'TIMESTAMP', sensor: 'VARCHAR', pm25: 'DOUBLE', temp: 'DOUBLE'}}"

JOBS = {
    "W1": hopping(3600, keyed=False),
    "W2": hopping(),
    "W2-zipf": hopping(),
    "W2-stddev": hopping(spread=True),
    "W2-3600": hopping(3600),
    "W3": in_memory(tumble("readings")),
    "W3b": in_memory(tumble("readings")),
    "W4-range": over(False, "RANGE INTERVAL '60' SECOND"),
    "W4-range-key": over(True, "RANGE INTERVAL '60' SECOND"),
    "W4-rows": over(False, "ROWS 999"),
    "W4-rows-key": over(True, "ROWS 999"),
    "W6": percentiles,
    "W6-median": median,
    "W7-q5": in_memory(HOT_ITEMS),
    "W7-q11": in_memory(SESSIONS),
    "W8-ndjson": from_file("read_json('{}', format = 'newline_delimited', " + COLUMNS + ")"),
    "W8-csv": from_file("read_csv('{}', header = true, auto_detect = false, "
                        "delim = ',', " + COLUMNS + ")"),
    "W8-parquet-zstd": from_file("read_parquet('{}')"),
    "W8-parquet-snappy": from_file("read_parquet('{}')"),
}

if __name__ == "__main__":
    peer.main("duckdb", args, version, JOBS)
