"""Network -> TFLite flatbuffer: what LiteRT runs, on phones and here."""
