"""ONNX files -> Network.

    reader.py     the steps in order
    file.py       bytes -> a ModelProto that keeps its promises (external data read, sizes right)
    graph.py      ModelProto -> Graph: nodes with checked attributes, constants as arrays
    examples.py   the inputs to trace with, and whether the batch may vary
    steer.py      inputs that choose a branch get their value
    module.py     Graph -> nn.Module: runs the nodes with torch, parameters under their own names
    registry.py   the table of operators, filled by ops/, one family per file
    values.py     values known while reading, next to tensors that are not

A file is executed once on symbolic tensors by `torch.export`; what the nodes called is the graph.
"""
