package org.packlight;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.file.Files;
import java.util.zip.GZIPInputStream;

/**
 * HTTP with bounds on length and slowness. Redirects are HttpURLConnection's: a few, and none from
 * https to http. An IOException that is no Refused means that trying later may help.
 */
final class Web {
    private static final int WAIT = 20_000; // milliseconds, for a connection and between two bytes
    private static final long GRACE = 20_000; // milliseconds, after which the rate counts
    private static final long RATE = 1000; // bytes per second, on average
    private static final int TRIES = 4; // connections for one file, each of which has brought bytes

    long received; // bytes of all bodies

    /** All of a small file; FileNotFoundException where there is none. */
    byte[] small(String url, long most) throws IOException {
        HttpURLConnection connection = asked(url, 0, "gzip");
        try {
            if (connection.getResponseCode() != 200) throw status(connection, url);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            copy(connection, url, most, (chunk, count) -> out.write(chunk, 0, count));
            return out.toByteArray();
        } finally {
            connection.disconnect();
        }
    }

    /** A file of known length, gone on with where an earlier download stopped; not verified yet. */
    void download(String url, File part, long size) throws IOException {
        if (part.length() > size) Files.delete(part.toPath());
        long have = part.length();
        for (int tries = 0; have < size; tries++) {
            HttpURLConnection connection = asked(url, have, "identity");
            try (RandomAccessFile file = new RandomAccessFile(part, "rw")) {
                file.seek(start(connection, url, have));
                file.setLength(file.getFilePointer());
                try {
                    copy(connection, url, size - file.getFilePointer(),
                            (chunk, count) -> file.write(chunk, 0, count));
                } catch (Refused tooLong) {
                    file.setLength(0);
                    throw tooLong;
                } finally {
                    file.getFD().sync();
                }
            } finally {
                connection.disconnect();
            }
            long now = part.length();
            if (now < size && (now <= have || tries == TRIES)) {
                throw new IOException(url + " stopped after " + now + " of " + size + " bytes");
            }
            have = now;
        }
    }

    private static HttpURLConnection asked(String url, long have, String encoding)
            throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setConnectTimeout(WAIT);
        connection.setReadTimeout(WAIT);
        connection.setUseCaches(false);
        connection.setRequestProperty("Accept-Encoding", encoding);
        // The URL is the file's own SHA-256, so what arrived before can not be of another one.
        if (have > 0) connection.setRequestProperty("Range", "bytes=" + have + "-");
        return connection;
    }

    /** Where in the file the answer's first byte belongs; hosts without ranges send all of it. */
    private static long start(HttpURLConnection connection, String url, long have)
            throws IOException {
        int status = connection.getResponseCode();
        String range = connection.getHeaderField("Content-Range");
        if (status == 200) return 0;
        if (status == 206 && range != null && range.startsWith("bytes " + have + "-")) return have;
        throw status(connection, url);
    }

    private static IOException status(HttpURLConnection connection, String url)
            throws IOException {
        int status = connection.getResponseCode();
        String text = url + " is answered with HTTP " + status;
        if (status == 404 || status == 403 || status == 410) return new FileNotFoundException(text);
        return status >= 500 ? new IOException(text) : new Refused(text);
    }

    private void copy(HttpURLConnection connection, String url, long most, Sink sink)
            throws IOException {
        byte[] chunk = new byte[1 << 16];
        long count = 0, start = System.nanoTime();
        boolean gzip = "gzip".equals(connection.getContentEncoding());
        InputStream body = new Counted(connection.getInputStream());
        try (InputStream in = gzip ? new GZIPInputStream(body) : body) {
            while (true) {
                int got;
                try {
                    got = in.read(chunk);
                } catch (IOException cutOff) {
                    return; // the length and the hash tell
                }
                if (got < 0) return;
                count += got;
                if (count > most) throw new Refused(url + " is longer than was signed");
                sink.take(chunk, got);
                long took = (System.nanoTime() - start) / 1_000_000;
                if (took > GRACE && count * 1000 < RATE * took) {
                    throw new IOException(url + " arrives too slowly");
                }
            }
        }
    }

    /** What arrives, before anything is unpacked. */
    private final class Counted extends FilterInputStream {
        Counted(InputStream in) {
            super(in);
        }

        @Override
        public int read() throws IOException {
            int found = super.read();
            if (found >= 0) received++;
            return found;
        }

        @Override
        public int read(byte[] out, int start, int size) throws IOException {
            int got = super.read(out, start, size);
            if (got > 0) received += got;
            return got;
        }
    }

    private interface Sink {
        void take(byte[] chunk, int count) throws IOException;
    }
}
