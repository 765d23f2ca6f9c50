"""The command line: one command per verb, no logic.

Each command turns options into arguments, calls one function of the public API and prints what
came back. Nothing heavy is imported before a command runs, so `packlight --help` is quick.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import click

import packlight
from packlight.cli import delivery, files, learning, letters, networks, weighing, zoo

JOURNEY = """Fit trained neural networks onto phones: smaller, the same answers, with the proof.

\b
  packlight demo                                             the whole journey, in two minutes
  packlight weigh MODEL.onnx                                 where the bytes and multiplications go
  packlight fit MODEL.onnx --data D --target-size 700KB      the main job
  packlight distill MODEL.onnx --student S --data D          a small network taught by a big one
  packlight check A.onnx B.onnx --data D                     two networks side by side
  packlight export FIT_DIR --to onnx,litert                  the files that runtimes load
  packlight bench A.onnx B.tflite                            how fast, in every runtime
  packlight tune MODEL.onnx                                  the fastest way to run it here
  packlight zoo --budget 5MB                                 compact architectures, what they weigh
  packlight new --classes 10 --input 3x96x96 --target-size 250KB   a compact network to train
  packlight letters --charset A-Z0-9 --target-size 10KB      a letter recogniser, from nothing
  packlight pack MODEL                                       any model file smaller, without loss
  packlight publish FIT_DIR --repo R --name N --version 1.0.0   signed, for any static host
  packlight fetch URL N --into DIR                           on the device: only what changed
"""


class _Verbs(click.Group):
    """Commands whose unforeseen errors end in a sentence, or with --verbose in their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        from packlight.errors import PacklightError

        try:
            return super().invoke(ctx)
        except (PacklightError, click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # whoever read the output has seen enough
            raise
        except Exception as problem:
            if ctx.params["verbose"]:
                import traceback

                traceback.print_exc()
            raise _Unforeseen(_told(problem)) from problem

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the journey."""
        return list(self.commands)


class _Unforeseen(click.ClickException):
    """Exit code 1, and the sentence alone."""

    def show(self, file: IO[Any] | None = None) -> None:
        """On standard error."""
        click.echo(self.message, err=True)


def _told(problem: Exception) -> str:
    said = (str(problem).strip().splitlines() or ["no more is known"])[0]
    if isinstance(problem, MemoryError) or "DefaultCPUAllocator" in said:  # torch's
        return "packlight: there is not enough memory; give a smaller file, or close other programs"
    if isinstance(problem, OSError) and problem.strerror:
        return f"packlight: the system refuses: {said}"
    return (
        f"packlight met something it does not know: {type(problem).__name__}: {said}; this is a "
        "fault of packlight, please open an issue with what `packlight --verbose ...` tells of "
        "the same command"
    )


@click.group(
    cls=_Verbs,
    help=JOURNEY,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--verbose", is_flag=True, help="Show the traceback of an unforeseen error.")
@click.version_option(packlight.__version__, prog_name="packlight")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """Every verb is a command of this group."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (
    *(
        networks.demo,
        weighing.weigh,
        networks.fit,
        networks.check,
        networks.export,
        networks.bench,
        networks.tune,
        networks.reorder,
        zoo.zoo,
        zoo.new,
        learning.distill,
        letters.letters,
    ),
    *(files.pack, files.unpack, files.info, files.codecs),
    *(delivery.repo, delivery.publish, delivery.fetch),
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors become one sentence and an exit code."""
    from packlight.errors import PacklightError
    from packlight.memory import one_heap

    one_heap()
    try:
        code = cli.main(prog_name="packlight", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo(
            "packlight: interrupted; nothing is half written, and a fit goes on when it is "
            "started again",
            err=True,
        )
        code = 130
    except click.ClickException as problem:
        problem.show()
        code = problem.exit_code
    except PacklightError as problem:
        click.echo(f"packlight: {problem}", err=True)
        code = problem.exit_code
    sys.exit(code)
