"""The command line: one command per verb, no logic.

Each command turns options into arguments, calls one function of the public API and prints what
came back. Nothing heavy is imported before a command runs, so `packlight --help` is quick.
"""

from __future__ import annotations

import sys

import click

import packlight


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(packlight.__version__, prog_name="packlight")
def cli() -> None:
    """Fit trained neural networks onto phones: smaller files, the same answers, with the proof."""


def main() -> None:
    """Run the command line; errors become one sentence and an exit code."""
    from packlight.errors import PacklightError

    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted; nothing was left half written", err=True)
        code = 130
    except click.ClickException as problem:
        problem.show()
        code = problem.exit_code
    except PacklightError as problem:
        click.echo(f"packlight: {problem}", err=True)
        code = problem.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()
