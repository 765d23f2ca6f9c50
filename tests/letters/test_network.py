"""The network's room follows the size that it has to fit."""

import pytest
import torch

from packlight.letters.network import LetterNet, channels_for, scaled, weights


@pytest.mark.parametrize("size", [8, 32, 65, 256])
@pytest.mark.parametrize("target", [1500, 10_000, 10_000_000])
def test_it_scores_every_class_of_every_image(size, target):
    channels = channels_for(target, 7, size)
    assert LetterNet(7, channels)(torch.zeros(3, 1, size, size)).shape == (3, 7)


def test_weights_are_those_that_the_network_has():
    channels = scaled(1, 32)
    held = [w for w in LetterNet(36, channels).parameters() if w.ndim > 1]
    assert weights(channels, 36) == sum(w.numel() for w in held)


def test_more_bytes_are_more_weights_and_more_classes_fewer_channels():
    sizes = [weights(channels_for(size, 36, 32), 36) for size in (2000, 5000, 10_000, 20_000)]
    assert sizes == sorted(set(sizes))
    assert sizes[2] * 2.3 / 8 + 1000 <= 10_000
    few, many = (channels_for(10_000, classes, 32) for classes in (10, 1000))
    assert all(a > b for a, b in zip(few, many, strict=True))


def test_no_more_room_than_letters_can_use():
    assert channels_for(10**6, 36, 32) == channels_for(10**9, 36, 32)
