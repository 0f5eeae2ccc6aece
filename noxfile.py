"""The one door: ``nox -l`` lists what there is to do; ``nox`` alone runs lint and tests."""

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "tests"]

PINS = ("--constraint", "constraints.txt")


def install(session: nox.Session, *more: str, extras: str = "check,control") -> None:
    """Install this project in place, with the versions that were tested; quick when done."""
    session.env["UV_COMPILE_BYTECODE"] = "1"  # commands then start in a fraction of the time
    session.install(*PINS, *more, "-e", f".[{extras}]")


@nox.session
def bench(session: nox.Session) -> None:
    """Run a suite and write its report: nox -s bench -- suites/quickstart.yaml."""
    install(session)
    session.run("bench", "run", *session.posargs)


@nox.session
def tune(session: nox.Session) -> None:
    """Run a suite's trials: nox -s tune -- suites/tuned_glyphs.yaml --write tuned.yaml."""
    install(session)
    session.run("bench", "tune", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write a suite's report again: nox -s report -- suites/quickstart.yaml."""
    install(session)
    session.run("bench", "report", *session.posargs)


@nox.session
def ui(session: nox.Session) -> None:
    """Serve the MLflow mirror on 127.0.0.1: nox -s ui."""
    install(session)
    session.run("bench", "ui", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; with $BENCH_DATA set, those on real data too."""
    install(session, "--group", "tests")
    session.run("pytest", *(session.posargs or ("-n", "2")))


@nox.session(default=False)
def parity(session: nox.Session) -> None:
    """Compare with learn2learn, which needs a C compiler, and with Avalanche."""
    install(session, "--group", "tests", "--group", "peers", extras="check,learn2learn")
    files = ("tests/parity", "tests/test_conformance.py", "tests/test_goldens.py")
    chosen = ("-k", "learn2learn or avalanche")
    session.run("pytest", *files, *chosen, *(session.posargs or ("-n", "2")))


@nox.session(default=False)
def speed(session: nox.Session) -> None:
    """Time steps and evaluation beside learn2learn's: nox -s speed -- --quick; needs a compiler."""
    install(session, extras="check,learn2learn")
    session.run("python", "benchmarks/step.py", *session.posargs)


@nox.session(default=False)
def simulation(session: nox.Session) -> None:
    """Count how often each procedure of the report is wrong: nox -s simulation -- --suites 1000."""
    install(session)
    session.run("python", "benchmarks/simulation.py", *session.posargs)


@nox.session(default=False)
def large_report(session: nox.Session) -> None:
    """Time a report of 1,000 cells x 600 episodes, and its check: nox -s large_report."""
    install(session)
    session.run("python", "benchmarks/large_report.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, style, types, layers, and what the core may speak of."""
    install(session, "--group", "tests", "--group", "lint")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("mypy")
    session.run("lint-imports")
    session.run("pytest", "-q", "-n0", "tests/test_architecture.py")


@nox.session(default=False)
def pins(session: nox.Session) -> None:
    """Compile constraints.txt anew, for all platforms and without addresses."""
    session.install("uv")
    session.run(
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "--extra=check",
        "--extra=control",
        "--extra=learn2learn",
        "--group=tests",
        "--group=peers",
        "--group=lint",
        "--universal",
        "--python-version=3.11",
        "--no-emit-index-url",
        "--no-header",
        "--no-annotate",
        "--upgrade",
        "--output-file=constraints.txt",
    )
