"""The command `zoo`: what compact architectures weigh, beside how good they are said to be."""

from __future__ import annotations

from pathlib import Path

import click

from packlight.cli.output import dump, json_option, progress_for, quiet_option, show


@click.command(short_help="What compact architectures weigh.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--budget", metavar="SIZE", help="Tell which networks fit, as fp32 or as int8.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE.svg",
    help="Draw accuracy against size, with the budget's line.",
)
@json_option
@quiet_option
def zoo(
    names: tuple[str, ...], budget: str | None, plot: Path | None, as_json: bool, quiet: bool
) -> None:
    """Compact architectures (all, or those NAMEd): parameters, MACs, bytes, peak RAM, accuracy.

    Figures are computed here, from the networks of packlight.zoo; accuracies are published ones, of
    trained weights that the zoo does not have.
    """
    from packlight.errors import BadInput
    from packlight.report.zoo import PICTURED, picture, table
    from packlight.units import parse_size
    from packlight.zoo.measuring import chosen, measure

    most = None if budget is None else parse_size(budget, "--budget")
    asked = chosen(names)
    if plot is not None and not any(one.data == PICTURED for one in asked):
        raise BadInput(f"--plot draws accuracies on {PICTURED}; name a network that has one")
    weighed = progress_for(quiet).each("weighing the zoo", asked, len(asked))
    rows = [measure(one) for one in weighed]
    if plot is not None:
        from packlight.files import replace_file

        replace_file(plot, picture(rows, most).encode())
    if as_json:
        dump([row.to_dict() for row in rows])
    else:
        show(table(rows, most))
