package org.packlight;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;

/**
 * What lies on the device, as docs/delivery.md draws it: versions in folders of their own, and
 * current.json, replaced in one step, which says what is in use.
 */
final class Store {
    private static final int KEPT = 2; // versions before the current one

    /** A version on the device. */
    static final class Installed {
        final String version, runtime, sha256;
        final File file;

        Installed(String version, String runtime, String sha256, File file) {
            this.version = version;
            this.runtime = runtime;
            this.sha256 = sha256;
            this.file = file;
        }

        /** Its bytes; null where it is gone or no longer what was installed. */
        byte[] content() {
            try {
                byte[] raw = Files.readAllBytes(file.toPath());
                return Updates.sha256(raw).equals(sha256) ? raw : null;
            } catch (IOException gone) {
                return null;
            }
        }
    }

    final File folder, hidden;
    final String name;
    String install = UUID.randomUUID().toString();
    Installed current; // null before the first version
    List<Installed> previous = new ArrayList<>(); // the newest first
    List<String> bad = new ArrayList<>(); // failed here, never to be taken again

    Store(File folder, String name) throws IOException {
        this.folder = folder;
        this.name = Index.name(name);
        hidden = new File(folder, ".packlight");
        File pointer = pointer();
        if (!pointer.exists()) return;
        Map<String, Object> told = Json.object(Files.readAllBytes(pointer.toPath()));
        if (Json.number(told.get("format"), 1000) != 1) {
            throw new Refused(pointer + " is of a newer client");
        }
        if (!name.equals(told.get("name"))) throw new Refused(folder + " holds another network");
        install = Json.string(told.get("install"));
        current = told.get("current") == null ? null : in(told.get("current"));
        for (Object one : Json.list(told.get("previous"))) previous.add(in(one));
        for (Object one : Json.list(told.get("bad"))) bad.add(Index.version(one));
    }

    /** Those that are there to the byte, by their SHA-256. */
    Map<String, Installed> held() {
        Map<String, Installed> made = new HashMap<>();
        List<Installed> all = new ArrayList<>(previous);
        if (current != null) all.add(current);
        for (Installed one : all) {
            if (one.content() != null) made.put(one.sha256, one);
        }
        return made;
    }

    /** Write a version's file, verified by the caller, and switch to it. */
    void use(String version, Index.Variant variant, byte[] raw) throws IOException {
        File file = new File(place(version, variant.sha256), Index.file(variant.file));
        Installed made = new Installed(version, variant.runtime, variant.sha256, file);
        if (made.content() == null) {
            Files.createDirectories(file.getParentFile().toPath());
            Updates.replace(file, raw);
        }
        List<Installed> before = new ArrayList<>(previous);
        if (current != null) before.add(0, current);
        before.removeIf(one -> one.file.equals(file));
        previous = new ArrayList<>(before.subList(0, Math.min(KEPT, before.size())));
        current = made;
        write();
        tidy();
    }

    /** Go back to the newest whole version before, and never take the current one again. */
    void markBad() throws IOException {
        if (current == null) return;
        String failed = current.version;
        bad.add(failed);
        previous.removeIf(one -> one.version.equals(failed) || one.content() == null);
        current = previous.isEmpty() ? null : previous.remove(0);
        write();
        tidy();
    }

    void write() throws IOException {
        List<Object> before = new ArrayList<>();
        for (Installed one : previous) before.add(out(one));
        Map<String, Object> told = new HashMap<>();
        told.put("format", 1L);
        told.put("name", name);
        told.put("install", install);
        told.put("current", current == null ? null : out(current));
        told.put("previous", before);
        told.put("bad", bad);
        Updates.replace(pointer(), Json.canonical(told));
    }

    File pointer() {
        return new File(folder, "current.json");
    }

    private void tidy() {
        Set<File> named = new HashSet<>();
        for (Installed one : previous) named.add(one.file.getParentFile());
        if (current != null) named.add(current.file.getParentFile());
        for (File one : files(new File(folder, "versions"))) if (!named.contains(one)) remove(one);
        remove(new File(hidden, "partial"));
    }

    private static void remove(File file) {
        for (File one : files(file)) remove(one);
        file.delete();
    }

    private static File[] files(File folder) {
        File[] found = folder.listFiles();
        return found == null ? new File[0] : found;
    }

    private File place(String version, String sha256) {
        return new File(folder, "versions/" + version + "-" + sha256.substring(0, 12));
    }

    private static Map<String, Object> out(Installed one) {
        File inside = one.file.getParentFile();
        Map<String, Object> told = new HashMap<>();
        told.put("version", one.version);
        told.put("runtime", one.runtime);
        told.put("sha256", one.sha256);
        told.put("path", "versions/" + inside.getName() + "/" + one.file.getName());
        return told;
    }

    private Installed in(Object value) throws Refused {
        Map<String, Object> told = Json.object(value);
        String version = Index.version(told.get("version"));
        String sha256 = Index.sha256(told.get("sha256"));
        String path = Json.string(told.get("path"));
        String file = Index.file(path.substring(path.lastIndexOf('/') + 1));
        return new Installed(version, Index.name(told.get("runtime")), sha256,
                new File(place(version, sha256), file));
    }
}
