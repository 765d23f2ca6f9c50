"""ONNX files -> Network."""
