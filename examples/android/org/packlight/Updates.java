package org.packlight;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * One network of a packlight repository on one device, brought up to date or left as it is.
 *
 * <pre>
 * Updates updates = new Updates("https://host/networks", "letters", folder, root, "onnx", "android-34");
 * Updates.Result done = updates.update(1_000_000);
 * File network = updates.current(); // null before the first version; asks nobody
 * </pre>
 *
 * Plain Java 11 with java.security's "Ed25519": JDK 15, or Android with a provider that has it. Two
 * processes must not update one folder at the same time; in one process updates take turns.
 */
public final class Updates {
    private final String url, name, runtime, os;
    private final File folder;
    private final byte[] root;

    /** What came of an update. */
    public static final class Result {
        /** In use now; null where nothing is. */
        public final String version;
        /** Whether it was not in use before. */
        public final boolean changed;
        /** Bytes of everything that the host sent. */
        public final long received;
        /** What was downloaded, in order: "full" or "delta". */
        public final List<String> files;
        /** Why the device is not up to date, or null. */
        public final String note;

        Result(Store store, String before, long received, List<String> files, String note) {
            this.version = store.current == null ? null : store.current.version;
            this.changed = version != null && !version.equals(before);
            this.received = received;
            this.files = files;
            this.note = note;
        }
    }

    /**
     * @param url where the repository is served
     * @param folder this device's own, for this network alone
     * @param root 1.root.json of the publisher, as the app ships it
     * @param runtime whose file to take: onnx, ort, litert, executorch
     * @param os this device's system, like android-34
     */
    public Updates(String url, String name, File folder, byte[] root, String runtime, String os) {
        this.url = url.replaceAll("/+$", "");
        this.name = name;
        this.folder = folder;
        this.root = root.clone();
        this.runtime = runtime;
        this.os = os;
    }

    /** The file in use; null where there is none. */
    public File current() throws IOException {
        Store.Installed found = new Store(folder, name).current;
        return found == null ? null : found.file;
    }

    /** The app can not use what it got: back to the version before, and never that one again. */
    public void markBad() throws IOException {
        synchronized (Updates.class) {
            new Store(folder, name).markBad();
        }
    }

    /**
     * Bring the device to the version that it should have.
     *
     * @param maxDownload bytes of packed files that this update may take
     * @throws Refused what is served can not be trusted or used; what is in use stays
     * @throws IOException the host can not be reached, or stopped; a later try goes on from there
     */
    public Result update(long maxDownload) throws IOException {
        synchronized (Updates.class) {
            Store store = new Store(folder, name);
            Files.createDirectories(store.hidden.toPath());
            if (!store.pointer().exists()) store.write(); // the device keeps its id from now on
            return update(store, new Web(), maxDownload);
        }
    }

    private Result update(Store store, Web web, long maxDownload) throws IOException {
        String now = store.current == null ? null : store.current.version;
        Tuf tuf = new Tuf(web, url, new File(store.hidden, "metadata"), Instant.now());
        Index index = new Index(tuf.target(root, name + "/stable.json"), name, "stable");
        Index.Release release = null;
        Index.Variant variant = null;
        for (Index.Release one : index.releases) { // the highest comes last
            Index.Variant found = mine(one);
            boolean offered = !one.withdrawn && !store.bad.contains(one.version) && found != null
                    && (one.version.equals(now) || chance(store.install, one.version) < one.rollout);
            if (offered) {
                release = one;
                variant = found;
            }
        }
        if (release == null) {
            return new Result(store, now, web.received, List.of(), "no version is for this device");
        }
        Map<String, Store.Installed> held = store.held();
        List<String> files = new ArrayList<>();
        if (!release.version.equals(now) || !held.containsKey(variant.sha256)) {
            List<Index.Packed> steps = index.cheapest(variant, held.keySet());
            long needed = 0;
            for (Index.Packed one : steps) {
                needed += one.size;
                files.add(one.base == null ? "full" : "delta");
            }
            if (needed > maxDownload) {
                String note = release.version + " takes " + needed + " bytes";
                return new Result(store, now, web.received, List.of(), note);
            }
            Store.Installed same = held.get(variant.sha256);
            byte[] raw = same != null ? same.content() : made(steps, held, store, web);
            store.use(release.version, variant, raw);
        }
        return new Result(store, now, web.received, files, null);
    }

    /** Download all, then unpack one after the other, each the base of the next. */
    private byte[] made(List<Index.Packed> steps, Map<String, Store.Installed> held, Store store,
            Web web) throws IOException {
        File partial = new File(store.hidden, "partial");
        Files.createDirectories(partial.toPath());
        for (Index.Packed one : steps) {
            File part = new File(partial, one.sha256 + ".part");
            web.download(url + "/files/" + one.sha256 + ".plt", part, one.size);
            if (!sha256(Files.readAllBytes(part.toPath())).equals(one.sha256)) {
                Files.delete(part.toPath());
                throw new Refused("a file is not what was signed; nothing of it was kept");
            }
        }
        byte[] raw = steps.get(0).base == null ? null : held.get(steps.get(0).base).content();
        for (Index.Packed one : steps) {
            byte[] packed = Files.readAllBytes(new File(partial, one.sha256 + ".part").toPath());
            try {
                raw = Packlight.unpack(packed, one.base == null ? null : raw, one.makes.size);
            } catch (IOException problem) {
                throw new Refused(one.sha256 + " can not be unpacked: " + problem.getMessage());
            }
            if (raw.length != one.makes.size || !sha256(raw).equals(one.makes.sha256)) {
                throw new Refused("a file unpacks to something else than was signed");
            }
        }
        return raw;
    }

    /** The first file that suits; none that asks for RAM, of which this client tells nothing. */
    private Index.Variant mine(Index.Release release) throws Refused {
        for (Index.Variant one : release.variants) {
            if (one.runtime.equals(runtime) && Index.runs(one.minOs, os) && !one.asksForRam)
                return one;
        }
        return null;
    }

    /** Where this device stands in a version's rollout, 0 to 1. */
    private double chance(String install, String version) {
        String text = install + "/" + name + "/" + version;
        byte[] told = bytes(sha256(text.getBytes(StandardCharsets.UTF_8)).substring(0, 16));
        return new BigInteger(1, told).doubleValue() / Math.pow(2, 64);
    }

    static String sha256(byte[] data) {
        try {
            byte[] hash = MessageDigest.getInstance("SHA-256").digest(data);
            StringBuilder text = new StringBuilder();
            for (byte one : hash) text.append(Character.forDigit(one >> 4 & 15, 16))
                    .append(Character.forDigit(one & 15, 16));
            return text.toString();
        } catch (NoSuchAlgorithmException everyJavaHasIt) {
            throw new IllegalStateException(everyJavaHasIt);
        }
    }

    /** Of hexadecimal digits; none where they are no such digits. */
    static byte[] bytes(String digits) {
        byte[] made = new byte[digits.length() / 2];
        for (int i = 0; i < made.length; i++) {
            int high = Character.digit(digits.charAt(2 * i), 16);
            int low = Character.digit(digits.charAt(2 * i + 1), 16);
            if (high < 0 || low < 0 || digits.length() % 2 > 0) return new byte[0];
            made[i] = (byte) (high << 4 | low);
        }
        return made;
    }

    /** A file's content in one step: readers see the old or the new one. */
    static void replace(File file, byte[] data) throws IOException {
        File beside = new File(file.getParentFile(), "." + file.getName() + ".new");
        try (FileOutputStream out = new FileOutputStream(beside)) {
            out.write(data);
            out.getFD().sync();
        }
        Files.move(beside.toPath(), file.toPath(), StandardCopyOption.ATOMIC_MOVE,
                StandardCopyOption.REPLACE_EXISTING);
    }
}
