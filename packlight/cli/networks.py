"""Commands that take networks and data: fit, reorder, check, export, bench, tune, demo."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from packlight.cli.opening import constants_of, examples_of, network_options, shapes_of
from packlight.cli.output import (
    dump,
    json_option,
    progress_for,
    quiet_option,
    show,
    show_or_dump,
)

if TYPE_CHECKING:
    from packlight.data import Preprocess


def sample_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say where samples come from and how images become inputs."""
    options = [
        click.option(
            "--data",
            required=True,
            metavar="DATA",
            help="Samples: a folder or .zip of images (in class folders, or with labels.csv), "
            ".npz, .npy, or 'random'. Labels are used to measure.",
        ),
        click.option("--resize", type=int, metavar="PX", help="Resize the short side first."),
        click.option("--crop", type=int, metavar="PX", help="Then cut the centre out."),
        click.option("--scale", type=float, help="Multiplies the pixel.  [default: 1/255]"),
        click.option("--mean", metavar="R,G,B", help="Subtracted after scaling."),
        click.option("--std", metavar="R,G,B", help="Divides after the mean."),
        click.option("--bgr", is_flag=True, help="The network takes blue first."),
        click.option("--seed", type=int, default=0, show_default=True, help="For every choice."),
    ]

    @functools.wraps(command)
    def with_preprocess(**options: Any) -> Any:
        names = ("resize", "crop", "scale", "mean", "std", "bgr")
        options["preprocess"] = _preprocess(**{name: options.pop(name) for name in names})
        return command(**options)

    for option in reversed(options):
        with_preprocess = option(with_preprocess)
    return with_preprocess


def _data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those, and how many samples are fitted on."""
    calibrate = click.option(
        "--calibrate",
        type=click.IntRange(min=0),
        default=300,
        show_default=True,
        metavar="N",
        help="Samples that are fitted on; all others judge.",
    )
    return sample_options(calibrate(command))


@click.command(short_help="Make a network fit a budget, with the proof.")
@click.argument("model", type=click.Path(path_type=Path))
@_data_options
@network_options
@click.option("--target-size", metavar="SIZE", help="Bound on the download: 700KB, 1.5MiB, bytes.")
@click.option("--target-installed-size", metavar="SIZE", help="Bound on the network file itself.")
@click.option("--max-drop", metavar="SHARE", help="Accuracy that may be lost: 1% or 0.01.")
@click.option(
    "--speedup",
    type=float,
    metavar="TIMES",
    help="How many times as fast, in what --to names, or else in onnxruntime; channels may go.",
)
@click.option("--max-ram", metavar="SIZE", help="Bound on RAM: weights, and values as planned.")
@click.option(
    "--effort",
    type=click.Choice(["fast", "normal", "best"]),
    default="fast",
    show_default=True,
    help="normal and best also retrain it, taught by the original: some 5 and 30 times as long.",
)
@click.option(
    "--only",
    metavar="MOVES",
    help="Make only these: quantize, prune, palettize, factorize; or two, as prune,palettize.",
)
@click.option(
    "--activations",
    type=click.Choice(["int8", "float"]),
    default="int8",
    show_default=True,
    help="float: integers in the weights alone; nearer to the original at a size, as fast as it.",
)
@click.option(
    "--pattern",
    default="free",
    metavar="PATTERN",
    help="With --only prune: 2:4 leaves 2 of 4 neighbouring inputs, 1x4 takes blocks of 4.",
)
@click.option(
    "--recipe",
    metavar="NAME",
    help="deep-compression: prune, share and code in that paper's own order, to compare with.",
)
@click.option("--labels", is_flag=True, help="Retraining also learns from the samples' labels.")
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    metavar="OLD",
    help="An earlier fit: weights stay as they are there, so that the update is small.",
)
@click.option("--explain", is_flag=True, help="Measure which layers do the damage.")
@click.option(
    "--to", metavar="RUNTIMES", help="Then write it for these, as export does: litert,coreml."
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Output folder.  [default: MODEL-fitted]"
)
@click.option("--force", is_flag=True, help="Replace what an earlier fit wrote into the folder.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that share the work; the result is the same.",
)
@click.option(
    "--cluster", metavar="ADDRESS", help="A Ray cluster instead: ray://HOST:PORT, ray://local."
)
@json_option
@quiet_option
def fit(
    model: Path,
    input_shapes: tuple[str, ...],
    constants: tuple[str, ...],
    to: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Make MODEL fit a budget; its accuracy is judged on samples that nothing was fitted on.

    Sizes: KB and MB count in 1000s, KiB and MiB in 1024s. With only a size, the most accurate
    network of that size; with only a drop, the smallest that keeps it; with both, both, or exit
    code 3 and the nearest network.
    """
    from packlight.errors import BudgetNotMet
    from packlight.exporting import export as export_network
    from packlight.runtimes.targets import targets_of
    from packlight.shrink.fit import fit as fit_network

    if to is not None:
        targets_of(to)  # what is missing is told before the work
    try:
        result = fit_network(
            model,
            options.pop("data"),
            example_inputs=examples_of(model, input_shapes),
            constants=constants_of(constants),
            runtimes=to or "onnx",
            progress=progress_for(quiet),
            command=shlex.join(["packlight", *sys.argv[1:]]),
            **options,
        )
    except BudgetNotMet as problem:
        if problem.nearest is not None:
            _show_fit(problem.nearest, as_json)
        raise
    _show_fit(result, as_json)
    if to is not None:
        folder = result.model.parent
        exported = export_network(folder, to, force=True, progress=progress_for(quiet))
        if not as_json:  # one document: export.json tells the rest
            _show_export(exported)


def _show_fit(result: Any, as_json: bool) -> None:
    if as_json:
        dump(result.report)
        return
    from packlight.report.terminal import blames, comparison

    show(comparison(result.report))
    if result.report["explain"]:
        show(blames(result.report))
    for note in result.report["notes"]:
        click.echo(f"note: {note}")
    click.echo(f"network   {result.model}")
    click.echo(f"download  {result.packed}")
    click.echo(f"report    {result.model.with_name('report.html')}")


@click.command(short_help="Put an ONNX file's nodes into an order that needs less memory.")
@click.argument("model", metavar="MODEL.onnx", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="What to write.  [default: MODEL.reordered.onnx]",
)
@network_options
@click.option(
    "--seconds", type=float, default=30.0, show_default=True, help="Search no longer than this."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@json_option
@quiet_option
def reorder(
    model: Path,
    out: Path | None,
    input_shapes: tuple[str, ...],
    constants: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Put the nodes of an ONNX file into an order that needs less memory, with the same answers.

    Sizes that the file leaves open are taken as 1 where --input-shape does not give them. The order
    counts where a runtime or converter follows the file's order; onnxruntime has its own.
    """
    from packlight.units import show_size
    from packlight.weighing.memory.reorder import reorder as reorder_file

    done = reorder_file(
        model,
        out,
        input_shapes=shapes_of(input_shapes),
        constants=constants_of(constants),
        progress=progress_for(quiet),
        **options,
    )
    if as_json:
        dump(done.to_dict())
        return
    known = "no order needs less" if done.proved else "no better order was found in time"
    if done.out is None:
        click.echo(f"{model} is in a good order: {show_size(done.before)} at the peak; {known}")
    else:
        factor = done.before / done.after
        click.echo(
            f"{done.out}  peak {show_size(done.before)} -> {show_size(done.after)}, "
            f"{factor:.2f}x lower; {known}"
        )


@click.command(short_help="Compare two networks, or all files of a folder.")
@click.argument("first", metavar="A.onnx|FIT_DIR", type=click.Path(path_type=Path))
@click.argument(
    "second", metavar="[B.onnx|FIT_DIR]", type=click.Path(path_type=Path), required=False
)
@_data_options
@click.option(
    "--layers",
    is_flag=True,
    help="A folder's files layer by layer: the first that a runtime computes otherwise.",
)
@json_option
@quiet_option
def check(
    first: Path, second: Path | None, layers: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Compare two ONNX files: sizes, answers, speed in onnxruntime.

    Or, given a folder that fit or export wrote, its files, each on the runtime that it is for:
    with A.onnx, or with the folder's own model.onnx where no other is given.

    The samples are those that `fit` judges on when it is given the same --calibrate and --seed;
    --calibrate 0 takes them all.
    """
    options["progress"] = progress_for(quiet)
    if second is None or second.is_dir():
        original = first if second else None
        _check_folder(second or first, original, as_json, layers=layers, **options)
        return
    if layers:
        raise click.UsageError("--layers is for a folder's files; give the folder")
    from packlight.checking import check as check_networks

    result = check_networks(first, second, options.pop("data"), **options)
    show_or_dump(result, as_json)


def _check_folder(folder: Path, original: Path | None, as_json: bool, **options: Any) -> None:
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is no folder; give two ONNX files, or a fit's folder")
    from packlight.parity import check_folder

    result = check_folder(folder, options.pop("data"), original=original, **options)
    show_or_dump(result, as_json)
    result.require()


@click.command(short_help="Write a network as the files that runtimes load.")
@click.argument("model", metavar="MODEL|FIT_DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    default="onnx",
    show_default=True,
    metavar="RUNTIMES",
    help="One or more of onnx, ort, litert, executorch, coreml: --to onnx,litert.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Output folder.  [default: FIT_DIR, or MODEL-exported]",
)
@network_options
@click.option("--channels-last", is_flag=True, help="LiteRT: images come as N x H x W x C.")
@click.option(
    "--values",
    type=click.Choice(["fitted", "int8", "float"]),
    default="fitted",
    show_default=True,
    help="LiteRT: values between layers as in the fit; sums in int8 too; or only weights in int8.",
)
@click.option(
    "--bits",
    type=click.Choice([8, 4, 2]),
    default=8,
    show_default=True,
    help="ONNX: store integers in as few as these, where that is smaller; same answers.",
)
@click.option(
    "--ios",
    type=click.Choice([16, 17, 18]),
    help="Core ML: store weights as small as this system can read.  [default: as old as can be]",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@json_option
@quiet_option
def export(
    model: Path,
    input_shapes: tuple[str, ...],
    constants: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write a network as the files that phones' runtimes load, each with its packed download.

    MODEL is a network file, or the folder that fit wrote: its integers stay what they are.
    """
    from packlight.exporting import export as export_network

    path = model / "model.onnx" if model.is_dir() else model
    result = export_network(
        model,
        example_inputs=examples_of(path, input_shapes),
        constants=constants_of(constants),
        progress=progress_for(quiet),
        **options,
    )
    if as_json:
        click.echo(result.record.read_text(encoding="utf-8"))
    else:
        _show_export(result)


def _show_export(result: Any) -> None:
    from packlight.units import show_size

    for one in result.files:
        told = "not run here"
        if one.difference is not None:
            told = f"differs by {one.difference:.1e} of the largest answer"
        sizes = f"{show_size(one.size)}, packed {show_size(one.packed_size)}"
        click.echo(f"{one.target:10}  {one.file}  {sizes}; {told}")
    click.echo(f"{'record':10}  {result.record}")


@click.command(short_help="Time files of any runtimes side by side.")
@click.argument(
    "models", metavar="MODEL...", type=click.Path(path_type=Path), nargs=-1, required=True
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Threads of a run; every file gets the same processors.",
)
@click.option(
    "--seconds", type=float, default=10.0, show_default=True, help="Measure about this long."
)
@json_option
@quiet_option
def bench(
    models: tuple[Path, ...], threads: int, seconds: float, as_json: bool, quiet: bool
) -> None:
    """Time .onnx, .ort, .tflite and .pte files side by side, each in a process of its own.

    They take turns, on one sample of noise, and ratios are to the first file. Says so where this
    machine is too noisy to tell.
    """
    from packlight.benching import bench as bench_files

    result = bench_files(models, threads=threads, seconds=seconds, progress=progress_for(quiet))
    show_or_dump(result, as_json)
    result.require()


@click.command(short_help="Find the fastest way to run a network here.")
@click.argument("model", metavar="MODEL|FIT_DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="RUNTIMES",
    help="Runtimes to try with an ONNX file: onnx,litert,executorch.  [default: those installed]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most, also for the default that it is compared with.  [default: all processors]",
)
@click.option(
    "--seconds", type=float, default=30.0, show_default=True, help="Race about this long."
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Output folder.  [default: MODEL-tuned]"
)
@click.option("--force", is_flag=True, help="Replace what an earlier tune wrote.")
@json_option
@quiet_option
def tune(model: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Find the fastest way to run MODEL here: runtime, threads, settings, forms of layers.

    Writes a folder with the fastest file and tuned.json, which packlight.runtimes.open obeys.
    Answers stay equal but for rounding. Where nothing is faster beyond doubt, the default is kept.
    """
    from packlight.tuning import tune as tune_file

    show_or_dump(tune_file(model, progress=progress_for(quiet), **options), as_json)


@click.command(short_help="The whole journey on data that ships with packlight.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("packlight-demo"),
    show_default=True,
    help="Output folder.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="For every choice.")
@click.option("--force", is_flag=True, help="Replace what an earlier demo wrote.")
@quiet_option
def demo(out: Path, seed: int, force: bool, quiet: bool) -> None:
    """Train a letter recogniser on images drawn here, fit it to a tenth of its size, check it."""
    from packlight.demo import demo as run_demo

    result = run_demo(out, seed=seed, force=force, progress=progress_for(quiet))
    show(result.checked)
    click.echo(result.guide)


def _preprocess(**options: Any) -> Preprocess:
    from packlight.data import Preprocess

    for name in ("mean", "std"):
        options[name] = _numbers(name, options[name])
    return Preprocess(**options)


def _numbers(name: str, text: str | None) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(
            f"--{name} {text!r} is not a list of numbers like 0.5,0.5,0.5"
        ) from None
