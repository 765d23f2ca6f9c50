"""Commands that bring networks to devices: repo, publish, fetch. None of them loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from packlight.cli.output import dump, json_option, progress_for, quiet_option

_folder = click.Path(path_type=Path)
repo_argument = click.argument("repo", metavar="REPO", type=_folder)
keys_option = click.option(
    "--keys", type=_folder, metavar="DIR", help="Where the keys lie.  [default: REPO-keys]"
)
name_option = click.option("--name", required=True, help="The network's name, like letters.")
version_option = click.option(
    "--version", required=True, metavar="X.Y.Z", help="A semantic version, like 1.4.0."
)
channel_option = click.option(
    "--channel", default="stable", show_default=True, help="Devices follow one channel."
)


@click.command(short_help="Add a version of a network to a repository.")
@click.argument("paths", metavar="FIT_DIR|FILE...", type=_folder, nargs=-1)
@click.option("--repo", required=True, type=_folder, metavar="REPO", help="Made by: repo init.")
@name_option
@version_option
@channel_option
@click.option(
    "--rollout", default="100%", show_default=True, metavar="SHARE", help="Of devices that get it."
)
@click.option(
    "--min-os",
    multiple=True,
    metavar="WHAT=OS",
    help="The oldest system for a runtime's files or a file, like litert=android-26.",
)
@click.option(
    "--min-ram",
    multiple=True,
    metavar="WHAT=SIZE",
    help="The least RAM for a runtime's files or a file, like model-large.onnx=3GB.",
)
@click.option("--licence", metavar="SPDX", help="Of the network, like Apache-2.0.")
@click.option(
    "--tag",
    multiple=True,
    metavar="TAG=FILE",
    help="A part that devices take only when they ask for TAG, like heads=head-a.onnx.",
)
@keys_option
@json_option
@quiet_option
def publish(
    paths: tuple[Path, ...],
    repo: Path,
    rollout: str,
    min_os: tuple[str, ...],
    min_ram: tuple[str, ...],
    tag: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Add a version: what fit and export left in FIT_DIR, or files, packed or not.

    Devices see all of it or nothing. Differences to the last versions go with it where they pay.
    """
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.delivery.publishing import publish as publish_files
    from packlight.units import parse_size, show_size

    need_extra()
    systems = _pairs(min_os, "--min-os", "litert=android-26")
    rams = _pairs(min_ram, "--min-ram", "model-large.onnx=3GB")
    tags: dict[str, list[Path]] = {}
    for name, file in _pairs(tag, "--tag", "heads=head-a.onnx"):
        tags.setdefault(name, []).append(Path(file))
    made = publish_files(
        paths,
        repo,
        secret=passphrase(),
        rollout=_share(rollout),
        min_os=dict(systems),
        min_ram={what: parse_size(size, "--min-ram") for what, size in rams},
        tags=tags,
        progress=progress_for(quiet),
        **options,
    )
    if as_json:
        dump(made.to_dict())
        return
    release = made.index.releases[-1]
    click.echo(f"{made.index.name} {release.version} is in {made.index.channel} of {repo}")
    for variant in release.files:
        line = f"  {variant.file}  {show_size(variant.size)}, packed {show_size(variant.full.size)}"
        deltas = [f"{show_size(delta.size)} from {v}" for v, delta in made.deltas(variant)]
        click.echo(", ".join([line, *deltas]))


@click.command(short_help="Bring a device's folder to the newest version.")
@click.argument("url", metavar="URL")
@click.argument("name", metavar="NAME")
@click.option("--into", required=True, type=_folder, metavar="DIR", help="The device's folder.")
@click.option("--runtime", help="Whose file to take: onnx, ort, litert, executorch, coreml.")
@click.option("--os", metavar="OS", help="This device's system, like android-34 or ios-17.")
@click.option("--ram", metavar="SIZE", help="This device's RAM, like 3GB.")
@click.option(
    "--input", "shape", metavar="3x224x224", help="What the app feeds the network, if files differ."
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="Parts to take besides; they stay up to date.",
)
@channel_option
@click.option(
    "--trust",
    type=_folder,
    metavar="root.json",
    help="The publisher's 1.root.json, got from them; needed the first time.",
)
@click.option("--max-download", metavar="SIZE", help="Of one update; a larger one waits.")
@click.option("--metered", is_flag=True, help="The connection costs by the byte.")
@click.option(
    "--metered-budget", metavar="SIZE", help="Of one update with --metered.  [default: 0]"
)
@json_option
@quiet_option
def fetch(
    url: str,
    name: str,
    ram: str | None,
    shape: str | None,
    tags: tuple[str, ...],
    max_download: str | None,
    metered: bool,
    metered_budget: str | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Fetch the newest version of NAME, or only what changed, and switch to it in one step.

    Nothing that its publisher did not sign is taken. Offline, what is there stays.
    """
    from packlight.delivery.client import Client
    from packlight.delivery.inputs import parse_shape
    from packlight.units import parse_size, show_size

    client = Client(
        url,
        name,
        ram=None if ram is None else parse_size(ram, "--ram"),
        input_shape=None if shape is None else parse_shape(shape),
        max_download=None if max_download is None else parse_size(max_download, "--max-download"),
        metered_budget=parse_size(metered_budget, "--metered-budget") if metered_budget else 0,
        **options,
    )
    done = client.update(progress_for(quiet), tags=tags, metered=metered)
    if as_json:
        dump(done.to_dict())
        return
    if done.note is not None:
        click.echo(done.note)
    elif done.after == done.before and done.after is not None:
        click.echo(f"{name} {done.after.version} is the newest: {done.after.path}")
    elif done.after is not None:
        click.echo(
            f"{name} {done.after.version}: {done.after.path}, {show_size(done.received)} received, "
            f"the whole packed file has {show_size(done.full)}"
        )
    for tag, files in done.after.parts.items() if done.after else ():
        paths = ", ".join(str(one.path) for one in files)
        click.echo(f"  {tag}: {paths or 'not in this version'}")


@click.group(short_help="Repositories that publish writes and any static host serves.")
def repo() -> None:
    """Make and keep the folder that `publish` fills and any static host serves.

    Keys are encrypted with a passphrase: PACKLIGHT_PASSPHRASE, or typed in a terminal.
    """


@repo.command(short_help="Make a repository and its keys.")
@repo_argument
@keys_option
@json_option
@quiet_option
def init(repo: Path, keys: Path | None, as_json: bool, quiet: bool) -> None:
    """Make a folder to serve, and its keys beside it."""
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.delivery.repository import make

    need_extra()
    with progress_for(quiet).stage("keys"):
        made = make(repo, keys=keys, secret=passphrase(new=True))
    root = made.folder / "metadata" / "1.root.json"
    if as_json:
        dump({"repo": str(made.folder), "keys": str(made.keys), "root": str(root)})
        return
    click.echo(f"{made.folder}  serve this folder")
    click.echo(f"{made.keys}  keep these keys, apart from it; who loses them can publish no more")
    click.echo(f"{root}  ship this file with the app: what devices trust")


@repo.command(short_help="What is published, and until when it is believed.")
@repo_argument
@keys_option
@json_option
@quiet_option
def status(repo: Path, keys: Path | None, as_json: bool, quiet: bool) -> None:
    """Every version in every channel, and when signatures end; needs no passphrase."""
    from packlight.delivery.reporting import status_of, status_text

    with progress_for(quiet).stage("reading"):
        told = status_of(repo, keys)
    if as_json:
        dump(told)
    else:
        click.echo(status_text(told))


@repo.command(short_help="Sign anew; run it several times a day.")
@repo_argument
@keys_option
@json_option
@quiet_option
def refresh(repo: Path, keys: Path | None, as_json: bool, quiet: bool) -> None:
    """Sign timestamp and snapshot anew; targets and root when half of their time is over."""
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.delivery.reporting import expiries_text
    from packlight.delivery.repository import refresh as sign_anew

    need_extra()
    with progress_for(quiet).stage("sign"):
        ends = sign_anew(repo, keys=keys, secret=passphrase()).expiries()
    if as_json:
        dump({"expires": {role: end.isoformat() for role, end in ends.items()}})
    else:
        click.echo(expiries_text({role: end.isoformat() for role, end in ends.items()}))


@repo.command(short_help="Remove old versions, and files that none needs.")
@repo_argument
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Versions that stay in each channel.",
)
@keys_option
@json_option
@quiet_option
def gc(repo: Path, keep: int, keys: Path | None, as_json: bool, quiet: bool) -> None:
    """Keep the last N versions of each channel; files go two days after nothing names them."""
    from packlight.delivery.cleaning import clean
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.units import show_size

    need_extra()
    with progress_for(quiet).stage("clean"):
        done = clean(repo, keep=keep, keys=keys, secret=passphrase())
    if as_json:
        dump({"repo": str(repo), **vars(done)})
    else:
        click.echo(
            f"{done.versions} versions dropped, {done.files} files removed, {show_size(done.bytes)}"
        )


@repo.command("rotate-key", short_help="Another key for a role, after a theft.")
@repo_argument
@click.argument("role", metavar="root|targets|snapshot|timestamp")
@keys_option
@json_option
@quiet_option
def rotate_key(repo: Path, role: str, keys: Path | None, as_json: bool, quiet: bool) -> None:
    """Replace the key of ROLE; devices follow by themselves."""
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.delivery.rotation import rotate

    need_extra()
    with progress_for(quiet).stage("sign"):
        held = rotate(repo, role, keys=keys, secret=passphrase())
    if as_json:
        dump({"repo": str(repo), "role": role, "root": held.root.signed.version})
    else:
        click.echo(f"{held.keys / role}.key is new; the old {role} key is believed no more")


@repo.command(short_help="Offer a version no more.")
@repo_argument
@name_option
@version_option
@channel_option
@keys_option
@json_option
@quiet_option
def withdraw(repo: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Offer a version no more; devices that have it go back to the highest one that is left."""
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.delivery.publishing import withdraw as take_back

    need_extra()
    with progress_for(quiet).stage("sign"):
        take_back(repo, secret=passphrase(), **options)
    _told(repo, as_json, f"{options['name']} {options['version']} is withdrawn", options)


@repo.command(short_help="Change the share of devices that get a version.")
@repo_argument
@click.argument("share", metavar="SHARE")
@name_option
@version_option
@channel_option
@keys_option
@json_option
@quiet_option
def rollout(repo: Path, share: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Give a version to SHARE of all devices, like 50%; those that have it keep it."""
    from packlight.delivery.keys import need_extra, passphrase
    from packlight.delivery.publishing import rollout as roll_out

    need_extra()
    part = _share(share)
    with progress_for(quiet).stage("sign"):
        roll_out(repo, share=part, secret=passphrase(), **options)
    said = f"{options['name']} {options['version']} goes to {part:.4g} of all devices"
    _told(repo, as_json, said, options | {"rollout": part})


def _told(repo: Path, as_json: bool, said: str, options: dict[str, Any]) -> None:
    if as_json:
        kept = {key: value for key, value in options.items() if key != "keys"}
        dump({"repo": str(repo), **kept})
    else:
        click.echo(said)


def _pairs(given: tuple[str, ...], option: str, example: str) -> list[tuple[str, str]]:
    from packlight.errors import BadInput

    split = [one.partition("=") for one in given]
    if not all(what and value for what, _, value in split):
        raise BadInput(f"{option} takes two words with = between them, like {example}")
    return [(what, value) for what, _, value in split]


def _share(text: str) -> float:
    """10%, 0.1, or all: 100%, 1."""
    from packlight.units import parse_share

    return 1.0 if text.strip() in ("100%", "1", "1.0") else parse_share(text, "rollout")
