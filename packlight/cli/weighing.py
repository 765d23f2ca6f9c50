"""The command `weigh`: where a network's bytes, memory and arithmetic go, what limits it meets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from packlight.cli.opening import constants_of, network_options, shapes_of
from packlight.cli.output import dump, json_option, progress_for, quiet_option

if TYPE_CHECKING:
    from packlight.progress import Progress
    from packlight.weighing.limits import Judged, Limit, Link
    from packlight.weighing.table import LayerTable


@click.command(short_help="Where the bytes, the memory and the arithmetic go.")
@click.argument("model", type=click.Path(path_type=Path))
@network_options
@click.option("--batch", type=int, default=1, metavar="N", help="Samples of one run.  [default: 1]")
@click.option("--bytes", "view", flag_value="bytes", help="float32, stored and packed, by layer.")
@click.option(
    "--arithmetic", "view", flag_value="arithmetic", help="MACs per weight and per byte moved."
)
@click.option("--sort", metavar="COLUMN", help="bytes, packed, parameters, macs, data, ...")
@click.option("--all", "unfold", is_flag=True, help="Every layer, also those of repeated blocks.")
@click.option("--limits", is_flag=True, help="What stores and systems allow, and what is met.")
@click.option(
    "--limits-file", type=click.Path(path_type=Path), metavar="TOML", help="Limits of your own."
)
@click.option("--max-download", metavar="SIZE", help="Exit code 3 if it packs to more than this.")
@click.option("--max-installed", metavar="SIZE", help="Exit code 3 if the file is larger.")
@click.option("--max-ram", metavar="SIZE", help="Exit code 3 if a run takes more, with weights.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="One line per layer for a spreadsheet.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="One page to keep."
)
@quiet_option
def weigh(
    model: Path,
    input_shapes: tuple[str, ...],
    constants: tuple[str, ...],
    batch: int,
    view: str | None,
    sort: str | None,
    unfold: bool,
    limits: bool,
    as_json: bool,
    as_csv: bool,
    page: Path | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Where the bytes, the memory and the arithmetic of MODEL go, layer by layer.

    Limits are judged on the file as it really packs. Those of your own, in a file or as --max-...,
    make this a gate: exit code 3 if one is exceeded. RAM is values and weights together.
    """
    from packlight.weighing import weigh as weigh_network
    from packlight.weighing.shown import arranged

    if as_json + as_csv + (page is not None) > 1:
        raise click.UsageError("--json, --csv and --html each take the table's place; give one")
    bounds, links = _bounds(limits, **options)
    progress = progress_for(quiet)
    table = weigh_network(
        model,
        input_shapes=shapes_of(input_shapes),
        constants=constants_of(constants),
        batch=batch,
        progress=progress,
    )
    arranged(table, sort, folds=False)  # a wrong column is told before anything is packed
    judged = None
    if bounds:
        table, judged = _judge(table, model, bounds, links, progress)
    if page is not None:
        from packlight.files import replace_file
        from packlight.report.weighed import render

        click.echo(replace_file(page, render(table, judged).encode()))
    elif as_json:
        found = table.to_dict() | ({"judged": judged.to_dict()} if judged else {})
        dump(found)
    elif as_csv:
        click.echo(table.to_csv(), nl=False)
    else:
        _print(table, judged, limits, view or "layers", sort, unfold)
    if judged is not None:
        judged.require()


def _bounds(
    known: bool, limits_file: Path | None, **most: str | None
) -> tuple[list[Limit], list[Link]]:
    from packlight.weighing.limits import MEASURES, known_limits, own_limit, read_limits

    sources = [known_limits()] if known else []
    if limits_file is not None:
        sources.append(read_limits(limits_file))
    limits = [limit for source, _ in sources for limit in source]
    links = [link for _, source in sources for link in source]
    for measure in MEASURES:
        size = most[f"max_{measure}"]
        if size is not None:
            limits.append(own_limit(measure, size))
    return limits, links


def _judge(
    table: LayerTable, model: Path, bounds: list[Limit], links: list[Link], progress: Progress
) -> tuple[LayerTable, Judged]:
    """The verdicts; where the download is bounded, it is packed to know it."""
    from dataclasses import replace

    from packlight.weighing.bytes import bytes_of, really_packed
    from packlight.weighing.limits import Sizes, judge

    file = table.file or bytes_of(model)
    if links or any(bound.measures == "download" for bound in bounds):
        file = replace(file, packed=really_packed(model, progress), packed_is_exact=True)
    table = replace(table, file=file)
    return table, judge(Sizes(file.packed, file.bytes, table.ram_bytes), bounds, links)


def _print(
    table: LayerTable, judged: Judged | None, only: bool, view: Any, sort: str | None, unfold: bool
) -> None:
    if not only:
        click.echo(table.text(view, sort=sort, fold=not unfold))
    if judged is not None:
        from packlight.report.limits import limits_text

        click.echo(limits_text(judged, table.model))
