"""Hostile images, manifests, golden data, models and outputs: nothing may crash, hang or read out of its buffer.

    python bench/fuzz.py --cases 1000000 [--minutes M] [--seed S] [--by random|hypothesis|coverage] [--quick]

The cases run in child processes, for a crash in native code ends its process; the parent then tells the case's number
and goes on behind it. Image data lies between pages that may not be touched. `--by coverage` needs the package atheris,
`--by hypothesis` the package hypothesis. `--case NUMBER` and `--input TEXT` run one case again. The last line is one
JSON object.
"""

import argparse
import base64
import collections
import importlib.util
import json
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

HANG_S = 10.0  # one case
GROWTH_MB = 400  # by which one case may raise the peak of memory; 33 million pixels in colour take 100 MB
BLOCK = 20_000  # cases of one child
QUICK_CASES = 5_000
SLOW_S = 1.0
MAX_INPUT = 4096  # bytes of a case of the coverage-guided fuzzer


class Board:
    """What a child tells its parent, in memory that survives it: the case in work, its input, how many are done."""

    SIZE = 3 * 8 + MAX_INPUT

    def __init__(self, path):
        with open(path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), self.SIZE)

    def write(self, number, done, data=b""):
        self._map[: 24 + len(data)] = struct.pack("qqq", number, done, len(data)) + data

    def read(self):
        """(case, done)."""
        return struct.unpack("qq", self._map[:16])

    def input(self):
        """Bytes from which the case was made; b'' where its number says all."""
        return self._map[24 : 24 + struct.unpack("q", self._map[16:24])[0]]


def child(args):
    """Run cases first .. first + count; print finds as JSON lines, then a line of counts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    tell = Teller(Board(args.board), args.first)
    {"random": by_random, "hypothesis": by_hypothesis, "coverage": by_coverage}[args.by](args, tell)
    tell.end()


class Teller:
    """Counts cases and prints finds, each kind of them once."""

    def __init__(self, board, first):
        self.board, self.number, self.done, self.peak = board, first, 0, 0
        self.kinds, self.seen = collections.Counter(), set()

    def run(self, case, data=b""):
        """Run `case`, () -> (name, accepted), as the next one; its finds are told, not raised."""
        self.board.write(self.number, self.done, data)
        began = time.process_time()
        try:
            name, accepted = case()
            self.kinds[f"{name} {'accepted' if accepted else 'refused'}"] += 1
        except Exception as e:
            self.find(f"{type(e).__name__}: {str(e)[:300]}", traceback.extract_tb(e.__traceback__)[-1])
        if time.process_time() - began > SLOW_S and self.done:  # the first one imports
            self.find(f"slow: {time.process_time() - began:.1f} s of CPU", None)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        if peak > self.peak + GROWTH_MB and self.done:
            self.find(f"memory: {peak - self.peak} MB", None)
        self.peak = max(self.peak, peak)
        self.number, self.done = self.number + 1, self.done + 1
        self.board.write(self.number, self.done, data)

    def find(self, what, where):
        place = f"{where.filename}:{where.lineno}" if where else ""
        if (what.split(":")[0], place) not in self.seen:
            self.seen.add((what.split(":")[0], place))
            print(json.dumps({"find": what, "where": place, "case": self.number}), flush=True)

    def end(self):
        from bench.parts.fuzz_cases import remove_bundle

        remove_bundle()
        print(json.dumps({"kinds": self.kinds}), flush=True)


def by_random(args, tell):
    """A random generator, seeded with each case's number: every case can be run again."""
    from bench.parts.fuzz_cases import run_seeded

    for number in range(args.first, args.first + args.count):
        tell.run(lambda n=number: run_seeded(n))


def by_hypothesis(args, tell):
    """hypothesis chooses, which likes small, extreme and repeated values."""
    import hypothesis
    from hypothesis import strategies

    from bench.parts.fuzz_cases import run_case
    from bench.parts.fuzz_draws import StrategyDraw

    @hypothesis.seed(args.first)
    @hypothesis.settings(
        max_examples=args.count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(strategies.data())
    def one(data):
        tell.run(lambda: run_case(StrategyDraw(data.draw)))

    one()


def by_coverage(args, tell):
    """atheris (libFuzzer): mutates its inputs towards new branches of vit_perception. It ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["vit_perception"], enable_loader_override=False):
        from bench.parts.fuzz_cases import run_case
    from bench.parts.fuzz_draws import ProviderDraw

    def one(data):
        if tell.done >= args.count:
            tell.end()
            os._exit(0)  # libFuzzer has no way back
        tell.run(lambda: run_case(ProviderDraw(atheris.FuzzedDataProvider(data))), data)

    command = [
        sys.argv[0],
        f"-seed={zlib.crc32(struct.pack('q', args.first)) % 2**31}",
        f"-max_len={MAX_INPUT}",
        "-rss_limit_mb=0",
        "-timeout=86400",  # the parent looks for hangs; an alarm of libFuzzer ends a child of atheris
    ]
    atheris.Setup([*command, f"-artifact_prefix={args.corpus}/", args.corpus], one)
    atheris.Fuzz()


class Parent:
    """Starts children one after the other, and counts what becomes of them."""

    def __init__(self, args, folder):
        self.args, self.folder = args, Path(folder)
        self.cases = self.hangs = self.crashes = self.oob_reads = 0
        self.finds, self.kinds = [], collections.Counter()

    def run(self):
        """Until the number of cases, or the minutes, are reached."""
        args, began = self.args, time.monotonic()
        number = args.seed << 32
        while self.cases < args.cases and (not args.minutes or time.monotonic() - began < 60 * args.minutes):
            number = self._run_block(number, min(BLOCK, args.cases - self.cases))
            rate = self.cases / (time.monotonic() - began)
            text = f"{self.cases:9d} of {args.cases} cases, {rate:.0f} a second, {len(self.finds)} finds"
            print(text, end="\r" if sys.stdout.isatty() else "\n", flush=True)
        return time.monotonic() - began

    def _run_block(self, number, count):
        """One child; returns the next number."""
        board = self.folder / "board"
        board.write_bytes(bytes(Board.SIZE))
        (self.folder / "corpus").mkdir(exist_ok=True)
        command = [sys.executable, __file__, "--child", str(board), "--first", str(number), "--count", str(count)]
        command += ["--by", self.args.by, "--corpus", str(self.folder / "corpus")]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENCV_LOG_LEVEL": "OFF", "TMPDIR": str(self.folder)}
        with open(self.folder / "out", "w+") as out, open(self.folder / "err", "w+") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
            hung = self._wait(process, Board(board))
            out.seek(0)
            err.seek(0)
            lines, last_words = out.read().splitlines(), err.read()[-1500:]
        at, done = Board(board).read()
        at = max(at, number)
        for line in lines:
            if line.startswith("{"):
                self._take(json.loads(line))
        data = base64.b64encode(Board(board).input()).decode()
        if hung:
            self.hangs += 1
            self._tell(f"hang: a case took more than {HANG_S} s; input {data}", at)
        elif process.returncode:
            code = process.returncode
            what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self.crashes += 1
            self.oob_reads += what in ("SIGSEGV", "SIGBUS")
            self._tell(f"crash: {what}; input {data}\n{last_words}", at)
        lost = 1 if hung or process.returncode else 0
        self.cases += done + lost
        return number + max(done + lost, 1)

    def _wait(self, process, board):
        """Whether the child hung; it is killed then."""
        seen, since = None, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.02)
                now = board.read()
                if now != seen:
                    seen, since = now, time.monotonic()
                elif time.monotonic() - since > HANG_S + (50 if not now[1] else 0):  # the first one imports everything
                    return True
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return False

    def _take(self, line):
        if "kinds" in line:
            self.kinds.update(line["kinds"])
        else:
            self.crashes += 1
            self._tell(f"{line['find']} at {line['where']}", line["case"])

    def _tell(self, what, number):
        self.finds.append({"case": number, "find": what})
        print(f"FIND in case {number} ({self.args.by}): {what}", flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many; 0: after the last case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by", choices=("random", "hypothesis", "coverage"), default="random")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CASES} cases")
    parser.add_argument("--case", type=int, help="run this case of --by random again, here")
    parser.add_argument("--input", help="run this case of --by coverage again, here; base64, as finds tell it")
    for name, kind in (("board", str), ("first", int), ("count", int), ("corpus", str)):
        parser.add_argument("--child" if name == "board" else f"--{name}", dest=name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.board:
        return child(args)
    if args.case is not None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from bench.parts.fuzz_cases import run_seeded

        return print(run_seeded(args.case))
    if args.input is not None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        import atheris

        from bench.parts.fuzz_cases import run_case
        from bench.parts.fuzz_draws import ProviderDraw

        return print(run_case(ProviderDraw(atheris.FuzzedDataProvider(base64.b64decode(args.input)))))
    needed = {"hypothesis": "hypothesis", "coverage": "atheris"}.get(args.by)
    if needed and importlib.util.find_spec(needed) is None:
        sys.exit(f"error: --by {args.by} needs the package {needed}; install it, or take --by random")
    args.cases = QUICK_CASES if args.quick else args.cases
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        parent = Parent(args, folder)
        seconds = parent.run()
    for kind, count in sorted(parent.kinds.items()):
        print(f"{kind:<28}{count:>9}")
    figures = {"cases": parent.cases, "crashes": parent.crashes, "hangs": parent.hangs, "oob_reads": parent.oob_reads}
    print(json.dumps({**figures, "by": args.by, "seed": args.seed, "seconds": round(seconds, 1)}))
    return 0


if __name__ == "__main__":
    main()
