package org.packlight;

import java.io.IOException;

/** What is served can not be trusted or used; the device stays as it is, and trying again is no use. */
public final class Refused extends IOException {
    private static final long serialVersionUID = 1;

    Refused(String message) {
        super(message);
    }
}
