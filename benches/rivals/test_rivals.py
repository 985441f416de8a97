"""What may be said of two engines: no ratio without the same answer.

`cargo test -p windrow-tests --test rivals` runs it too.
"""

import os
import sys
import tempfile
import unittest

import peers
import record
import run
from judge import best, disagreement, ratio

ANSWER = {"rows": 2, "n": 5, "low": 0.25, "high": 4.5, "mean": 3.0, "p50": 10.0}


LOAD = {"rows_per_second_offered": 20e6, "rows_per_second": 19.9e6, "windows": 10_000,
        "p50_ms": 0.25, "p99_ms": 0.875, "p99_9_ms": 1.5, "max_ms": None}
LATENCY = {"threads": 2, "batch_rows": 8192, "rows_per_second_max": 40e6,
           "loads": [LOAD | {"share": 0.5}], "without_engine": LOAD}


def line(rate, **more):
    return {"engine": "peer", "workload": "W3", "threads": 2, "rows": 5, "rows_per_second": rate,
            "disagreement": None, **more}


class Answers(unittest.TestCase):
    def test_the_same_numbers_agree(self):
        self.assertIsNone(disagreement(ANSWER, dict(ANSWER)))

    def test_sums_agree_to_a_billionth(self):
        self.assertIsNone(disagreement(ANSWER, ANSWER | {"mean": 3.0 * (1 + 5e-10)}))
        self.assertIn("mean", disagreement(ANSWER, ANSWER | {"mean": 3.0 * (1 + 2e-9)}))

    def test_counts_and_extremes_agree_exactly(self):
        for field in ("rows", "n", "low", "high"):
            off = ANSWER | {field: ANSWER[field] * (1 + 1e-12) if field in ("low", "high")
                            else ANSWER[field] + 1}
            self.assertIn(field, disagreement(ANSWER, off))

    def test_percentiles_may_be_sketched(self):
        self.assertIsNone(disagreement(ANSWER, ANSWER | {"p50": 10.1}))
        self.assertIn("p50", disagreement(ANSWER, ANSWER | {"p50": 10.5}))

    def test_a_field_too_few_or_no_number_is_another_answer(self):
        self.assertIn("mean", disagreement(ANSWER, {k: v for k, v in ANSWER.items() if k != "mean"}))
        self.assertIn("total", disagreement(ANSWER, ANSWER | {"total": 1.0}))
        self.assertIn("mean", disagreement(ANSWER, ANSWER | {"mean": float("nan")}))
        self.assertIsNotNone(disagreement(None, ANSWER))
        self.assertIsNotNone(disagreement(ANSWER, {}))


class Ratios(unittest.TestCase):
    def test_a_ratio_is_of_rates(self):
        self.assertEqual(ratio(line(6.0), line(2.0)), 3.0)

    def test_another_answer_has_no_ratio_and_is_never_the_best(self):
        wrong = line(9.0, disagreement="n is 1, not 2")
        self.assertIsNone(ratio(line(6.0), wrong))
        self.assertEqual(best([wrong, line(2.0)]), line(2.0))
        self.assertIsNone(best([wrong]))

    def test_what_was_not_compared_has_no_ratio(self):
        unseen = line(9.0)
        del unseen["disagreement"]
        self.assertIsNone(ratio(line(6.0), unseen))
        self.assertIsNone(best([unseen]))

    def test_the_table_prints_no_ratio_of_a_wrong_answer(self):
        ours = line(6e6, engine="windrow", bytes=155.0)
        wrong = line(2e6, engine="polars", disagreement="n is 1, not 2")
        self.assertNotIn("×", record.summary([ours, wrong], {"2": 1e9}, 2))
        self.assertIn("3.0 ×", record.summary([ours, line(2e6, engine="polars")], {"2": 1e9}, 2))
        self.assertIn("OTHER ANSWER", record.details([ours, wrong]))


class Tables(unittest.TestCase):
    def test_latencies_stand_beside_what_is_not_the_engines(self):
        table = record.latency_table([LATENCY]).splitlines()
        self.assertEqual(len(table), 2 + 2)
        cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[2:]]
        self.assertEqual(cells[0], ["2", "8,192", "40", "50 %", "20", "19.9", "10,000",
                                    "0.25", "0.875", "1.5", "–"])
        self.assertEqual(cells[1][3], "no engine")

    def test_memory_that_was_measured_before_keys_stood_apart_is_shown_as_it_is(self):
        old = {"keys": 1_000_000, "state_bytes_per_key": 109.1, "rss_bytes_per_key": 90.0,
               "rss_bytes_max": 2**20, "rss_bytes_max_with_results": 2**21}
        new = old | {"pane_bytes_per_key": 50.0, "key_bytes_per_key": 59.1, "rss_per_state": 1.25}
        self.assertIn("| 109.1 ", record.memory_table([old]))
        self.assertIn("| 1.25 ", record.memory_table([old, new]))


class Records(unittest.TestCase):
    CARD = {"date": "2026-01-02", "cpu": "A CPU (family 1)", "cores": 2, "memory_gib": 4,
            "system": "Linux", "rustc": "rustc 1", "python": "3", "commit": "c", "engine": "e"}

    def test_a_record_is_completed_while_the_engine_is_the_same(self):
        lines, latency, memory = [line(2e6)], [LATENCY], []
        with tempfile.TemporaryDirectory() as folder:
            record.write(folder, self.CARD, {"2": 1e9}, lines, [], latency, memory, 2,
                         ["run.py W3"])
            self.assertEqual(sorted(os.listdir(folder)),
                             ["2026-01-02-a-cpu-e.json", "2026-01-02-a-cpu-e.md"])
            self.assertEqual(record.known(folder, self.CARD | {"commit": "d"}),
                             [lines, latency, memory, ["run.py W3"]])
            other = self.CARD | {"engine": "f"}
            self.assertEqual(record.known(folder, other), [[], [], [], []])
            record.write(folder, other, {"2": 1e9}, [], [], [], [], 2, [])
            self.assertEqual(record.known(folder, self.CARD)[0], lines)


class Runs(unittest.TestCase):
    def test_a_run_that_takes_too_long_is_ended_and_named(self):
        command = [sys.executable, "-c", "import time; time.sleep(60)"]
        with self.assertRaisesRegex(run.Failed, "the sleeper took longer than 0.2 s"):
            run.run("the sleeper", command, 0.2)

    def test_a_run_that_fails_says_its_last_words(self):
        command = [sys.executable, "-c", "raise SystemExit('out of luck')"]
        with self.assertRaisesRegex(run.Failed, "it failed: out of luck"):
            run.run("it", command, 60)

    def test_lines_around_the_answer_are_passed_over(self):
        self.assertEqual(run.last_json("it", 'noise\n{"rows": 1}\nmore noise\n'), {"rows": 1})
        with self.assertRaises(run.Failed):
            run.last_json("it", "noise\n")

    def test_a_peer_that_cannot_be_installed_says_why(self):
        with tempfile.TemporaryDirectory() as cache:
            peer = peers.Peer("nothing", (os.path.join(cache, "no", "such", "package"),))
            self.assertIn("not installed", peers.install(cache, peer))
            self.assertIsNone(peers.python(cache, peer))

    def test_a_slow_peer_gets_fewer_rows(self):
        peer = peers.Peer("slow", (), rows={"W2": 10, "W": 20})
        self.assertEqual([peer.rows_for(name) for name in ("W2-zipf", "W3")], [10, 20])
        self.assertIsNone(peers.Peer("quick", ()).rows_for("W3"))


if __name__ == "__main__":
    unittest.main()
