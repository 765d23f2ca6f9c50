"""Samples to calibrate on and samples to judge with.

A source (folder, zip, .npz, .npy, arrays, loader) becomes a `Dataset`; `split` parts it before
anything is fitted. Labels are carried along to measure with, never to fit.
"""

from packlight.data.images import Preprocess
from packlight.data.samples import Dataset, Samples, runs
from packlight.data.sources import open_data, random_data
from packlight.data.splitting import Split, check_labels, check_lessons, split

__all__ = [
    "Dataset",
    "Preprocess",
    "Samples",
    "Split",
    "check_labels",
    "check_lessons",
    "open_data",
    "random_data",
    "runs",
    "split",
]
