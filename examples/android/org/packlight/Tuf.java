package org.packlight;

import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.file.Files;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Metadata that a device believes: the client of The Update Framework 1.0, section 5.3 to 5.6, for
 * ed25519, SHA-256 and consistent snapshots. Each role is kept once it is verified, so that a host
 * can not go back to an older one.
 */
final class Tuf {
    private static final int ROOTS = 256; // rotations that are followed in one update
    private static final long LARGEST_ROOT = 512_000, LARGEST_TIMESTAMP = 16_384; // bytes
    private static final long LARGEST = 8 << 20; // bytes of other metadata, and of an index
    private static final long NUMBERS = Integer.MAX_VALUE; // of versions
    /** What comes before the 32 bytes of an ed25519 key in its X.509 form (RFC 8410). */
    private static final byte[] X509 = Updates.bytes("302a300506032b6570032100");

    private final Web web;
    private final String url;
    private final File folder;
    private final Instant now;
    private Map<String, Object> root;

    /** `folder` is the device's own; `url` the repository's. */
    Tuf(Web web, String url, File folder, Instant now) {
        this.web = web;
        this.url = url;
        this.folder = folder;
        this.now = now;
    }

    /** The bytes of a target, from the root that the app shipped with. */
    byte[] target(byte[] shipped, String path) throws IOException {
        Files.createDirectories(folder.toPath());
        root = signed(shipped, "root");
        verify(shipped, "root", root);
        followRoots();
        fresh(root, "root");

        Map<String, Object> timestamp = timestamp();
        Map<String, Object> meta = meta(timestamp, "snapshot.json");
        Map<String, Object> snapshot = file("snapshot", meta);
        meta = meta(snapshot, "targets.json");
        Map<String, Object> targets = file("targets", meta);
        Object found = Json.object(targets.get("targets")).get(path);
        if (found == null) throw new Refused(url + " has no " + path);
        Map<String, Object> target = Json.object(found);
        File kept = new File(folder, "index.json");
        byte[] data = read(kept);
        if (data == null || !matches(data, target)) {
            int name = path.lastIndexOf('/') + 1;
            String place = path.substring(0, name) + hash(target) + "." + path.substring(name);
            data = web.small(url + "/targets/" + place, length(target));
            if (!matches(data, target)) throw new Refused(path + " is not what was signed");
            Updates.replace(kept, data);
        }
        return data;
    }

    /** Each root is signed by the keys of the one before, and by its own. */
    private void followRoots() throws IOException {
        for (int i = 0; i < ROOTS; i++) {
            long next = version(root) + 1;
            File kept = new File(folder, next + ".root.json");
            byte[] data = read(kept);
            Map<String, Object> following;
            try {
                following = following(data == null ? new byte[0] : data, next);
            } catch (Refused notKeptOrAfterAnotherRoot) {
                try {
                    data = web.small(url + "/metadata/" + next + ".root.json", LARGEST_ROOT);
                } catch (FileNotFoundException newest) {
                    return;
                }
                following = following(data, next);
                Updates.replace(kept, data);
            }
            root = following;
        }
    }

    private Map<String, Object> following(byte[] data, long next) throws Refused {
        Map<String, Object> found = signed(data, "root");
        verify(data, "root", root);
        verify(data, "root", found);
        if (version(found) != next) throw new Refused("a root skips a version");
        return found;
    }

    private Map<String, Object> timestamp() throws IOException {
        File kept = new File(folder, "timestamp.json");
        Map<String, Object> old = believed(kept, "timestamp");
        byte[] data = web.small(url + "/metadata/timestamp.json", LARGEST_TIMESTAMP);
        Map<String, Object> found = signed(data, "timestamp");
        verify(data, "timestamp", root);
        if (old != null) {
            risen(version(old), version(found), "timestamp");
            risen(version(meta(old, "snapshot.json")), version(meta(found, "snapshot.json")),
                    "snapshot");
            if (version(old) == version(found)) {
                found = old; // the number was taken: what has it stays
                data = null;
            }
        }
        fresh(found, "timestamp");
        if (data != null) Updates.replace(kept, data);
        return found;
    }

    /** Snapshot or targets, as the role above says that they are. */
    private Map<String, Object> file(String role, Map<String, Object> meta) throws IOException {
        File kept = new File(folder, role + ".json");
        Map<String, Object> old = believed(kept, role);
        byte[] data = read(kept);
        boolean same = old != null && matches(data, meta);
        if (!same) {
            String name = version(meta) + "." + role + ".json";
            data = web.small(url + "/metadata/" + name, length(meta));
            if (!matches(data, meta)) throw new Refused(name + " is not what was signed");
        }
        Map<String, Object> found = signed(data, role);
        verify(data, role, root);
        if (version(found) != version(meta)) throw new Refused(role + " has another version");
        if (old != null) {
            risen(version(old), version(found), role);
            if (role.equals("snapshot")) {
                risen(version(meta(old, "targets.json")), version(meta(found, "targets.json")),
                        "targets");
            }
        }
        fresh(found, role);
        if (!same) Updates.replace(kept, data);
        return found;
    }

    /** What the device believed before; null where today's keys did not sign it. */
    private Map<String, Object> believed(File kept, String role) {
        try {
            byte[] data = read(kept);
            if (data == null) return null;
            Map<String, Object> found = signed(data, role);
            verify(data, role, root);
            version(found);
            return found;
        } catch (IOException damagedOrOtherKeys) {
            return null;
        }
    }

    private static Map<String, Object> signed(byte[] data, String role) throws Refused {
        Map<String, Object> found = Json.object(Json.object(data).get("signed"));
        if (!role.equals(found.get("_type"))) throw new Refused("this is no " + role);
        String spec = Json.string(found.get("spec_version"));
        if (!spec.startsWith("1.")) throw new Refused(role + " is of specification " + spec);
        return found;
    }

    /** Enough different keys that `by` names for the role have signed. */
    private static void verify(byte[] data, String role, Map<String, Object> by) throws Refused {
        Map<String, Object> all = Json.object(data);
        byte[] message = Json.canonical(all.get("signed"));
        Map<String, Object> rule = Json.object(Json.object(by.get("roles")).get(role));
        List<Object> believed = Json.list(rule.get("keyids"));
        Map<String, Object> keys = Json.object(by.get("keys"));
        Set<String> seen = new HashSet<>(), good = new HashSet<>();
        for (Object one : Json.list(all.get("signatures"))) {
            Map<String, Object> signature = Json.object(one);
            String id = Json.string(signature.get("keyid"));
            if (!seen.add(id)) throw new Refused(role + " is signed twice by one key");
            if (!believed.contains(id) || !keys.containsKey(id)) continue;
            Map<String, Object> key = Json.object(keys.get(id));
            String held = Json.string(Json.object(key.get("keyval")).get("public"));
            if ("ed25519".equals(key.get("scheme"))
                    && isGood(held, message, Json.string(signature.get("sig")))) {
                good.add(held);
            }
        }
        long threshold = Json.number(rule.get("threshold"), NUMBERS);
        if (threshold < 1 || good.size() < threshold) {
            throw new Refused(role + " is not signed as it must be");
        }
    }

    private static boolean isGood(String key, byte[] message, String signature) throws Refused {
        byte[] raw = Updates.bytes(key), form = new byte[X509.length + raw.length];
        System.arraycopy(X509, 0, form, 0, X509.length);
        System.arraycopy(raw, 0, form, X509.length, raw.length);
        PublicKey held;
        Signature check;
        try {
            held = KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(form));
            check = Signature.getInstance("Ed25519");
        } catch (GeneralSecurityException problem) {
            throw new Refused("ed25519 is not to be had, or a key is none: " + problem);
        }
        try {
            check.initVerify(held);
            check.update(message);
            return check.verify(Updates.bytes(signature));
        } catch (GeneralSecurityException malformed) {
            return false;
        }
    }

    private void fresh(Map<String, Object> found, String role) throws Refused {
        try {
            if (Instant.parse(Json.string(found.get("expires"))).isAfter(now)) return;
        } catch (DateTimeParseException problem) {
            throw new Refused(role + " ends at no time");
        }
        throw new Refused(role + " has expired, or this device's clock is wrong");
    }

    private static void risen(long before, long after, String role) throws Refused {
        if (after < before) throw new Refused(role + " is older than it was before");
    }

    private static Map<String, Object> meta(Map<String, Object> found, String name)
            throws Refused {
        return Json.object(Json.object(found.get("meta")).get(name));
    }

    private static boolean matches(byte[] data, Map<String, Object> meta) throws Refused {
        return data.length == length(meta) && Updates.sha256(data).equals(hash(meta));
    }

    private static String hash(Map<String, Object> meta) throws Refused {
        return Index.sha256(Json.object(meta.get("hashes")).get("sha256"));
    }

    private static long length(Map<String, Object> meta) throws Refused {
        return Json.number(meta.get("length"), LARGEST);
    }

    private static long version(Map<String, Object> found) throws Refused {
        return Json.number(found.get("version"), NUMBERS);
    }

    private static byte[] read(File file) throws IOException {
        return file.isFile() ? Files.readAllBytes(file.toPath()) : null;
    }
}
