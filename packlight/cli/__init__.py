"""The command line: one command per verb, no logic.

Each command turns options into arguments, calls one function of the public API and prints what
came back. Nothing heavy is imported before a command runs, so `packlight --help` is quick.
"""

from __future__ import annotations

import sys

import click

import packlight
from packlight.cli import files, letters, networks, weighing, zoo

JOURNEY = """Fit trained neural networks onto phones: smaller, the same answers, with the proof.

\b
  packlight demo                                             the whole journey, in two minutes
  packlight weigh MODEL.onnx                                 where the bytes and multiplications go
  packlight fit MODEL.onnx --data D --target-size 700KB      the main job
  packlight check A.onnx B.onnx --data D                     two networks side by side
  packlight export FIT_DIR --to onnx,litert                  the files that runtimes load
  packlight bench A.onnx B.tflite                            how fast, in every runtime
  packlight tune MODEL.onnx                                  the fastest way to run it here
  packlight zoo --budget 5MB                                 compact architectures, what they weigh
  packlight letters --charset A-Z0-9 --target-size 10KB      a letter recogniser, from nothing
  packlight pack MODEL                                       any model file smaller, without loss
"""


@click.group(
    help=JOURNEY, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(packlight.__version__, prog_name="packlight")
def cli() -> None:
    """Every verb is a command of this group."""


for command in (
    *(
        networks.fit,
        weighing.weigh,
        networks.reorder,
        networks.check,
        networks.export,
        networks.bench,
        networks.tune,
        networks.demo,
        zoo.zoo,
        letters.letters,
    ),
    *(files.pack, files.unpack, files.info, files.codecs),
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors become one sentence and an exit code."""
    from packlight.errors import PacklightError

    try:
        code = cli.main(standalone_mode=False)
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
