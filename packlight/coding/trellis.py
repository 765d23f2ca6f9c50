"""Trellis-coded integers: every level says which levels may follow it.

Two grids interleave: grid 0 holds the even levels, grid 1 zero and the odd ones. A sequence begins
in state 0, is on grid `state & 1`, and moves by the parity of its index, the place of the level
among those of its grid. Levels of half the step then cost one bit less than they look, for the
coder knows the grid; and of all paths some lie so close to the weights that 5 % of the bytes are
saved at the same error. To a runtime they are ordinary int8.

In a tensor the sequences run down its columns: over the output channels.

Sources: Marcellin & Fischer, IEEE Trans. Communications 38 (1990) 82; Schwarz et al., IEEE Trans.
Circuits and Systems for Video Technology 31 (2021) 3891 (driven by parity, as in VVC); Haase et
al., IEEE ICIP 2020, 36 (for networks).
"""

from __future__ import annotations

import numpy as np

from packlight.types import Array

NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]])
"""(state, parity of the index) -> the next state."""

TOP = 63  # the largest index; its levels, 126 and 125, are int8


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
