"""The command line: parses, prints, and turns outcomes into exit codes.

Heavy things are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from harness import __version__
from harness.api.errors import ExitCode
from harness.cli.common import DEBUG_VARIABLE, command, error_text, let_go, print_json, tell

EXIT_CODES = """Exit codes: 0 passed; 2 the suite or the command line is wrong; 10 regression; 11 inconclusive; 12 a correctness
or recovery check failed; 13 the infrastructure failed, and nothing is said about the system under test."""

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmarks and fault injection for tree-based overlay networks.",
    epilog=EXIT_CODES.replace("\n", " "),
)
plugin_app = typer.Typer(no_args_is_help=True, help="Look at the plugins that are installed, and check one.")
topology_app = typer.Typer(no_args_is_help=True, help="Look at overlay trees, and choose one.")
app.add_typer(plugin_app, name="plugin")
app.add_typer(topology_app, name="topology")

#: Where the parameters of the cost model are, as people are told.
PARAMETERS = "runs/topology-parameters.json"
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, all else on standard error.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the expanded matrix and the fault plan; deploy nothing.")]
Keys = Annotated[list[str] | None, typer.Argument(help="Keys of the kind as key=value, e.g. fanout=4.", show_default=False)]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help=f"Show tracebacks, as {DEBUG_VARIABLE}=1 does.")] = False,
) -> None:
    """Benchmarks and fault injection for tree-based overlay networks."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


@app.command()
@command
def run(
    suite: Annotated[Path, typer.Argument(help="The suite: a TOML file.", show_default=False)],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    results: Annotated[Path, typer.Option(help="The run's directory is made below runs/ in here.")] = Path(),
    only: Annotated[str | None, typer.Option(metavar="GLOB", help="Run only the cases whose id or name matches.")] = None,
    seed: Annotated[int | None, typer.Option(help="Use this seed instead of the suite's.")] = None,
    trials: Annotated[int | None, typer.Option(help="Run so many trials of each case instead of the suite's number.")] = None,
) -> ExitCode:
    """Run a suite: deploy every case, drive it, inject its faults, judge it, and report."""
    from harness.cli import runs

    if dry_run:
        return runs.dry_run(suite, as_json, seed, trials, only)
    return runs.run(suite, as_json, results, seed, trials, only)


@app.command()
@command
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory, e.g. runs/<name>.", show_default=False)],
    as_json: AsJson = False,
) -> ExitCode:
    """Make the report of an earlier run again, from its directory alone."""
    from harness.cli import runs

    return runs.report(run_dir, as_json)


@app.command()
@command
def explore(
    suite: Annotated[Path, typer.Argument(help="A suite with an [explore] table.", show_default=False)],
    seeds: Annotated[int, typer.Option(help="How many scenarios, each drawn from one seed.", min=1)] = 1000,
    first: Annotated[int, typer.Option("--from", help="The first seed.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="How many processes; 0: one for each core.", min=0)] = 0,
    results: Annotated[Path, typer.Option(help="The exploration's directory is made below explorations/ in here.")] = Path(),
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Collect failures instead of stopping at the first.")
    ] = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with the exploration in this directory.")] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Explore random trees, loads and faults in the simulator; a failure is made small and written as a suite."""
    from harness.cli import exploring

    return exploring.explore(suite, seeds, first, jobs or len(os.sched_getaffinity(0)), results, keep_going, resume, as_json)


@plugin_app.command("list")
@command
def plugin_list(as_json: AsJson = False) -> ExitCode:
    """List every kind that suites can use, where it comes from, and the plugins that are broken."""
    from harness.cli import plugins

    return plugins.show(as_json)


@plugin_app.command("check")
@command
def plugin_check(
    category: Annotated[
        str, typer.Argument(metavar="CATEGORY", help="transport, filter, down_filter or topology.", show_default=False)
    ],
    kind: Annotated[str, typer.Argument(help="The kind, e.g. tcp, or a table as in a suite.", show_default=False)],
    keys: Keys = None,
    as_json: AsJson = False,
    seed: Annotated[int, typer.Option(help="For checks with generated data.")] = 0,
    examples: Annotated[int, typer.Option(help="Generated examples for each law of a filter or downstream filter.")] = 100,
) -> ExitCode:
    """Run the conformance checks on one plugin. Exit code 12 where it fails one."""
    from harness.cli import plugins

    return plugins.check(category, kind, keys or [], as_json, seed, examples)


@topology_app.command("show", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
@command
def topology_show(
    ctx: typer.Context,
    kind: Annotated[
        str, typer.Argument(help="The kind, a form such as 2:8,4, or a table; without it all kinds are listed.")
    ] = "",
    lines: Annotated[int, typer.Option(help="Draw in at most so many lines.", min=3)] = 40,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw with plain characters.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Draw an overlay tree, with its node, depth and link counts; without a kind, list the kinds with an example each.

    Keys of the kind are options or key=value: `harness topology show kary --fanout 4 --depth 2`, `harness topology show
    kary fanout=4 depth=2`, `harness topology show 2:8,4`, `harness topology show '{ kind = "flat", back_ends = 8 }'`.
    """
    from harness.cli import trees

    return trees.show(kind, ctx.args, lines, ascii_only, as_json)


@topology_app.command("calibrate")
@command
def topology_calibrate(
    parameters: Annotated[Path | None, typer.Option(help=f"Write to this file instead of {PARAMETERS}.")] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Measure this machine for `harness topology advise`: some small trees on the testbed `local`, for about 20 seconds."""
    from harness.cli import advice

    return advice.measure(parameters, as_json)


@topology_app.command("advise")
@command
def topology_advise(
    back_ends: Annotated[int, typer.Option(help="How many back-ends the tree has.", show_default=False)],
    budget: Annotated[int | None, typer.Option(help="At most so many communication processes.", show_default=False)] = None,
    item_bytes: Annotated[int, typer.Option(help="Bytes that each back-end contributes to a wave.")] = 8,
    request_bytes: Annotated[int, typer.Option(help="Bytes of the request before it, for the latency.")] = 16,
    rate: Annotated[float, typer.Option(help="Waves a second that the tree must carry; 0: any.")] = 0.0,
    objective: Annotated[str, typer.Option(help="latency or throughput.")] = "latency",
    failures_per_node_hour: Annotated[float, typer.Option(help="Failures of each process in an hour.")] = 0.0,
    undisturbed: Annotated[float, typer.Option(help="The part of the waves that no failure may touch, e.g. 0.999.")] = 0.0,
    filter_ns_per_byte: Annotated[
        float | None, typer.Option(help="What the filter costs to merge one more contribution.", show_default="sum")
    ] = None,
    cores: Annotated[int | None, typer.Option(help="Cores that the nodes share.", show_default="this machine's")] = None,
    parameters: Annotated[Path | None, typer.Option(help=f"Parameters, instead of {PARAMETERS} if it is there.")] = None,
    top: Annotated[int, typer.Option(help="Show so many trees.", min=1)] = 8,
    as_json: AsJson = False,
) -> ExitCode:
    """Rank trees by a cost model, and say why the first one is first."""
    from harness.cli import advice

    wishes = {
        "objective": objective,
        "rate_waves_s": rate,
        "failures_per_node_hour": failures_per_node_hour,
        "undisturbed": undisturbed,
    }
    sizes = (item_bytes, request_bytes)
    return advice.advise(back_ends, budget, sizes, wishes, cores, filter_ns_per_byte, parameters, top, as_json)


@app.command()
@command
def doctor(as_json: AsJson = False) -> ExitCode:
    """Say what this machine can and cannot do, with the command that would change it."""
    from harness.cli import checkup

    return checkup.show(as_json)


def main() -> NoReturn:
    """Run the command line; the process ends with one of the documented exit codes."""
    # numpy's linear algebra, which nothing here uses, would start a thread for every core and let it spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = _run_app()
    let_go()
    sys.exit(code)


def _run_app() -> int:
    try:
        app(prog_name="harness")
    except KeyboardInterrupt:
        tell("error: interrupted\n")
        return ExitCode.INCONCLUSIVE
    except SystemExit as leaving:
        # A command line that was refused before any command of ours saw it.
        refusal = getattr(leaving.__context__, "format_message", None)
        if refusal is not None and "--json" in sys.argv:
            text = refusal()
            print_json({"exit_code": int(ExitCode.USAGE), "verdict": "error", "error": text, "mistakes": [text]})
        if leaving.code is None or leaving.code in list(ExitCode):
            return int(leaving.code or 0)
    except Exception as error:  # the last resort: whatever goes wrong is one message and a documented exit code
        tell(error_text(error))
    return ExitCode.INFRASTRUCTURE
