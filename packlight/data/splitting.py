"""Part samples before anything is fitted.

`fit` samples are calibrated on, `steer` samples may guide a search, `judge` samples do neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packlight.data.samples import Dataset, Samples
from packlight.errors import BadInput

FEWEST_JUDGES = 20
STEER = 2000


@dataclass(frozen=True)
class Split:
    """A data set, parted.

    Args:
        fit: calibrated on.
        learn: trained on: `fit`, or where training was asked for, all of the training part but
            `steer`.
        steer: of the training part, disjoint from the others; None where there is no such part.
        judge: nothing was fitted on them.
        description: of the judges, one sentence.
    """

    fit: Samples
    learn: Samples
    steer: Samples | None
    judge: Samples
    description: str


def split(
    dataset: Dataset,
    calibrate: int = 300,
    seed: int = 0,
    steer: int = STEER,
    *,
    learning: bool = False,
) -> Split:
    """Part a data set at random, the same way for the same seed.

    Args:
        dataset: with a training part, that part is fitted and steered on and the test part judges;
            without, `calibrate` samples are fitted on and all others judge.
        calibrate: samples to fit on; 0 leaves everything to the judges.
        seed: of the choice.
        steer: at most this many samples may steer.
        learning: whether all other samples of the training part are to be trained on.
    Raises:
        BadInput: too few samples, or a count below 0.
    """
    for name, count in (("calibrate", calibrate), ("steer", steer)):
        if count < 0:
            raise BadInput(f"--{name} {count} is no number of samples; give 0 or more")
    shuffle = np.random.default_rng(seed).permutation
    if dataset.train is not None:
        order = shuffle(len(dataset.train))
        if len(order) < max(calibrate, 1):
            raise BadInput(
                f"{dataset.name} has {len(order)} training samples and {calibrate} are to be "
                f"calibrated on; give --calibrate {len(order)} or fewer"
            )
        rest = np.sort(order[calibrate : calibrate + steer])
        fit, guide = dataset.train.take(order[:calibrate]), dataset.train.take(rest)
        more = order[calibrate + steer :] if learning else order[:0]
        learn = dataset.train.take(np.concatenate([order[:calibrate], more]))
        judge, repeats = _unlike(dataset.test, learn, guide, dataset.name)
        return Split(
            fit,
            learn,
            guide if len(guide) else None,
            judge,
            f"{len(judge)} test samples of {dataset.name}, none of them fitted on{repeats}",
        )
    total = len(dataset.test)
    if total < calibrate + FEWEST_JUDGES:
        raise BadInput(
            f"{dataset.name} has {total} samples; {calibrate} to calibrate on and at least "
            f"{FEWEST_JUDGES} to judge with are needed"
            + (
                f"; give --calibrate {total - FEWEST_JUDGES} or fewer"
                if total > FEWEST_JUDGES
                else "; give more samples"
            )
        )
    order = shuffle(total)
    fit = dataset.test.take(order[:calibrate])
    others = dataset.test.take(np.sort(order[calibrate:]))
    judge, repeats = _unlike(others, fit, None, dataset.name)
    return Split(
        fit,
        fit,
        None,
        judge,
        f"{len(judge)} samples of {dataset.name} that nothing was fitted on{repeats}",
    )


def _unlike(judge: Samples, fit: Samples, guide: Samples | None, name: str) -> tuple[Samples, str]:
    """The judges that equal no sample the fit sees, and words for how many those leave out."""
    seen = set(fit.fingerprints())
    if guide is not None:
        seen.update(guide.fingerprints())
    repeats = {i for i, mark in enumerate(judge.fingerprints()) if mark in seen}
    if not repeats:
        return judge, ""
    left = judge.take(i for i in range(len(judge)) if i not in repeats)
    if not len(left):
        raise BadInput(
            f"{name}: each of the {len(judge)} samples left to judge with equals one that is "
            "fitted on; give samples that differ"
        )
    return left, f" ({len(repeats)} that equal a fitted one left out)"


def check_lessons(samples: Samples, classes: int, who: str) -> None:
    """Make sure that `--labels` can be learnt from.

    Args:
        samples: to learn from.
        classes: of the network; 0 if it does not classify.
        who: the network, in a sentence.
    Raises:
        BadInput: there are no classes or no labels, or a label is no class.
    """
    if classes == 0:
        raise BadInput(f"--labels needs {who} that classifies; leave it out for this one")
    if samples.labels is None:
        raise BadInput(
            "--labels needs samples with labels to learn from, and these have none; give class "
            "folders, a labels.csv or an .npz with labels, or leave it out"
        )
    check_labels(samples, classes)


def check_labels(samples: Samples, classes: int) -> None:
    """Make sure that every label is a class of the network.

    Raises:
        BadInput: names the first sample whose label is not.
    """
    labels = samples.labels
    if labels is None:
        return
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = int(wrong[0])
        raise BadInput(
            f"{samples.names[first]} has the label {labels[first]}, the network has {classes} "
            f"classes (0 to {classes - 1})"
        )
