"""Runs the judge on the catalogue of planted mistakes and clean pairs, and writes the tables of what it found.

The summary goes into the README, the whole list into docs/faults.md: python scripts/faults.py --readme README.md
"""

import argparse
import datetime
import sys
from pathlib import Path

import birdplane_keras  # noqa: F401 (before keras: it chooses the torch backend)

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "faults.md"


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 where a mistake slipped through or a clean pair was accused, 2 where a document is unusable."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="starts of each clean pair (default: 5)")
    parser.add_argument("--readme", type=Path, help="the document whose table is to be rewritten")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="where the whole list goes")
    arguments = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT / "tests"))  # where the catalogue is
    from catalogue.clean import CLEAN
    from catalogue.faults import FAULTS
    from rich.console import Console
    from rich.progress import track

    from birdplane_keras.parity import check_parity
    from birdplane_keras.parity.adapters.check import describe_environment
    from birdplane_keras.parity.tolerances import PAIR_RUNGS
    from birdplane_keras.reporting.faults import render_faults, render_summary
    from birdplane_keras.reporting.markdown import FAULTS_MARKS, replace_between

    screen = Console(stderr=True)
    found = []
    for fault in track(FAULTS, "planted mistakes", console=screen):
        content = check_parity(fault.make(0)).content()
        failed = next((check["name"] for check in content["checks"] if not check["passed"]), None)
        causes = [finding["cause"] for finding in content["diagnosis"]]
        found.append(
            {
                "name": fault.name,
                "mistake": fault.mistake,
                "expected": (fault.rung, fault.cause),
                "found": (failed, causes[0] if causes else None),
                "caught": content["verdict"] == "diverged",
            }
        )
    alarms = []
    for clean in track(CLEAN, "clean pairs", console=screen):
        for seed in range(arguments.seeds):
            report = check_parity(clean.make(seed), seed=seed)
            alarms += [f"{clean.name}, seed {seed}"] if report.verdict == "diverged" else []
    found.sort(key=lambda entry: PAIR_RUNGS.index(entry["expected"][0]))
    runs = len(CLEAN) * arguments.seeds
    environment = describe_environment(FAULTS[0].make(0))
    date = datetime.date.today().isoformat()
    summary = render_summary(found, clean=len(CLEAN), runs=runs, alarms=alarms, environment=environment, date=date)
    print(summary)
    try:
        arguments.document.write_text(render_faults(found, [clean.name for clean in CLEAN], summary))
        if arguments.readme is not None:
            text = arguments.readme.read_text()
            marked = "\n".join([FAULTS_MARKS[0], "", summary, "", FAULTS_MARKS[1]])
            arguments.readme.write_text(replace_between(text, FAULTS_MARKS, marked))
    except (OSError, ValueError) as error:
        print(f"faults.py: error: {error}", file=sys.stderr)
        return 2
    return 1 if alarms or not all(entry["caught"] for entry in found) else 0


if __name__ == "__main__":
    sys.exit(main())
