"""Commands that take files of any kind: pack, unpack, info, codecs. None of them loads torch."""

from __future__ import annotations

import os
from pathlib import Path

import click

from packlight.cli.output import dump, json_option, progress_for, quiet_option, show

LEVELS = ("fast", "default", "max")


def _without_algebra() -> None:
    """NumPy starts a thread for every core, which spins for a while: as long as a small file."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@click.command(short_help="Make any model file smaller, without loss.")
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
@json_option
@quiet_option
def pack(paths: tuple[Path, ...], as_json: bool, quiet: bool, **options: object) -> None:
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
    if as_json:
        dump({"file": str(out), "bytes": size, "packed_bytes": packed})
        return
    change = f"{size / packed:.2f}x smaller" if packed < size else "not smaller"
    click.echo(f"{out}  {show_size(size)} -> {show_size(packed)}, {change}")


@click.command(short_help="Restore what pack packed.")
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
@quiet_option
def unpack(source: Path, max_output: str, quiet: bool, **options: object) -> None:
    """Restore what pack packed, and print where."""
    _without_algebra()
    from packlight.coding.files import unpack as unpack_file
    from packlight.units import parse_size

    limit = parse_size(max_output, "--max-output")
    restored = unpack_file(
        source,
        max_output=limit,
        progress=progress_for(quiet),
        **options,  # type: ignore[arg-type]
    )
    click.echo(restored)


@click.command(short_help="What a packed file holds.")
@click.argument("source", metavar="FILE.plt", type=click.Path(path_type=Path))
@click.option(
    "--base", type=click.Path(path_type=Path), metavar="OLD", help="The file packed against."
)
@json_option
@quiet_option
def info(source: Path, base: Path | None, as_json: bool, quiet: bool) -> None:
    """What a packed file holds, and where its bytes went."""
    from packlight.coding.contents import info as contents_of

    with progress_for(quiet).stage("reading"):
        contents = contents_of(source, base=base)
    if as_json:
        dump(contents.to_dict())
    else:
        from packlight.report.packed import contents_table

        show(contents_table(contents, source.name))


@click.command(short_help="Pack a file with every codec, side by side.")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@json_option
@quiet_option
def codecs(source: Path, as_json: bool, quiet: bool) -> None:
    """Pack FILE with every codec: bytes, ratio, speed in and out on one thread."""
    from packlight.coding.comparison import compare

    rows = compare(source, progress_for(quiet))
    if as_json:
        dump([vars(row) for row in rows])
    else:
        from packlight.report.packed import codecs_table

        show(codecs_table(rows, source.name))
