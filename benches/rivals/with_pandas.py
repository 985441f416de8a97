"""pandas: data frames in memory, the sensors as categories.

HOP is panes of a second by groupby, then numpy over a dense grid of panes. W5 is an
oracle for late rows: each is put by hand into those of its windows that were open.
"""

import peer

args = peer.arguments()


def version():
    import pandas

    return pandas.__version__


def loaded(args):
    frame = peer.table(args).to_pandas()
    frame["sensor"] = frame["sensor"].astype("category")
    return frame


def answer(names):
    return lambda columns: peer.columns_answer({name: columns[name] for name in names})


def job(args, run, **more):
    return peer.Job(run, answer(peer.result_columns(args.workload)), **more)


def tumble(args):
    frame = loaded(args)

    def run():
        window = frame["ts"].astype("int64") // 10_000_000
        groups = frame["pm25"].groupby([window.rename("w"), frame["sensor"]], observed=True)
        result = groups.agg(["size", "mean", "min", "max"])
        return result.rename(columns={"size": "n", "min": "low", "max": "high"})

    return job(args, run)


def slide(numpy, panes, seconds, combine, none):
    """Combines each pane with the `seconds - 1` before it, by doubling."""
    width = panes.shape[0] + seconds - 1
    grid = numpy.full((width, *panes.shape[1:]), none, dtype=panes.dtype)
    grid[:panes.shape[0]] = panes

    def back(values, shift):
        moved = numpy.full_like(values, none)
        moved[shift:] = values[:width - shift]
        return moved

    done, result, power, size = 0, None, grid, 1
    while size <= seconds:
        if seconds & size:
            part = power if done == 0 else back(power, done)
            result = part if result is None else combine(result, part)
            done += size
        power, size = combine(power, back(power, size)), size * 2
    return result


def pane_grid(numpy, second, key, values, keys, spread):
    """Sums of a `[seconds, keys]` grid of panes."""
    import pandas

    first = second.min()
    place = (second - first) * keys + key
    cells = (int(second.max()) - int(first) + 1) * keys
    shape = (cells // keys, keys)
    groups = pandas.Series(values).groupby(place, sort=False)
    low, high = numpy.full(cells, numpy.inf), numpy.full(cells, -numpy.inf)
    lows, highs = groups.min(), groups.max()
    low[lows.index], high[highs.index] = lows, highs
    count = numpy.bincount(place, minlength=cells)
    total = numpy.bincount(place, weights=values, minlength=cells)
    grids = [count, total, low, high]
    if spread:
        grids.append(numpy.bincount(place, weights=values * values, minlength=cells))
    return first, [grid.reshape(shape) for grid in grids]


def windows(numpy, grids, seconds):
    add = numpy.add
    ways = [(add, 0), (add, 0.0), (numpy.minimum, numpy.inf), (numpy.maximum, -numpy.inf),
            (add, 0.0)]
    return [slide(numpy, grid, seconds, *way) for grid, way in zip(grids, ways)]


def lowered(numpy, slid):
    filled = slid[0] > 0
    n, total, low, high, *squares = (grid[filled] for grid in slid)
    result = {"n": n, "total": total, "mean": total / n, "low": low, "high": high}
    if squares:
        deviation = numpy.sqrt(numpy.maximum(squares[0] - total * total / n, 0)
                               / numpy.maximum(n - 1, 1))
        result["spread"] = numpy.where(n > 1, deviation, 0.0)
    return result


def hopping(seconds=60, keyed=True, spread=False):
    def prepare(args):
        import numpy

        frame = loaded(args)
        keys = len(frame["sensor"].cat.categories) if keyed else 1

        def run():
            second = frame["ts"].to_numpy().astype("int64") // 1_000_000
            key = frame["sensor"].cat.codes.to_numpy().astype("int64") if keyed else 0
            values = frame["pm25"].to_numpy()
            _, grids = pane_grid(numpy, second, key, values, keys, spread)
            return lowered(numpy, windows(numpy, grids, seconds))

        return job(args, run, form="panes of 1 s by groupby, then numpy over a grid of panes")

    return prepare


def late(args, seconds=60, bound_us=10_000_000):
    """A row counts in those of its windows that end after the watermark before it."""
    import numpy

    frame = loaded(args)

    def run():
        us = frame["ts"].to_numpy().astype("int64")
        key = frame["sensor"].cat.codes.to_numpy().astype("int64")
        keys = len(frame["sensor"].cat.categories)
        values = frame["pm25"].to_numpy()
        before = numpy.empty_like(us)
        before[0], before[1:] = us[0], numpy.maximum.accumulate(us)[:-1]
        watermark = before - bound_us
        second = us // 1_000_000
        # Its first window ends with its own second.
        behind = (second + 1) * 1_000_000 <= watermark
        on_time = ~behind
        first, grids = pane_grid(numpy, second[on_time], key[on_time], values[on_time],
                                 keys, False)
        slid = windows(numpy, grids, seconds)
        n, total, low, high = slid
        for row in numpy.flatnonzero(behind):
            # Windows by their last second; the one of `end` closes at `end + 1`.
            opened = max(second[row], watermark[row] // 1_000_000)
            ends = slice(opened - first, second[row] + seconds - first)
            if ends.start >= ends.stop:
                continue
            one = key[row]
            n[ends, one] += 1
            total[ends, one] += values[row]
            low[ends, one] = numpy.minimum(low[ends, one], values[row])
            high[ends, one] = numpy.maximum(high[ends, one], values[row])
        return lowered(numpy, slid)

    return job(args, run, form="panes by groupby; late rows one by one")


def rolling(keyed, window, column=None):
    def prepare(args):
        frame = loaded(args)
        ranged = isinstance(window, str)
        frame = frame.set_index("ts") if ranged else frame
        more = {"window": window, "min_periods": 1} | ({"closed": "both"} if ranged else {})

        def run():
            rows = frame.groupby("sensor", observed=True)["pm25"] if keyed else frame["pm25"]
            frames = rows.rolling(**more)
            if column:
                return {column: frames.median()}
            return {"mean": frames.mean(), "low": frames.min(), "high": frames.max()}

        return job(args, run)

    return prepare


JOBS = {
    "W1": hopping(3600, keyed=False),
    "W2": hopping(),
    "W2-zipf": hopping(),
    "W2-stddev": hopping(spread=True),
    "W3": tumble,
    "W3b": tumble,
    "W4-range": rolling(False, "60s"),
    "W4-range-key": rolling(True, "60s"),
    "W4-rows": rolling(False, 1000),
    "W4-rows-key": rolling(True, 1000),
    "W5": late,
    "W6-median": rolling(True, 100, "median"),
}

if __name__ == "__main__":
    peer.main("pandas", args, version, JOBS)
