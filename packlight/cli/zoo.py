"""The commands `zoo`, what compact architectures weigh, and `new`, one that meets every bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from packlight.cli.output import (
    dump,
    json_option,
    progress_for,
    quiet_option,
    show,
    show_or_dump,
)


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


@click.command(short_help="The largest compact network inside every bound.")
@click.option("--classes", type=int, required=True, metavar="N", help="Of its answers.")
@click.option(
    "--input", "input_shape", required=True, metavar="3x96x96", help="The images that the app has."
)
@click.option("--target-size", metavar="SIZE", help="Bound on the weights in int8: 250KB, 1MiB.")
@click.option("--max-macs", metavar="COUNT", help="Bound on multiplications per image: 10M.")
@click.option("--max-ram", metavar="SIZE", help="Bound on weights and planned values, in int8.")
@click.option("--family", metavar="NAME", help="Only this one, as mobilenet_v2.  [default: all]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("packlight-new"),
    show_default=True,
    help="Output folder.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For the first weights.")
@click.option("--force", is_flag=True, help="Write into a folder that holds files.")
@json_option
@quiet_option
def new(as_json: bool, quiet: bool, **options: Any) -> None:
    """The largest compact network inside every bound, written ready to be trained.

    Searches width, depth and resolution in the families of packlight.zoo. Writes the module
    (network.py, weights.pt), the same as model.onnx with its batch norms, and its layer table.
    Exit code 3 if no network meets the bounds.
    """
    from packlight.founding import new as new_network
    from packlight.report.founded import sentence

    result = new_network(progress=progress_for(quiet), **options)
    show_or_dump(result, as_json)
    if not as_json:
        click.echo(sentence(result))
        click.echo(f"module    {result.module}")
        click.echo(f"network   {result.model}")
