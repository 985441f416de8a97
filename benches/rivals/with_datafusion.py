"""DataFusion: Arrow batches in memory, one statement each."""

import peer

args = peer.arguments()


def version():
    import datafusion

    return datafusion.__version__


def context(args):
    from datafusion import SessionConfig, SessionContext

    return SessionContext(SessionConfig().with_target_partitions(args.threads))


def loaded(args):
    base = context(args)
    batches = peer.table(args).to_batches()
    # As many partitions as threads, or one thread would read it all.
    part = -(-len(batches) // args.threads)
    parts = [batches[first:first + part] for first in range(0, len(batches), part)]
    base.register_record_batches("readings", parts)
    return base


def job(base, query, workload, **more):
    names = peer.result_columns(workload)
    select = f"SELECT {peer.sql_answer(names)} FROM ({query})"

    def run():
        return base.sql(select).collect()

    def answer(result):
        return {name: column[0] for name, column in result[0].to_pydict().items()}

    return peer.Job(run, answer, **more)


# Of files too, whose times may have another unit.
US = "arrow_cast(arrow_cast(ts, 'Timestamp(Microsecond, None)'), 'Int64')"


def tumble(source):
    return f"""
        SELECT sensor, {US} / 10000000 AS w, count(*) AS n, avg(pm25) AS mean,
               min(pm25) AS low, max(pm25) AS high
        FROM {source} GROUP BY sensor, w"""


def panes(keyed, spread):
    key = "sensor, " if keyed else ""
    squares = ", sum(pm25 * pm25) AS s2" if spread else ""
    return f"""
        SELECT {key}{US} / 1000000 AS s, count(*) AS n, sum(pm25) AS total,
               min(pm25) AS low, max(pm25) AS high{squares}
        FROM readings GROUP BY {key}s"""


def windows(seconds, keyed, spread, first, last):
    key = "sensor, " if keyed else ""
    squares = ", sum(s2) OVER w AS s2" if spread else ""
    keys = "(SELECT DISTINCT sensor FROM panes) CROSS JOIN" if keyed else ""
    using = "USING (sensor, s)" if keyed else "USING (s)"
    partition = "PARTITION BY sensor " if keyed else ""
    spread = (", CASE WHEN n > 1 THEN sqrt(greatest(s2 - total * total / n, 0) / (n - 1)) "
              "END AS spread" if spread else "")
    return f"""
        WITH sums AS (
            SELECT {key}s, sum(n) OVER w AS n, sum(total) OVER w AS total,
                   min(low) OVER w AS low, max(high) OVER w AS high{squares}
            FROM (SELECT * FROM {keys} (SELECT value AS s
                  FROM generate_series({first}, {last + seconds - 1}))) AS grid
            LEFT JOIN panes {using}
            WINDOW w AS ({partition}ORDER BY s
                         ROWS BETWEEN {seconds - 1} PRECEDING AND CURRENT ROW))
        SELECT {key}s, n, total, total / n AS mean, low, high{spread} FROM sums WHERE n > 0"""


def hopping(seconds=60, keyed=True, spread=False):
    def prepare(args):
        base = loaded(args)
        names = peer.result_columns(args.workload)

        def run():
            batches = base.sql(panes(keyed, spread)).collect_partitioned()
            base.deregister_table("panes")
            base.register_record_batches("panes", [part for part in batches if part])
            ends = base.sql("SELECT min(s) AS a, max(s) AS b FROM panes").collect()[0].to_pydict()
            query = windows(seconds, keyed, spread, ends["a"][0], ends["b"][0])
            return base.sql(f"SELECT {peer.sql_answer(names)} FROM ({query})").collect()

        def answer(result):
            return {name: column[0] for name, column in result[0].to_pydict().items()}

        return peer.Job(run, answer, form="panes of 1 s into a table, then frames of panes")

    return prepare


def over(keyed, frame, calls=None):
    def prepare(args):
        partition = "PARTITION BY sensor " if keyed else ""
        query = f"""
            SELECT {calls or '''avg(pm25) OVER w AS mean, min(pm25) OVER w AS low,
                   max(pm25) OVER w AS high'''}
            FROM readings
            WINDOW w AS ({partition}ORDER BY ts {frame} PRECEDING AND CURRENT ROW)"""
        return job(loaded(args), query, args.workload)

    return prepare


def in_memory(query):
    return lambda args: job(loaded(args), query, args.workload)


def from_file(register):
    def prepare(args):
        import pyarrow

        base = context(args)
        schema = pyarrow.schema([("ts", pyarrow.timestamp("us")), ("sensor", pyarrow.string()),
                                 ("pm25", pyarrow.float64()), ("temp", pyarrow.float64())])
        register(base, args.path, schema)
        return job(base, tumble("readings"), args.workload)

    return prepare


def register_csv(base, path, schema):
    base.register_csv("readings", path, schema=schema, has_header=True)


def register_json(base, path, schema):
    base.register_json("readings", path, schema=schema, file_extension=".ndjson")


def register_parquet(base, path, schema):
    base.register_parquet("readings", path)


JOBS = {
    "W1": hopping(3600, keyed=False),
    "W2": hopping(),
    "W2-zipf": hopping(),
    "W2-stddev": hopping(spread=True),
    "W3": in_memory(tumble("readings")),
    "W3b": in_memory(tumble("readings")),
    "W4-range": over(False, "RANGE BETWEEN INTERVAL '60 seconds'"),
    "W4-range-key": over(True, "RANGE BETWEEN INTERVAL '60 seconds'"),
    "W4-rows": over(False, "ROWS BETWEEN 999"),
    "W4-rows-key": over(True, "ROWS BETWEEN 999"),
    "W8-ndjson": from_file(register_json),
    "W8-csv": from_file(register_csv),
    "W8-parquet-zstd": from_file(register_parquet),
    "W8-parquet-snappy": from_file(register_parquet),
}

if __name__ == "__main__":
    peer.main("datafusion", args, version, JOBS)
