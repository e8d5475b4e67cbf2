"""One engine on one target, in a process of its own: `experiments.fuzz` starts it.

What a child finds it saves at once, and it counts in a file, so that a hang, a crash or an exit by
the engine loses nothing. Its memory is limited; a case that hangs ends it.
"""

import faulthandler
import hashlib
import json
import os
import pathlib
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings

import coverage

PACKAGE = pathlib.Path(__file__).parent.parent / "exits_jax"
HANG = 20  # seconds for one case, whatever else the machine does
ADDRESS_SPACE = 3 * 2**30  # bytes beyond what the imports took


class Tally:
    """Runs cases of a target, counts them and saves what should not have happened."""

    def __init__(self, name: str, wanted: int, output: pathlib.Path):
        from experiments import fuzz_targets

        self.run_case = fuzz_targets.run_case
        self.target = fuzz_targets.TARGETS[name]
        self.wanted, self.output = wanted, output
        self.cases = self.accepted = 0
        self.slowest = 0.0
        self.findings: dict[str, int] = {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz_"))
        fuzz_targets.prepare(self.folder)
        os.chdir(self.folder)
        os.fsync = lambda handle: None  # the writers' files need not outlive a power cut
        self.begun = time.perf_counter()

    def case(self, content: bytes) -> None:
        """Runs one case; saves it where it raises anything but a UserError."""
        (self.output / "last").write_bytes(content)
        start = time.perf_counter()
        faulthandler.dump_traceback_later(HANG, exit=True)
        try:
            self.accepted += self.run_case(self.target, content, self.folder)
        except Exception as error:
            self._save(content, error)
        faulthandler.cancel_dump_traceback_later()
        self.slowest = max(self.slowest, time.perf_counter() - start)
        self.cases += 1
        if self.cases % 200 == 0:
            self.write()

    def write(self) -> None:
        """The counts so far."""
        counts = {
            "cases": self.cases,
            "accepted": self.accepted,
            "slowest": self.slowest,
            "seconds": time.perf_counter() - self.begun,
            "findings": self.findings,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        (self.output / "tally.new").write_text(json.dumps(counts))
        os.replace(self.output / "tally.new", self.output / "tally.json")

    def close(self) -> None:
        """Writes the counts and removes the folder of the cases."""
        self.write()
        os.chdir(self.output)
        shutil.rmtree(self.folder)

    def _save(self, content: bytes, error: Exception) -> None:
        """Keeps the shortest case of each place that raised, with its traceback."""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "exits_jax" in f.filename]
        place = f"{pathlib.Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        signature = f"{type(error).__name__} {place or str(error)[:60]}"
        self.findings[signature] = self.findings.get(signature, 0) + 1
        stem = hashlib.sha256(signature.encode()).hexdigest()[:12]
        path = self.output / f"{stem}{pathlib.Path(self.target.file).suffix}"
        if not path.exists() or len(content) < path.stat().st_size:
            path.write_bytes(content)
            text = "".join(traceback.format_exception(error))
            (self.output / f"{stem}.txt").write_text(text, errors="backslashreplace")
        for other in self.folder.iterdir():  # what it wrote outside would be found again
            if other.name != "case":
                shutil.rmtree(other) if other.is_dir() else other.unlink()


def with_hypothesis(tally: Tally, seed: int) -> None:
    """Structured cases, the same ones for the same seed."""
    import hypothesis

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=tally.wanted,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(tally.target.cases)
    def run(content: bytes) -> None:
        tally.case(content)

    run()


def with_atheris(tally: Tally, seed: int, measured: coverage.Coverage) -> None:
    """Bytes led by coverage, from the target's seeds on. Does not return."""
    import atheris

    corpus = tally.folder / "case" / "corpus"
    corpus.mkdir()
    for number, content in enumerate(tally.target.seeds):
        (corpus / str(number)).write_bytes(content)

    def run(content: bytes) -> None:
        tally.case(content)
        if tally.cases >= tally.wanted:  # libFuzzer would leave without coverage's data
            finish(tally, measured)
            os._exit(0)

    longest = max(len(content) for content in tally.target.seeds)
    options = [f"-seed={seed + 1}", f"-max_len={max(4096, 2 * longest)}", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, "-len_control=0", str(corpus)], run)
    atheris.Fuzz()


def finish(tally: Tally, measured: coverage.Coverage) -> None:
    """Everything that the parent reads."""
    tally.close()
    measured.stop()
    measured.save()


def main() -> None:
    """`fuzz_child ENGINE TARGET CASES SEED OUTPUT`, OUTPUT an existing folder."""
    engine, name, cases, seed, output = sys.argv[1:]
    measured = coverage.Coverage(
        data_file=f"{output}/coverage", include=[f"{PACKAGE}/*"], config_file=False
    )
    measured.start()
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["exits_jax"]):
            from experiments import fuzz_targets  # noqa: F401
    tally = Tally(name, int(cases), pathlib.Path(output).resolve())
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)  # NumPy's, of numbers gone wrong
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE,) * 2)
    if engine == "atheris":
        with_atheris(tally, int(seed), measured)
    with_hypothesis(tally, int(seed))
    finish(tally, measured)


if __name__ == "__main__":
    main()
