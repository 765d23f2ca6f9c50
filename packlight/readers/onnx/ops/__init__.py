"""What the ONNX operators mean, one family per file; importing a file registers its operators."""
