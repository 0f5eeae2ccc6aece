"""Words to calls: reads the command line, calls the pipeline, prints; decides nothing."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.pipeline import Options, Outcome

ALL_DONE, SOME_FAILED, USER_MISTAKE, INTERRUPTED = 0, 1, 2, 130
DIFFERS = 1  # of `bench verify`


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    0 all done, 1 some cell failed or something differs, 2 a mistake.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a label may hold what a terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    asked = _parser().parse_args(arguments)
    try:
        code = int(asked.call(asked))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ALL_DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from bench.errors import UserError

        if not isinstance(error, UserError):
            raise
        print(f"bench: {error}", file=sys.stderr)
        return USER_MISTAKE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Compare ways of joining self-supervised learning and meta-learning.",
        epilog="example: bench run suites/quickstart.yaml",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add(commands, "plan", _plan, "show what a suite will run, and what it costs", "--json")
    _add(commands, "run", _run, "run what a suite lacks, then write its report", "--workers 2")
    _add(
        commands,
        "tune",
        _tune,
        "run the trials that a suite's tuning lacks, and say what they found",
        "--write suites/tuned.yaml",
    )
    _add(commands, "report", _report, "write a suite's report again from the store", "")
    _add(commands, "export", _export, "write one row a cell for other tools", "--out cells.csv")
    _add(
        commands,
        "why",
        _why,
        "say why a cell's stages are cached or not",
        '"simclr + maml/glyphs 5-way 1-shot/seed 0"',
    )
    _add(
        commands,
        "export-model",
        _export_model,
        "write the weights that a cell was tested with to a file",
        '"simclr + none/glyphs 5-way 1-shot/seed 0" --out simclr.safetensors',
    )
    _add(
        commands,
        "verify",
        _verify,
        "check a report, or compute some of a suite's cells again from nothing, and compare",
        "--cells 3",
    )
    _add(commands, "sync", _sync, "bring the MLflow mirror up to date with the store", "")
    _add_others(commands)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    call: Callable[[argparse.Namespace], int],
    summary: str,
    example: str,
) -> None:
    """Add a command about a suite, with the options that all of them share."""
    command = commands.add_parser(
        name,
        help=summary,
        description=summary.capitalize() + ".",
        epilog=f"example: bench {name} suites/quickstart.yaml {example}".rstrip(),
    )
    command.set_defaults(call=call)
    if name == "verify":
        command.add_argument(
            "suite", type=Path, metavar="TARGET", help="a suite's YAML file, or reports/NAME"
        )
        command.add_argument(
            "--cells", type=int, metavar="N", help="of a suite: how many cells (default: 1)"
        )
    else:
        command.add_argument("suite", type=Path, metavar="SUITE", help="the suite's YAML file")
    _add_suite_options(command)
    if name == "plan":
        command.add_argument("--json", action="store_true", help="print the plan for machines")
    if name in ("run", "tune"):
        command.add_argument("--retry", action="store_true", help="run failed stages again")
        command.add_argument(
            "--time-limit", type=float, metavar="SECONDS", help="end a stage after so long"
        )
    if name == "tune":
        command.add_argument(
            "--write", type=Path, metavar="FILE", help="a suite of the rows as they were tuned"
        )
    if name == "export":
        command.add_argument(
            "--out", type=Path, required=True, metavar="FILE", help="a .csv or .parquet file"
        )
    if name == "export-model":
        command.add_argument("cell", metavar="CELL", help="one that `bench why SUITE` lists")
        command.add_argument(
            "--out", type=Path, required=True, metavar="FILE", help="a .safetensors file"
        )
    if name == "why":
        command.add_argument(
            "cell", nargs="?", metavar="CELL", help="one of the cells that are listed without it"
        )


def _add_suite_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="store and MLflow")
    add("--reports", type=Path, default=Path("reports"), metavar="DIR", help="a folder a suite")
    add("--data", type=Path, metavar="DIR", help="root of data sets (default: $BENCH_DATA)")
    add("--budget-scale", type=float, metavar="X", help="multiply every training budget")
    add("--seeds", metavar="N", help="a number of seeds, or a list: 3,4,5")
    add("--episodes", type=int, metavar="N", help="test on the first N episodes of the bank")
    add("--only", metavar="NAMES", help="only these variants (comma-separated, * allowed)")
    add("--workers", default="auto", metavar="N", help="stages at once (default: auto)")
    add("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:0")


def _add_others(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser(
        "list",
        help="list the plug-ins that are installed",
        description="List the plug-ins that are installed, by kind, or describe one.",
        epilog="example: bench list meta/maml",
    )
    command.add_argument("what", nargs="?", metavar="KIND[/NAME]", help="a kind, or one plug-in")
    command.add_argument("--markdown", action="store_true", help="as in the page docs/methods.md")
    command.set_defaults(call=_list)
    command = commands.add_parser(
        "check",
        help="run the conformance suite on one plug-in",
        description="Run the conformance suite on one plug-in, yours or ours.",
        epilog="example: bench check pretext/rotation",
    )
    command.add_argument("what", metavar="KIND/NAME", help="the plug-in")
    command.add_argument(
        "--params", default="{}", metavar="JSON", help="its parameters, as in a suite"
    )
    command.set_defaults(call=_check)
    command = commands.add_parser(
        "ui",
        help="serve the MLflow mirror on this machine",
        description="Serve the MLflow mirror on 127.0.0.1.",
        epilog="example: bench ui --port 5001",
    )
    command.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    command.add_argument("--port", type=int, default=5000, metavar="PORT")
    command.set_defaults(call=_ui)
    command = commands.add_parser(
        "schema",
        help="print the JSON schema of suites, for editors",
        description="Print the JSON schema of suites, for editors.",
        epilog="example: bench schema > suite.schema.json",
    )
    command.set_defaults(call=_schema)


def _options(asked: argparse.Namespace) -> "Options":
    from bench.pipeline import Options

    names = Options.__dataclass_fields__
    return Options(**{name: value for name, value in vars(asked).items() if name in names})


def _plan(asked: argparse.Namespace) -> int:
    from bench import pipeline

    options = _options(asked)
    print(
        pipeline.plan_json(asked.suite, options)
        if asked.json
        else pipeline.plan_text(asked.suite, options)
    )
    return ALL_DONE


def _run(asked: argparse.Namespace) -> int:
    from bench import pipeline

    outcome = pipeline.run(asked.suite, _options(asked))
    print("\n".join(_told(outcome)))
    if outcome.tally.interrupted:
        return INTERRUPTED
    return SOME_FAILED if outcome.tally.failed else ALL_DONE


def _told(outcome: "Outcome") -> list[str]:
    """Say in lines how a run ended."""
    tally = outcome.tally
    lines = [f"set aside: {note}" for note in tally.aside]
    lines += [f"failed: {reason}" for reason in dict.fromkeys(tally.failed.values())]
    if tally.interrupted:
        lines.append("interrupted: the same command goes on from here")
    elif not tally.ran and not tally.failed:
        lines.append(f"{outcome.plan.name}: nothing to do, every stage is in the store")
    return [*lines, *([f"report: {outcome.report}"] if outcome.report else [])]


def _tune(asked: argparse.Namespace) -> int:
    from bench import pipeline
    from bench.report.preview import tuning_text

    done = pipeline.tune(asked.suite, _options(asked), asked.write)
    if done.tally.interrupted:
        print("interrupted: the same command goes on from here")
        return INTERRUPTED
    print(tuning_text(done.record))
    if asked.write:
        print(f"written: {asked.write}")
    return ALL_DONE


def _report(asked: argparse.Namespace) -> int:
    from bench import pipeline

    print(pipeline.report(asked.suite, _options(asked)))
    return ALL_DONE


def _export(asked: argparse.Namespace) -> int:
    from bench import pipeline

    count = pipeline.export(asked.suite, _options(asked), asked.out)
    print(f"{count} cells in {asked.out}")
    return ALL_DONE


def _export_model(asked: argparse.Namespace) -> int:
    from bench import pipeline

    sha256 = pipeline.export_model(asked.suite, _options(asked), asked.cell, asked.out)
    print(f"init: {{checkpoint: {asked.out}, sha256: {sha256}}}")
    return ALL_DONE


def _why(asked: argparse.Namespace) -> int:
    from bench import pipeline

    print(pipeline.why(asked.suite, _options(asked), asked.cell))
    return ALL_DONE


def _verify(asked: argparse.Namespace) -> int:
    from bench import pipeline
    from bench.errors import UserError

    if asked.suite.suffix not in (".yaml", ".yml"):
        if asked.cells is not None:
            works = "Leave it out, or name the suite's .yaml file."
            raise UserError("--cells", f"{asked.suite} is no suite", works)
        found = pipeline.verify(asked.suite, _options(asked))
        print(found.text)
        return ALL_DONE if found.agrees else DIFFERS
    cells = 1 if asked.cells is None else asked.cells
    certificate, report = pipeline.certify(asked.suite, _options(asked), cells)
    print("\n".join([*certificate.lines, f"report: {report}"]))
    return ALL_DONE if certificate.equal else DIFFERS


def _sync(asked: argparse.Namespace) -> int:
    from bench import pipeline

    print(f"{pipeline.sync(asked.suite, _options(asked))} MLflow runs written")
    return ALL_DONE


def _list(asked: argparse.Namespace) -> int:
    from bench.listing import listing, page

    print((page if asked.markdown else listing)(asked.what))
    return ALL_DONE


def _check(asked: argparse.Namespace) -> int:
    from bench.catalogue import split_name
    from bench.conformance import check, read_params

    return check(*split_name(asked.what), read_params(asked.params))


def _ui(asked: argparse.Namespace) -> int:
    from bench import pipeline

    pipeline.serve_ui(asked.results, asked.port)


def _schema(asked: argparse.Namespace) -> int:
    from bench import pipeline

    print(pipeline.schema_json())
    return ALL_DONE


if __name__ == "__main__":
    sys.exit(main())
