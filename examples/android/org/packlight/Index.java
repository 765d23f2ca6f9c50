package org.packlight;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The signed list of a network's versions; keys that it does not know are passed over. */
final class Index {
    static final long LARGEST = 1L << 31; // bytes of one file, packed or unpacked
    private static final int LONGEST = 64; // characters of a name or a version
    private static final Pattern NAME = Pattern.compile("[a-z0-9]+(?:[._-][a-z0-9]+)*");
    private static final Pattern FILE = Pattern.compile("[A-Za-z0-9_]+(?:[._-][A-Za-z0-9_]+)*");
    private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
    private static final Pattern OS = Pattern.compile("([a-z]+)-(\\d{1,4})(?:\\.(\\d{1,4}))?");
    private static final Pattern VERSION =
            Pattern.compile("(\\d{1,9})\\.(\\d{1,9})\\.(\\d{1,9})(?:-([0-9A-Za-z.-]+))?");

    /** A packed file; `base` is the unpacked SHA-256 that it is the difference to, or null. */
    static final class Packed {
        final String sha256, base;
        final long size;
        final Variant makes;

        Packed(Object value, String base, Variant makes) throws Refused {
            Map<String, Object> told = Json.object(value);
            this.sha256 = sha256(told.get("sha256"));
            this.size = Json.number(told.get("bytes"), LARGEST);
            this.base = base;
            this.makes = makes;
        }
    }

    /** One file of a version; `ways` are the packed files that it can be made from. */
    static final class Variant {
        final String file, runtime, sha256, minOs;
        final long size;
        final boolean asksForRam;
        final List<Packed> ways = new ArrayList<>();

        Variant(Object value) throws Refused {
            Map<String, Object> told = Json.object(value);
            file = matching(FILE, told.get("file"), "file");
            runtime = matching(NAME, told.get("runtime"), "runtime");
            sha256 = sha256(told.get("sha256"));
            size = Json.number(told.get("bytes"), LARGEST);
            Object os = told.get("min_os");
            minOs = os == null ? null : matching(OS, os, "system");
            asksForRam = told.containsKey("min_ram");
            ways.add(new Packed(told.get("full"), null, this));
            for (Object one : Json.list(told.get("deltas"))) {
                ways.add(new Packed(one, sha256(Json.object(one).get("from")), this));
            }
        }
    }

    /** A version, and the share of devices that get it. */
    static final class Release {
        final String version;
        final boolean withdrawn;
        final double rollout;
        final List<Variant> variants = new ArrayList<>();

        Release(Object value) throws Refused {
            Map<String, Object> told = Json.object(value);
            version = version(told.get("version"));
            withdrawn = Boolean.TRUE.equals(told.get("withdrawn"));
            Object share = told.get("rollout");
            rollout = share == null ? 1 : share instanceof Number ? ((Number) share).doubleValue() : 2;
            if (!(rollout >= 0 && rollout <= 1)) throw new Refused("a rollout of " + share);
            for (Object one : Json.list(told.get("variants"))) variants.add(new Variant(one));
        }
    }

    final List<Release> releases = new ArrayList<>();

    Index(byte[] data, String name, String channel) throws Refused {
        Map<String, Object> told = Json.object(data);
        if (Json.number(told.get("format"), 1000) != 1) {
            throw new Refused("the index of " + name + " is of a newer format; update the app");
        }
        if (!name.equals(told.get("name")) || !channel.equals(told.get("channel"))) {
            throw new Refused("the index of " + name + " tells of another network");
        }
        for (Object one : Json.list(told.get("versions"))) releases.add(new Release(one));
        for (int i = 1; i < releases.size(); i++) {
            if (compare(releases.get(i - 1).version, releases.get(i).version) >= 0) {
                throw new Refused("the versions of " + name + " do not rise");
            }
        }
    }

    /** The fewest bytes from what is held (unpacked SHA-256s) to a file; nothing where it is held. */
    List<Packed> cheapest(Variant wanted, Set<String> held) throws Refused {
        Map<String, Long> bytes = new HashMap<>();
        Map<String, Packed> last = new HashMap<>();
        for (String one : held) bytes.put(one, 0L);
        boolean shorter = true;
        while (shorter) { // Bellman and Ford: as often as a chain is long
            shorter = false;
            for (Release release : releases) {
                for (Variant variant : release.variants) {
                    for (Packed way : variant.ways) {
                        Long before = way.base == null ? Long.valueOf(0) : bytes.get(way.base);
                        if (before == null) continue;
                        Long known = bytes.get(variant.sha256);
                        if (known == null || before + way.size < known) {
                            bytes.put(variant.sha256, before + way.size);
                            last.put(variant.sha256, way);
                            shorter = true;
                        }
                    }
                }
            }
        }
        List<Packed> steps = new ArrayList<>();
        for (String at = wanted.sha256; at != null && !held.contains(at); ) {
            Packed way = last.get(at);
            steps.add(0, way);
            at = way.base;
        }
        return steps;
    }

    static String name(Object value) throws Refused {
        return matching(NAME, value, "name");
    }

    static String file(Object value) throws Refused {
        return matching(FILE, value, "file");
    }

    static String sha256(Object value) throws Refused {
        return matching(SHA256, value, "SHA-256");
    }

    static String version(Object value) throws Refused {
        String text = matching(VERSION, value, "version");
        for (String part : text.split("[.-]", -1)) {
            if (part.isEmpty()) throw new Refused(text + " is no version");
        }
        return text;
    }

    /** Whether a device with that system may have a file for `wanted` and newer. */
    static boolean runs(String wanted, String system) throws Refused {
        if (wanted == null) return true;
        if (system == null) return false;
        Matcher least = OS.matcher(wanted), mine = OS.matcher(matching(OS, system, "system"));
        if (!least.matches() || !mine.matches() || !least.group(1).equals(mine.group(1))) {
            return false;
        }
        int whole = Integer.compare(Integer.parseInt(mine.group(2)), Integer.parseInt(least.group(2)));
        return whole != 0 ? whole > 0 : minor(mine) >= minor(least);
    }

    private static int minor(Matcher os) {
        return os.group(3) == null ? 0 : Integer.parseInt(os.group(3));
    }

    /** The order of semantic versions: below, equal or above zero. */
    static int compare(String a, String b) {
        Matcher one = VERSION.matcher(a), two = VERSION.matcher(b);
        if (!one.matches() || !two.matches()) throw new IllegalArgumentException(a + ", " + b);
        for (int i = 1; i <= 3; i++) {
            int found = Integer.compare(Integer.parseInt(one.group(i)), Integer.parseInt(two.group(i)));
            if (found != 0) return found;
        }
        if (one.group(4) == null || two.group(4) == null) {
            return Boolean.compare(one.group(4) == null, two.group(4) == null);
        }
        String[] left = one.group(4).split("\\."), right = two.group(4).split("\\.");
        for (int i = 0; i < Math.min(left.length, right.length); i++) {
            boolean number = left[i].matches("\\d{1,9}"), other = right[i].matches("\\d{1,9}");
            int found =
                    number && other
                            ? Integer.compare(Integer.parseInt(left[i]), Integer.parseInt(right[i]))
                            : number != other ? (number ? -1 : 1) : left[i].compareTo(right[i]);
            if (found != 0) return found;
        }
        return Integer.compare(left.length, right.length);
    }

    private static final Set<String> DEVICES = devices();

    private static Set<String> devices() {
        Set<String> made = new HashSet<>(List.of("con", "prn", "aux", "nul"));
        for (int i = 0; i < 10; i++) {
            made.add("com" + i);
            made.add("lpt" + i);
        }
        return made;
    }

    private static String matching(Pattern pattern, Object value, String what) throws Refused {
        if (value instanceof String
                && ((String) value).length() <= LONGEST
                && pattern.matcher((String) value).matches()
                && !DEVICES.contains(((String) value).split("\\.")[0].toLowerCase(Locale.ROOT))) {
            return (String) value;
        }
        throw new Refused(value + " is no " + what);
    }
}
