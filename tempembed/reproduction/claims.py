"""The claims of a study, each a paired comparison of trials: the paper's (docs/design/paper.md 1.7), or those on compression.

A difference is that of the same seed (same data in the same order, same first weights) on the same resample of the queries.
"""

from tempembed.reproduction.compression import compression_claims
from tempembed.reproduction.finding import Finding, attempted
from tempembed.reproduction.prefix_claims import prefix_claims
from tempembed.reproduction.results import Results
from tempembed.reproduction.set_claims import set_claims
from tempembed.reproduction.temperature_claims import temperature_claims


def claims(results: Results) -> list[Finding]:
    """All claims of the preset's study, judged on the groups of one encoder."""
    if results.preset.study == "compression":
        tests = list(compression_claims(results))
    else:
        tests = [*temperature_claims(results), *prefix_claims(results), *set_claims(results)]
    return [attempted(key, claim, test) for key, claim, test in tests]
