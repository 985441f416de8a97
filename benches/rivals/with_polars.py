"""Polars: data frames in memory.

HOP is panes of a second by group_by, then rolling sums and extremes over a dense grid
of panes; `rolling` by group would put each reading into all its windows.
"""

import peer

args = peer.arguments()


def version():
    import polars

    return polars.__version__


def loaded(args):
    import polars as pl

    return pl.from_arrow(peer.table(args), rechunk=True)


def answer(names):
    def make(frame):
        return peer.columns_answer({name: frame[name].to_numpy() for name in names})

    return make


def job(args, run, **more):
    return peer.Job(run, answer(peer.result_columns(args.workload)), **more)


def basics():
    import polars as pl

    value = pl.col("pm25")
    return [pl.len().cast(pl.Int64).alias("n"), value.mean().alias("mean"),
            value.min().alias("low"), value.max().alias("high")]


def step(us):
    import polars as pl

    return pl.col("ts").cast(pl.Int64) // us


def tumbling(frame):
    def run():
        return (frame.lazy().group_by("sensor", step(10_000_000).alias("w")).agg(basics())
                .collect(engine="streaming"))

    return run


def tumble(args):
    return job(args, tumbling(loaded(args)))


def tumble_file(scan):
    def prepare(args):
        import polars as pl

        return job(args, lambda: tumbling(scan(pl, args.path))())

    return prepare


def hopping(seconds=60, keyed=True, spread=False):
    def prepare(args):
        import polars as pl

        frame = loaded(args)
        value = pl.col("pm25")
        key = ["sensor"] if keyed else []
        sums = [pl.len().cast(pl.Int64).alias("n"), value.sum().alias("total"),
                value.min().alias("low"), value.max().alias("high")]
        if spread:
            sums.append((value * value).sum().alias("s2"))

        def run():
            panes = (frame.lazy().group_by(*key, step(1_000_000).alias("s")).agg(sums)
                     .collect(engine="streaming"))
            first, last = panes["s"].min(), panes["s"].max()
            grid = pl.DataFrame({"s": range(first, last + seconds)})
            if keyed:
                grid = panes.select("sensor").unique().join(grid, how="cross")
            grid = grid.join(panes, on=[*key, "s"], how="left").sort(*key, "s")

            def over(expression):
                return expression.over("sensor") if keyed else expression

            more = {"window_size": seconds, "min_samples": 1}
            windows = grid.lazy().select(
                over(pl.col("n").rolling_sum(**more)),
                over(pl.col("total").rolling_sum(**more)),
                over(pl.col("low").rolling_min(**more)),
                over(pl.col("high").rolling_max(**more)),
                *([over(pl.col("s2").rolling_sum(**more))] if spread else []),
            )
            windows = windows.filter(pl.col("n") > 0).with_columns(
                (pl.col("total") / pl.col("n")).alias("mean"))
            if spread:
                n, total = pl.col("n"), pl.col("total")
                deviation = ((pl.col("s2") - total * total / n) / (n - 1)).clip(0).sqrt()
                # One reading has none.
                windows = windows.with_columns(
                    pl.when(n > 1).then(deviation).otherwise(0.0).alias("spread"))
            return windows.collect()

        return job(args, run, form="panes of 1 s, then rolling over panes")

    return prepare


def rolling(keyed, rows=None):
    def prepare(args):
        import polars as pl

        frame = loaded(args)
        value = pl.col("pm25")
        if rows:
            more = {"window_size": rows, "min_samples": 1}
            calls = [value.rolling_mean(**more), value.rolling_min(**more),
                     value.rolling_max(**more)]
        else:
            more = {"by": "ts", "window_size": "60s", "closed": "both"}
            calls = [value.rolling_mean_by(**more), value.rolling_min_by(**more),
                     value.rolling_max_by(**more)]
        names = ["mean", "low", "high"]
        calls = [(call.over("sensor") if keyed else call).alias(name)
                 for call, name in zip(calls, names)]
        return job(args, lambda: frame.lazy().select(calls).collect())

    return prepare


def median(args):
    import polars as pl

    frame = loaded(args)
    call = pl.col("pm25").rolling_median(window_size=100, min_samples=1).over("sensor")
    return job(args, lambda: frame.lazy().select(call.alias("median")).collect())


def percentiles(args):
    import polars as pl

    frame = loaded(args)
    value = pl.col("pm25")
    calls = [pl.len().cast(pl.Int64).alias("n")] + [
        value.quantile(level, "linear").alias(name)
        for level, name in [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")]]

    def run():
        groups = frame.lazy().group_by_dynamic(
            "ts", every="10s", period="300s", offset="-290s", group_by="sensor")
        return groups.agg(calls).collect()

    return job(args, run, form="exact percentiles, group_by_dynamic")


def hot_items(args):
    import polars as pl

    frame = loaded(args)

    def run():
        panes = frame.lazy().group_by("sensor", step(2_000_000).alias("p")).agg(
            pl.len().cast(pl.Int64).alias("c"))
        places = pl.LazyFrame({"place": range(5)})
        items = (panes.join(places, how="cross")
                 .group_by("sensor", (pl.col("p") - pl.col("place")).alias("w"))
                 .agg(pl.col("c").sum().alias("n")).collect(engine="streaming"))
        most = items.group_by("w").agg(pl.col("n").max())
        return items.join(most, on=["w", "n"])

    return job(args, run, form="panes of 2 s, each into 5 windows")


def sessions(args):
    import polars as pl

    frame = loaded(args)

    def run():
        rows = frame.lazy().select("sensor", "ts").sort("sensor", "ts")
        fresh = ((pl.col("sensor") != pl.col("sensor").shift(1))
                 | (pl.col("ts") - pl.col("ts").shift(1) > pl.duration(seconds=10)))
        session = fresh.fill_null(True).cum_sum().alias("s")
        return rows.select(session).group_by("s").agg(
            pl.len().cast(pl.Int64).alias("n")).collect()

    return job(args, run, form="sorted by bidder and time")


def schema(pl):
    return {"ts": pl.String, "sensor": pl.String, "pm25": pl.Float64, "temp": pl.Float64}


def timed(pl, frame):
    return frame.with_columns(
        pl.col("ts").str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f", time_unit="us"))


JOBS = {
    "W1": hopping(3600, keyed=False),
    "W2": hopping(),
    "W2-zipf": hopping(),
    "W2-stddev": hopping(spread=True),
    "W3": tumble,
    "W3b": tumble,
    "W4-range": rolling(False),
    "W4-range-key": rolling(True),
    "W4-rows": rolling(False, 1000),
    "W4-rows-key": rolling(True, 1000),
    "W6": percentiles,
    "W6-median": median,
    "W7-q5": hot_items,
    "W7-q11": sessions,
    "W8-ndjson": tumble_file(lambda pl, path: timed(pl, pl.scan_ndjson(path, schema=schema(pl)))),
    "W8-csv": tumble_file(lambda pl, path: timed(pl, pl.scan_csv(path, schema=schema(pl)))),
    "W8-parquet-zstd": tumble_file(lambda pl, path: pl.scan_parquet(path)),
    "W8-parquet-snappy": tumble_file(lambda pl, path: pl.scan_parquet(path)),
    "W8-ipc": tumble_file(lambda pl, path: pl.scan_ipc(path)),
}

if __name__ == "__main__":
    peer.main("polars", args, version, JOBS)
