"""`make test-fuzz-guided`: fuzz tests of what we parse ourselves, on inputs chosen by the branches of ours that they reach.

Hypothesis makes a case from bytes; atheris (libFuzzer) changes the bytes of cases that reached something new. It sees Python
only: it pays for our parsers, not for readers whose work is done in C. One process a target, since libFuzzer ends its own.
"""

import argparse
import importlib
import re
import subprocess
import sys
import time

PARSERS = {
    "test_spec": "codec",
    "test_objective": "objective",
    "test_terms": "objective",
    "test_settings": "objective",
    "test_search_settings": "objective",
}
"""Fuzz test -> its module in tests/fuzz; those that need no fixture."""


def main() -> None:
    """Run the targets, one after the other, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", default=list(PARSERS), help="default: all")
    parser.add_argument("--cases", type=int, default=100_000, help="of each target")
    parser.add_argument("--here", action="store_true", help="run the one target in this process")
    arguments = parser.parse_args()
    if arguments.here:
        fuzz(arguments.targets[0], arguments.cases)
    print(f"{'target':<20}{'cases':>9}{'seconds':>9}{'branches':>10}{'inputs':>8}  verdict", flush=True)
    failed = False
    for name in arguments.targets:
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.fuzz.guided", name, "--here", "--cases", str(arguments.cases)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # libFuzzer's lines: "#9000 NEW cov: 412 ft: 907 corp: 130/9Kb ..." and at the end "Done 100000 in 35 second(s)"
        grown = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)/", done.stdout)
        branches, inputs = map(int, grown[-1]) if grown else (0, 0)
        ended = re.search(r"^Done (\d+) in", done.stdout, re.MULTILINE)
        cases = int(ended.group(1)) if ended else 0
        passed = done.returncode == 0 and cases >= arguments.cases and inputs > 1
        print(
            f"{name.removeprefix('test_'):<20}{cases:>9,}{time.monotonic() - began:>9.0f}{branches:>10,}{inputs:>8,}  "
            f"{'passed' if passed else 'failed'}",
            flush=True,
        )
        if not passed:
            failed = True
            print(done.stdout[-6000:])
    sys.exit(failed)


def fuzz(name: str, cases: int) -> None:
    """One target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["tempembed"]):
        module = importlib.import_module(f"tests.fuzz.test_{PARSERS[name]}")
    target = getattr(module, name).hypothesis.fuzz_one_input
    flags = [f"-atheris_runs={cases}", "-max_len=4096", "-len_control=0", "-timeout=20", "-rss_limit_mb=4000"]
    atheris.Setup([sys.argv[0], *flags], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
