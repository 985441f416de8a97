"""Pathway: a table in memory through its temporal windows."""

import peer

args = peer.arguments()


def version():
    from importlib.metadata import version

    return version("pathway")


def windowing(seconds, slide=None):
    def prepare(args):
        import pathway as pw

        frame = peer.table(args).to_pandas()
        frame["ts"] = frame["ts"].astype("int64")
        columns = peer.result_columns(args.workload)
        length = seconds * peer.SECOND_US
        window = (pw.temporal.sliding(hop=slide * peer.SECOND_US, duration=length, origin=None)
                  if slide else pw.temporal.tumbling(duration=length))

        def run():
            rows = []
            pw.internals.parse_graph.G.clear()
            table = pw.debug.table_from_pandas(frame)
            windows = table.windowby(table.ts, window=window, instance=table.sensor).reduce(
                n=pw.reducers.count(),
                total=pw.reducers.sum(pw.this.pm25),
                low=pw.reducers.min(pw.this.pm25),
                high=pw.reducers.max(pw.this.pm25),
            )

            def on_change(key, row, time, is_addition):
                rows.append((row["n"], row["total"], row["low"], row["high"], is_addition))

            pw.io.subscribe(windows, on_change=on_change)
            pw.run(monitoring_level=pw.MonitoringLevel.NONE)
            return rows

        def answer(rows):
            if not all(row[4] for row in rows):
                raise peer.Unfit("results were taken back")
            n, total, low, high, _ = zip(*rows)
            found = {"n": n, "total": total, "low": low, "high": high,
                     "mean": [row[1] / row[0] for row in rows]}
            return peer.columns_answer({name: found[name] for name in columns})

        return peer.Job(run, answer)

    return prepare


JOBS = {
    "W2": windowing(60, 1),
    "W2-zipf": windowing(60, 1),
    "W3": windowing(10),
}

if __name__ == "__main__":
    peer.main("pathway", args, version, JOBS)
