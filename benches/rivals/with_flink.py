"""Apache Flink by PyFlink's SQL: all of it runs in the JVM, no Python in the way.

It has no source in memory that SQL can give an event time: it reads CSV, as many files as
threads, rows in turn. A job that reads them and does nothing else is timed apart and
subtracted, its start included. Event time has milliseconds; no window's edge moves by that.
"""

import os
import tempfile

import peer

args = peer.arguments()


def version():
    from importlib.metadata import version

    return version("apache-flink")


ROWS_IN_TURN = 5_000

# A row at the watermark would be late.
COLUMNS = ("ts TIMESTAMP(3), sensor {}, pm25 DOUBLE, "
           "WATERMARK FOR ts AS ts - INTERVAL '0.001' SECOND")


def written(args, folder, files):
    """The rows as CSV, dealt to so many files."""
    import pyarrow
    from pyarrow import csv

    rows = peer.table(args)
    times = rows["ts"].cast(pyarrow.timestamp("ms"), safe=False)
    rows = rows.set_column(0, "ts", times)
    options = csv.WriteOptions(include_header=False)
    for number in range(files):
        parts = [rows.slice(first, ROWS_IN_TURN)
                 for first in range(number * ROWS_IN_TURN, rows.num_rows, files * ROWS_IN_TURN)]
        if parts:
            path = os.path.join(folder, f"{number}.csv")
            csv.write_csv(pyarrow.concat_tables(parts), path, options)


def csv_columns(folder, names):
    """All rows in a folder, those of files that were never made visible too."""
    import pyarrow
    from pyarrow import csv

    paths = [os.path.join(where, file) for where, _, files in os.walk(folder) for file in files]
    options = csv.ReadOptions(column_names=names)
    parts = [csv.read_csv(path, options) for path in paths
             if os.path.getsize(path) and not path.endswith(".crc")]
    table = pyarrow.concat_tables(parts)
    return {name: table[name].to_numpy() for name in names}


def prepare_query(query, files=None):
    def prepare(args):
        from pyflink.table import EnvironmentSettings, TableEnvironment

        if not os.path.exists(args.path):
            raise peer.Unfit(f"{args.path} is missing")
        folder = tempfile.TemporaryDirectory(dir=peer.scratch(args))
        written(args, folder.name, files or args.threads)
        tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
        settings = tables.get_config()
        for key, value in {
            "parallelism.default": str(args.threads),
            "pipeline.object-reuse": "true",
            "table.local-time-zone": "UTC",
            "taskmanager.memory.managed.size": "1gb",
        }.items():
            settings.set(key, value)
        columns = COLUMNS.format("BIGINT" if args.workload.startswith("W7") else "STRING")
        tables.execute_sql(f"""
            CREATE TABLE readings ({columns}) WITH (
                'connector' = 'filesystem', 'path' = 'file://{folder.name}', 'format' = 'csv')""")
        names = peer.result_columns(args.workload)
        kinds = ", ".join(f"{name} {'BIGINT' if name == 'n' else 'DOUBLE'}" for name in names)
        tables.execute_sql(f"CREATE TABLE nothing ({kinds}) WITH ('connector' = 'blackhole')")
        tables.execute_sql(f"CREATE TABLE unread ({columns}) WITH ('connector' = 'blackhole')")
        kept = tempfile.TemporaryDirectory(dir=peer.scratch(args))
        tables.execute_sql(f"""
            CREATE TABLE kept ({kinds}) WITH ('connector' = 'filesystem',
                'path' = 'file://{kept.name}/rows', 'format' = 'csv')""")
        asked = f"SELECT {', '.join(names)} FROM ({query})"

        def run():
            tables.execute_sql(f"INSERT INTO nothing {asked}").wait()
            # Until the last run the files must be there.
            return folder, kept

        def read():
            tables.execute_sql("INSERT INTO unread SELECT * FROM readings").wait()

        def answer(_):
            tables.execute_sql(f"INSERT INTO kept {asked}").wait()
            return peer.columns_answer(csv_columns(os.path.join(kept.name, "rows"), names))

        return peer.Job(run, answer, beside=read, in_process=False,
                        form="from CSV; the time of reading alone is subtracted")

    return prepare


def window(call, spread=False, keyed=True):
    key = "sensor, " if keyed else ""
    spread = ", STDDEV_SAMP(pm25) AS spread" if spread else ""
    return f"""
        SELECT {key}window_start, window_end, COUNT(*) AS n, SUM(pm25) AS total,
               AVG(pm25) AS mean, MIN(pm25) AS low, MAX(pm25) AS high{spread}
        FROM TABLE({call}) GROUP BY {key}window_start, window_end"""


TUMBLE = "TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '10' SECOND)"
MINUTE = "HOP(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '60' SECOND)"
HOUR = "HOP(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '1' HOUR)"

# One file: rows of one millisecond keep their order.
ROWS = prepare_query("""
    SELECT AVG(pm25) OVER w AS mean, MIN(pm25) OVER w AS low, MAX(pm25) OVER w AS high
    FROM readings
    WINDOW w AS (PARTITION BY sensor ORDER BY ts ROWS BETWEEN 999 PRECEDING AND CURRENT ROW)""",
                     files=1)

ITEMS = """
    SELECT sensor, window_start, window_end, COUNT(*) AS n
    FROM TABLE(HOP(TABLE readings, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY sensor, window_start, window_end"""
HOT_ITEMS = f"""
    SELECT a.n AS n FROM ({ITEMS}) AS a
    JOIN (SELECT MAX(n) AS most, window_start, window_end FROM ({ITEMS})
          GROUP BY window_start, window_end) AS b
    ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.n = b.most"""
SESSIONS = """
    SELECT sensor, window_start, window_end, COUNT(*) AS n
    FROM TABLE(SESSION(TABLE readings PARTITION BY sensor, DESCRIPTOR(ts), INTERVAL '10' SECOND))
    GROUP BY sensor, window_start, window_end"""

JOBS = {
    "W1": prepare_query(window(HOUR, keyed=False)),
    "W2": prepare_query(window(MINUTE)),
    "W2-zipf": prepare_query(window(MINUTE)),
    "W2-stddev": prepare_query(window(MINUTE, spread=True)),
    "W3": prepare_query(window(TUMBLE)),
    "W3b": prepare_query(window(TUMBLE)),
    "W4-rows-key": ROWS,
    "W7-q5": prepare_query(HOT_ITEMS),
    "W7-q11": prepare_query(SESSIONS),
}

if __name__ == "__main__":
    peer.main("flink", args, version, JOBS)
