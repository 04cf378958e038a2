"""Is the autopilot set so that it stops on our scan? Reads its parameters by MAVLink, and says what is unsafe and why.

ros2 run vit_perception check_autopilot --mavlink udpin:0.0.0.0:14550 [--write]
"""

import argparse
import sys

from .autopilot.check import check
from .autopilot.transport import FORMS
from .errors import PerceptionError


def main(argv=None):
    """Run the command. Returns 0 if all is safe, 1 on an error, 2 where something is unsafe."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mavlink", metavar="URL", required=True, help=FORMS)
    parser.add_argument("--write", action="store_true", help="set what is unsafe; says what it was before")
    args = parser.parse_args(argv)
    say = (
        (lambda name: print("\rreading {:<20}".format(name), end="", file=sys.stderr)) if sys.stderr.isatty() else None
    )
    try:
        kind, lines, sentences = check(args.mavlink, args.write, say)
    except PerceptionError as e:
        print("check_autopilot: {}".format(e), file=sys.stderr)
        return 1
    except OSError as e:
        print("check_autopilot: the line {} broke: {}".format(args.mavlink, e), file=sys.stderr)
        return 1
    print("\n".join(table(kind, lines) + sentences))
    return 0 if all(line.safe for line in lines) else 2


def table(kind, lines):
    """The lines of the report."""
    text = ["{}:".format(kind)]
    for line in lines:
        if line.value is None and line.safe:
            said = "missing: nothing to set, if this firmware has it not"
        elif line.value is None:
            said = "missing; this firmware has it not, or it did not answer"
        elif line.before is not None:
            said = "was {} and is set to {}".format(_number(line.before), _number(line.value))
        elif line.safe:
            said = "{} {}".format(_number(line.value), line.unit).strip()
        else:
            to_set = "" if line.to_set is None else ", set {}".format(_number(line.to_set))
            said = "{} {}".format(_number(line.value), line.unit).strip() + to_set + ": " + line.why
        verdict = "UNSAFE" if not line.safe else "ok" if line.value is not None else "-"
        text.append("  {:7} {:18} {}".format(verdict, line.name, said))
    return text


def _number(value):
    return "{:g}".format(value)


if __name__ == "__main__":
    sys.exit(main())
