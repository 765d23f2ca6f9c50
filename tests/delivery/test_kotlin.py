"""The Kotlin of examples/android compiles, against stand-ins for Android and onnxruntime."""

from __future__ import annotations

from pathlib import Path

from tests.delivery.test_java import CLIENT
from tests.native.compiling import NATIVE, ROOT, run, tool

STAND_INS = sorted((Path(__file__).parent / "kotlin").glob("*.kt"))


def test_the_worker_compiles(tmp_path):
    compiler, javac = tool("kotlinc"), tool("javac")
    run(javac, "--release", "11", "-d", tmp_path / "java", *CLIENT.glob("*.java"),
        NATIVE / "jni" / "Packlight.java")  # fmt: skip
    worker = ROOT / "examples" / "android" / "UpdateWorker.kt"
    run(compiler, "-Werror", "-classpath", tmp_path / "java", "-d", tmp_path / "kotlin", worker,
        *STAND_INS)  # fmt: skip
    made = {path.stem for path in (tmp_path / "kotlin" / "org" / "packlight").rglob("*.class")}
    assert {"Letters", "UpdateWorker"} <= made
