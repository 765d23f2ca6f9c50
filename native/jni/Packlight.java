package org.packlight;

import java.io.IOException;

/** Restores files from .plt containers. Any number of threads may do so at once. */
public final class Packlight {
    static {
        System.loadLibrary("packlight_jni");
    }

    private Packlight() {}

    /**
     * The bytes that were packed.
     *
     * @param packed the whole container
     * @param maxOutput no more bytes than this are allocated for the result
     * @throws IOException the container is cut, damaged, or larger than maxOutput when unpacked
     */
    public static byte[] unpack(byte[] packed, long maxOutput) throws IOException {
        return unpack(packed, null, maxOutput);
    }

    /**
     * The same, of a container that may hold only what differs from another file.
     *
     * @param base the file that it differs from, unpacked; null for none
     * @throws IOException as above, or the difference is one to another file
     */
    public static native byte[] unpack(byte[] packed, byte[] base, long maxOutput)
            throws IOException;
}
