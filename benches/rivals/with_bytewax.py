"""Bytewax: a dataflow of Python functions on one worker (Python runs one at a time)."""

import datetime

import peer

args = peer.arguments()


def version():
    from importlib.metadata import version

    return version("bytewax")


UTC = datetime.timezone.utc
ALIGN = datetime.datetime(2025, 1, 1, tzinfo=UTC)
BATCH_ROWS = 1_000


def fresh():
    return [0, 0.0, float("inf"), float("-inf")]


def add(state, row):
    value = row[1]
    state[0] += 1
    state[1] += value
    if value < state[2]:
        state[2] = value
    if value > state[3]:
        state[3] = value
    return state


def merged(one, other):
    return [one[0] + other[0], one[1] + other[1], min(one[2], other[2]), max(one[3], other[3])]


def windowing(seconds, slide=None):
    def prepare(args):
        import bytewax.operators as op
        from bytewax.dataflow import Dataflow
        from bytewax.operators import windowing as win
        from bytewax.testing import TestingSink, TestingSource, run_main

        table = peer.table(args)
        times = [ALIGN + datetime.timedelta(microseconds=us - peer.FIRST_S * peer.SECOND_US)
                 for us in table["ts"].cast("int64").to_pylist()]
        rows = list(zip(table["sensor"].to_pylist(), zip(times, table["pm25"].to_pylist())))
        length = datetime.timedelta(seconds=seconds)
        windower = (win.SlidingWindower(length=length, offset=datetime.timedelta(seconds=slide),
                                        align_to=ALIGN)
                    if slide else win.TumblingWindower(length=length, align_to=ALIGN))
        # The clock on the wall does not move: the readings alone do the watermark.
        clock = win.EventClock(lambda row: row[0], datetime.timedelta(0),
                               now_getter=lambda: ALIGN)

        def run():
            out = []
            flow = Dataflow("windows")
            stream = op.input("readings", flow, TestingSource(rows, batch_size=BATCH_ROWS))
            windows = win.fold_window("fold", stream, clock, windower, fresh, add, merged)
            op.output("out", windows.down, TestingSink(out))
            run_main(flow)
            return out

        def answer(out):
            states = [state for _, (_, state) in out]
            n, total, low, high = zip(*states)
            columns = {"n": n, "total": total, "low": low, "high": high,
                       "mean": [total / n for n, total, *_ in states]}
            return peer.columns_answer(
                {name: columns[name] for name in peer.result_columns(args.workload)})

        return peer.Job(run, answer, form="one worker")

    return prepare


JOBS = {
    "W2": windowing(60, 1),
    "W2-zipf": windowing(60, 1),
    "W3": windowing(10),
}

if __name__ == "__main__":
    peer.main("bytewax", args, version, JOBS)
