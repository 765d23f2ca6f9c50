"""Deep Compression's sparse form and Huffman code, one symbol after the other."""

from __future__ import annotations


def sparse_form(values: list[float], bits: int) -> list[tuple[int, float]]:
    """(zeros before it, value) of every weight stored, a zero stored where a gap is too long."""
    longest = 2**bits - 1
    stored: list[tuple[int, float]] = []
    gap = 0
    for value in values:
        if value == 0:
            if gap == longest:
                later = any(rest != 0 for rest in values[len(_restored(stored)) + gap :])
                if later:
                    stored.append((gap, 0.0))
                    gap = 0
                    continue
            gap += 1
        else:
            stored.append((gap, value))
            gap = 0
    return stored


def _restored(stored: list[tuple[int, float]]) -> list[float]:
    values: list[float] = []
    for gap, value in stored:
        values += [0.0] * gap + [value]
    return values


def restore(stored: list[tuple[int, float]], count: int) -> list[float]:
    """The weights again."""
    values = _restored(stored)
    return values + [0.0] * (count - len(values))


def huffman_codes(symbols: list[object]) -> dict[object, str]:
    """A code for every symbol, from the tree."""
    nodes: list[tuple[int, object]] = [(symbols.count(one), one) for one in set(symbols)]
    if len(nodes) == 1:
        return {nodes[0][1]: "0"}
    while len(nodes) > 1:
        nodes.sort(key=lambda node: node[0])
        (a, left), (b, right) = nodes[:2]
        nodes = [*nodes[2:], (a + b, [left, right])]
    codes: dict[object, str] = {}

    def walk(node: object, code: str) -> None:
        if isinstance(node, list):
            walk(node[0], code + "0")
            walk(node[1], code + "1")
        else:
            codes[node] = code

    walk(nodes[0][1], "")
    return codes
