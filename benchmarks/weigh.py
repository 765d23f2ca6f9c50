"""Parameters and multiply-adds, as `packlight weigh` and other counters tell them.

    python -m benchmarks.weigh [--docs docs]

onnx-tool reads the ONNX files of ../shared; torchinfo and fvcore watch modules of `packlight.zoo`.
Counters differ in what they call a multiply-add, so those of convolutions and matrix products alone
are told too: there a difference can only be the biases, or a mistake.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import packlight
from benchmarks import history
from benchmarks.lossless_pages import told
from benchmarks.lossy_pages import PAGE, rows_of, spliced
from benchmarks.peers import COUNTERS, SCRIPTS, NotInstalled, Peer, environment
from benchmarks.peers.counters import INPUTS, PHOTOGRAPH
from benchmarks.subjects import SHARED
from packlight.files import replace_file
from packlight.report.words import count, minus

FILES = (
    *("squeezenet1_1", "squeezenet1_0_deepcompressed", "face_rfb320", "resnet8_cifar10_bn"),
    *("kws_dscnn", "ad_autoencoder", "lenet5_caffe", "lenet_300_100"),
)
MODULES = (
    *("resnet18", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2", "squeezenet1_1", "lenet5"),
)
MARKS = "<!-- weigh: written by benchmarks/weigh.py -->", "<!-- weigh: end -->"
TIMEOUT = 600.0  # seconds for all networks of one tool

Row = dict[str, Any]


def main() -> None:
    """Count, print, keep the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path("build/peers"))
    parser.add_argument("--json", type=Path, default=Path("build/weigh.json"))
    parser.add_argument("--docs", type=Path, help="the folder of docs to write the results into")
    options = parser.parse_args()
    if not SHARED.exists():
        parser.error(f"{SHARED.name} is not beside the project")
    record = history.circumstances({peer.name: peer.version for peer in COUNTERS})
    record["rows"] = list(_rows(options.cache))
    print(markdown(record))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.docs:
        history.keep("weigh", record, options.docs)
        page = options.docs / PAGE
        replace_file(page, spliced(page.read_text(), markdown(record), MARKS).encode())


def _rows(cache: Path) -> Iterator[Row]:
    """Ours and each tool's, network by network."""
    paths = {f"{name}.onnx": str(SHARED / "models" / f"{name}.onnx") for name in FILES}
    files, *modules = COUNTERS
    for peer, names in [(files, paths), *((peer, {n: n for n in MODULES}) for peer in modules)]:
        theirs = counted(peer, list(names.values()), cache)
        for name, found in zip(names, theirs, strict=True):
            yield {"network": name, "tool": peer.name, **found, "ours": _ours(names[name])}


def _ours(network: str) -> Row:
    if network.endswith(".onnx"):
        table = packlight.weigh(network)
    else:
        example = torch.zeros(INPUTS.get(network, PHOTOGRAPH))
        table = packlight.weigh(getattr(packlight.zoo, network)().eval(), (example,))
    return {"parameters": table.totals.parameter_count, "macs": table.totals.macs}


def counted(peer: Peer, networks: list[str], cache: Path) -> list[Row]:
    """What a tool counts; why it did not, for all of them, where it does not run."""
    try:
        python = environment(peer, cache)
    except NotInstalled as problem:
        return [{"failed": str(problem)}] * len(networks)
    # packlight and torch come from here; what the tool itself brings, from its own environment
    ours = [str(Path(packlight.__file__).parents[1]), sysconfig.get_path("purelib")]
    modules = peer is not COUNTERS[0]
    own = {**os.environ, **({"PYTHONPATH": os.pathsep.join(ours)} if modules else {})}
    try:
        done = subprocess.run(
            [str(python), str(SCRIPTS / peer.script), peer.name, *networks],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=own,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [{"failed": f"was stopped after {TIMEOUT:.0f} seconds"}] * len(networks)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [{"failed": f"exit code {done.returncode}: {last[:200]}"}] * len(networks)
    rows: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return rows


def markdown(record: dict[str, Any]) -> str:
    """A row per network and tool: theirs, and by how much they are above ours."""
    table = [
        ["network", "tool", "parameters", "less ours", "MACs", "of ours", "products alone, of ours"]
    ]
    for row in record["rows"]:
        ours = row["ours"]
        if "failed" in row:
            table.append([row["network"], row["tool"], row["failed"], "", "", "", ""])
            continue
        table.append(
            [
                row["network"],
                row["tool"],
                count(row["parameters"]),
                minus(f"{row['parameters'] - ours['parameters']:,}"),
                count(row["macs"]),
                _share(row["macs"], ours["macs"]),
                _share(row["products"], ours["macs"]),
            ]
        )
    return "\n".join([told(record), "", *rows_of(table)])


def _share(theirs: int, ours: int) -> str:
    return "the same" if theirs == ours else f"{100 * theirs / ours:.2f} %"


if __name__ == "__main__":
    main()
