"""Trellis-coded integers: every level says which levels may follow it.

Two grids interleave: grid 0 holds the even levels, grid 1 zero and the odd ones. A sequence begins
in state 0, is on grid `state & 1`, and moves by the parity of its index, the place of the level
among those of its grid. Levels of half the step then cost one bit less than they look, for the
coder knows the grid; and of all paths some lie so close to the weights that 5 % of the bytes are
saved at the same error. To a runtime they are ordinary int8.

In a tensor the sequences run over the output channels, which are its rows, or its columns where a
matrix product wants it turned round.

Sources: Marcellin & Fischer, IEEE Trans. Communications 38 (1990) 82; Schwarz et al., IEEE Trans.
Circuits and Systems for Video Technology 31 (2021) 3891 (driven by parity, as in VVC); Haase et
al., IEEE ICIP 2020 (for networks).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from packlight.types import Array

NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]])
"""(state, parity of the index) -> the next state."""


@dataclass(frozen=True)
class Path:
    """Levels as a path through the trellis.

    Args:
        index: (rows, columns) int64.
        grid: of the same shape, 0 or 1.
        along: the sequences run along the rows, not down the columns.
    """

    index: Array
    grid: Array
    along: bool


def find(levels: Array) -> Path | None:
    """The path that a matrix of levels is, if it is one, and not all on grid 0.

    Args:
        levels: (rows, columns) integers.
    """
    for along in (False, True):
        found = indices(levels.T if along else levels)
        if found is not None and found[1].any() and (levels & 1).any():
            index, grid = (part.T if along else part for part in found)
            return Path(index, grid, along)
    return None


def indices(levels: Array) -> tuple[Array, Array] | None:
    """The indices of levels and the grids they are on, if every level is on its grid.

    Args:
        levels: (rows, columns) integers; the sequences run down the columns.
    Returns:
        Two int64 arrays of the same shape, or None.
    """
    state = np.zeros(levels.shape[1], np.int64)
    index = np.empty(levels.shape, np.int64)
    grid = np.empty(levels.shape, np.int64)
    for row, found in enumerate(levels.astype(np.int64)):
        on = state & 1
        if ((found & 1 != on) & (found != 0)).any():
            return None
        index[row] = (found + on * np.sign(found)) // 2
        grid[row] = on
        state = NEXT[state, index[row] & 1]
    return index, grid
