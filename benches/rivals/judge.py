"""Whether two engines gave the same answer, and what may be said of their speed."""

import math

# Whole numbers, and numbers that are in the input.
EXACT = ("rows", "n", "low", "high")
SUMS_WITHIN = 1e-9
# Approximate percentiles: each engine has its own sketch, some have none.
PERCENTILES = ("p50", "p95", "p99")
PERCENTILES_WITHIN = 0.02


def disagreement(reference, answer):
    """In which field an answer differs from the reference, as a sentence; or `None`."""
    if not reference or not answer:
        return "there is no answer"
    for field in sorted(reference.keys() | answer.keys()):
        if field not in reference or field not in answer:
            return f"{field} is not in both answers"
        expected, given = reference[field], answer[field]
        if field in EXACT:
            same = expected == given
        else:
            within = PERCENTILES_WITHIN if field in PERCENTILES else SUMS_WITHIN
            same = math.isclose(expected, given, rel_tol=within)
        if not same:
            return f"{field} is {given}, not {expected}"
    return None


def ratio(ours, theirs):
    """How many times as fast ours is; `None` unless both have a rate and one answer."""
    rates = [line.get("rows_per_second") for line in (ours, theirs)]
    if not all(rates) or theirs.get("disagreement", "not compared") is not None:
        return None
    return rates[0] / rates[1]


def best(lines):
    """The fastest of the lines whose answer agrees, or `None`."""
    fit = [line for line in lines
           if line.get("rows_per_second") and line.get("disagreement", "not compared") is None]
    return max(fit, key=lambda line: line["rows_per_second"], default=None)
