"""The native library builds everywhere, alone, small, and as its guide says."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from packlight.coding import container
from packlight.coding.container import Chunk, read
from packlight.coding.packing import compress
from tests.native.compiling import DECODER, INCLUDE, NATIVE, ROOT, SOURCES, objects, run, tool

GUIDE = (ROOT / "docs" / "native.md").read_text()
EXAMPLES = [code for code in re.findall(r"```c\n(.*?)```", GUIDE, re.S) if "int main" in code]
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror")
TEXT = b"Pack light, and the network travels. " * 40


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "text.plt"
    path.write_bytes(compress(TEXT))
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The library's objects, one for each source, fit for programs and shared libraries."""
    return objects(tmp_path_factory.mktemp("objects"), "-O2", "-fPIC", sources=SOURCES)


@pytest.fixture(scope="module")
def decoder(compiled):
    """The objects of the decoder alone."""
    return [part for part in compiled if part.stem in {source.stem for source in DECODER}]


@pytest.fixture(scope="module", params=EXAMPLES, ids=["at once", "chunk by chunk"])
def unpack(request, decoder, tmp_path_factory):
    """An example of the guide as a program."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "unpack.c").write_text(request.param)
    run(tool("cc"), "-O2", *STRICT[:3], f"-I{INCLUDE}", folder / "unpack.c", *decoder,
        "-o", folder / "unpack")  # fmt: skip
    return folder / "unpack"


def test_every_source_compiles_without_a_build_system(compiled):
    assert len(compiled) == len(SOURCES)
    assert all(part.exists() for part in compiled)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_find_nothing_to_warn_of(tmp_path, compiler):
    objects(tmp_path, "-O2", *STRICT, sources=SOURCES, cc=compiler)


def test_the_header_serves_cpp(tmp_path, compiled):
    source = tmp_path / "use.cpp"
    source.write_text(
        '#include "packlight.h"\nint main() { return plt_version() - PLT_VERSION; }\n'
    )
    use = tmp_path / "use"
    run(tool("c++"), "-Wall", "-Werror", f"-I{INCLUDE}", source, *compiled, "-o", use)
    run(use)


def test_the_module_map_serves_swift(tmp_path):
    """Clang reads it as Swift does."""
    source = tmp_path / "use.m"
    source.write_text("@import CPacklight;\nint problem = PLT_DAMAGED;\n")
    run(tool("clang"), "-fsyntax-only", "-fmodules", f"-fmodules-cache-path={tmp_path}",
        f"-I{INCLUDE}", source)  # fmt: skip


def test_the_decoder_is_below_64_kb_of_machine_code(tmp_path):
    parts = objects(tmp_path, "-Os")
    rows = [line.split() for line in run(tool("size"), "-A", *parts).splitlines()]
    code = sum(int(row[1]) for row in rows if row and row[0].startswith(".text"))
    print(f"the decoder is {code:,} bytes of machine code")
    assert 1000 < code < 64 << 10


def test_the_decoder_needs_nothing_but_memory_functions(tmp_path):
    """No allocation, no input or output, nothing that a phone or a kernel could lack."""
    parts = objects(tmp_path, "-O2", "-fno-stack-protector", "-U_FORTIFY_SOURCE")
    listed = [line.split() for line in run(tool("nm"), *parts).splitlines()]
    needed = {row[1] for row in listed if len(row) == 2 and row[0] == "U"}
    own = {row[2] for row in listed if len(row) == 3}
    foreign = needed - own - {"_GLOBAL_OFFSET_TABLE_"}
    assert foreign <= {"memcpy", "memset", "memcmp", "memmove", "strchr"}


def test_no_two_sources_export_a_name_outside_plt(compiled):
    listed = run(tool("nm"), "-g", "--defined-only", *compiled).splitlines()
    names = [line.split()[2] for line in listed if len(line.split()) == 3]
    assert len(names) == len(set(names)) > 10
    assert all(name.startswith("plt_") for name in names)


def test_the_guides_examples_compile_and_unpack(tmp_path, packed, unpack):
    assert run(unpack, packed, binary=True) == TEXT
    cut = tmp_path / "cut.plt"
    cut.write_bytes(packed.read_bytes()[:-1])
    refused = subprocess.run([unpack, cut], capture_output=True)
    assert refused.returncode == 1
    assert b"ends too early" in refused.stderr


def test_the_guides_examples_check_all_that_they_unpack(tmp_path, packed, unpack):
    """Chunks that are right, each, but not those of the file that the header speaks of."""
    (chunk,) = read(packed.read_bytes()).chunks
    body = packed.read_bytes()[chunk.packed_offset :]
    wrong = container.write(TEXT[::-1], [Chunk(chunk.codec, len(TEXT), body)])
    (tmp_path / "wrong.plt").write_bytes(wrong)
    refused = subprocess.run([unpack, tmp_path / "wrong.plt"], capture_output=True)
    assert refused.returncode == 1
    assert b"the file is damaged" in refused.stderr


HASHES = """
#include "plt_sha256.h"
#include <stdio.h>

int main(void)
{
    unsigned char data[400], digest[32];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7);
    for (size_t n = 0; n <= sizeof data; n++) {
        plt_sha256 h;
        plt_sha256_init(&h);
        plt_sha256_add(&h, data, n / 3);
        plt_sha256_add(&h, data + n / 3, n - n / 3);
        plt_sha256_finish(&h, digest);
        fwrite(digest, 1, 32, stdout);
    }
}
"""


@pytest.mark.parametrize("flags", [["-DPLT_PLAIN"], []], ids=["plain", "quick"])
def test_sha256_is_the_same_with_and_without_instructions_for_it(tmp_path, flags):
    (tmp_path / "hashes.c").write_text(HASHES)
    sources = sorted((NATIVE / "src").glob("plt_sha256*.c"))
    folders = (f"-I{INCLUDE}", f"-I{NATIVE / 'src'}")
    run(tool("cc"), "-O2", *STRICT, *flags, *folders, tmp_path / "hashes.c", *sources,
        "-o", tmp_path / "hashes")  # fmt: skip
    data = bytes(i * 7 & 255 for i in range(400))
    expected = b"".join(hashlib.sha256(data[:n]).digest() for n in range(401))
    assert run(tmp_path / "hashes", binary=True) == expected


def test_the_guide_lists_every_error():
    header = (INCLUDE / "packlight.h").read_text()
    body = re.search(r"enum plt_error \{(.*?)\};", header, re.S)[1]
    assert re.findall(r"^    (PLT_\w+)", body, re.M) == re.findall(r"^\| `(PLT_\w+)`", GUIDE, re.M)


def test_cmake_builds_installs_and_is_found(tmp_path, packed):
    cmake = tool("cmake")
    build, prefix, user = tmp_path / "build", tmp_path / "prefix", tmp_path / "user"
    run(cmake, "-S", NATIVE, "-B", build, "-DCMAKE_BUILD_TYPE=Release", "-DPLT_ENCODER=ON",
        f"-DCMAKE_INSTALL_PREFIX={prefix}")  # fmt: skip
    run(cmake, "--build", build)
    run(cmake, "--install", build)
    assert (prefix / "include" / "packlight_encode.h").exists()
    user.mkdir()
    (user / "unpack.c").write_text(EXAMPLES[0])
    (user / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\n"
        "project(user C)\n"
        "find_package(packlight CONFIG REQUIRED)\n"
        "add_executable(unpack unpack.c)\n"
        "target_link_libraries(unpack PRIVATE packlight::packlight)\n"
    )
    run(cmake, "-S", user, "-B", user / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run(cmake, "--build", user / "build")
    assert run(user / "build" / "unpack", packed, binary=True) == TEXT


JAVA_USE = """
import java.nio.file.*;
import org.packlight.Packlight;

public class Use {
    public static void main(String[] words) throws Exception {
        byte[] packed = Files.readAllBytes(Path.of(words[0]));
        byte[] raw = Packlight.unpack(packed, Long.parseLong(words[1]));
        System.out.write(raw, 0, raw.length);
        System.out.flush();
    }
}
"""


@pytest.fixture(scope="module")
def java(decoder, tmp_path_factory):
    """Runs the Java class on a file with a limit."""
    javac, machine = tool("javac"), tool("java")
    home = Path(javac).resolve().parents[1] / "include"
    if not (home / "jni.h").exists():
        pytest.skip(f"needs jni.h, which is not in {home}")
    folder = tmp_path_factory.mktemp("java")
    (folder / "Use.java").write_text(JAVA_USE)
    run(tool("cc"), "-O2", "-shared", "-fPIC", *STRICT, f"-I{home}", f"-I{home / 'linux'}",
        f"-I{INCLUDE}", NATIVE / "jni" / "packlight_jni.c", *decoder,
        "-o", folder / "libpacklight_jni.so")  # fmt: skip
    run(javac, "-Xlint:all", "-Werror", "-d", folder, NATIVE / "jni" / "Packlight.java",
        folder / "Use.java")  # fmt: skip

    def unpack(path, limit):
        command = [machine, "-Xcheck:jni", f"-Djava.library.path={folder}", "-cp", folder, "Use"]
        return subprocess.run([*command, path, str(limit)], capture_output=True)

    return unpack


def test_java_unpacks(java, packed):
    done = java(packed, len(TEXT))
    assert done.stdout == TEXT, done.stderr.decode()


@pytest.mark.parametrize(
    ("limit", "change", "text"),
    [
        (len(TEXT) - 1, lambda data: data, "larger than maxOutput"),
        (-1, lambda data: data, "larger than maxOutput"),
        (1 << 40, lambda data: data[:-1], "ends too early"),
        (1 << 40, lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged"),
        (1 << 40, lambda data: b"PK" + data, "not a .plt"),
    ],
    ids=["larger than allowed", "negative limit", "cut", "changed", "something else"],
)
def test_java_throws_what_is_wrong(java, packed, tmp_path, limit, change, text):
    path = tmp_path / "bad.plt"
    path.write_bytes(change(packed.read_bytes()))
    done = java(path, limit)
    assert done.returncode == 1
    assert b"java.io.IOException" in done.stderr
    assert text in done.stderr.decode()
