"""Commands that take files of any kind: pack, unpack, info, codecs. None of them loads torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from packlight.cli.output import progress_for, show

LEVELS = ("fast", "default", "max")


def _without_algebra() -> None:
    """NumPy starts a thread for every core, which spins for a while: as long as a small file."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@click.command()
@click.argument("paths", metavar="FILE|DIR...", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="What to write.  [default: FILE.plt]"
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="default",
    show_default=True,
    help="max is smallest, fast is quickest to unpack.",
)
@click.option("--codec", metavar="NAME", help="A general codec instead: see packlight codecs.")
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    metavar="OLD",
    help="Pack only the difference to OLD; unpacking needs it.",
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Threads.  [default: all]")
@click.option("--verify/--no-verify", default=True, help="Unpack and compare before writing.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def pack(paths: tuple[Path, ...], quiet: bool, **options: object) -> None:
    """Make any model file smaller; unpack restores it to the byte.

    A folder (an .mlpackage, say) or several paths become one archive.
    """
    _without_algebra()
    from packlight.coding.files import pack as pack_files
    from packlight.files import size_of
    from packlight.units import show_size

    out = pack_files(paths, progress=progress_for(quiet), **options)  # type: ignore[arg-type]
    size = sum(size_of(path) for path in paths)
    packed = out.stat().st_size
    click.echo(f"{out}  {show_size(size)} -> {show_size(packed)}, {size / packed:.2f}x smaller")


@click.command()
@click.argument("source", metavar="FILE.plt", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="What to write.  [default: without .plt]"
)
@click.option(
    "--base", type=click.Path(path_type=Path), metavar="OLD", help="The file packed against."
)
@click.option(
    "--max-output", default="4GiB", show_default=True, metavar="SIZE", help="Unpack no more."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def unpack(source: Path, out: Path | None, base: Path | None, max_output: str, force: bool) -> None:
    """Restore what pack packed."""
    _without_algebra()
    from packlight.coding.files import unpack as unpack_file
    from packlight.units import parse_size

    limit = parse_size(max_output, "--max-output")
    click.echo(unpack_file(source, out, base=base, max_output=limit, force=force))


@click.command()
@click.argument("source", metavar="FILE.plt", type=click.Path(path_type=Path))
@click.option(
    "--base", type=click.Path(path_type=Path), metavar="OLD", help="The file packed against."
)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def info(source: Path, base: Path | None, as_json: bool) -> None:
    """What a packed file holds, and where its bytes went."""
    from packlight.coding.contents import info as contents_of

    contents = contents_of(source, base=base)
    if as_json:
        click.echo(json.dumps(contents.to_dict(), indent=1))
    else:
        from packlight.report.packed import contents_table

        show(contents_table(contents, source.name))


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def codecs(source: Path, as_json: bool, quiet: bool) -> None:
    """Pack FILE with every codec: bytes, ratio, speed in and out on one thread."""
    from packlight.coding.comparison import compare

    rows = compare(source, progress_for(quiet))
    if as_json:
        click.echo(json.dumps([vars(row) for row in rows], indent=1))
    else:
        from packlight.report.packed import codecs_table

        show(codecs_table(rows, source.name))
