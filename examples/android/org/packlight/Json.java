package org.packlight;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * JSON as maps, lists, strings, longs, doubles, booleans and null; written in the canonical form that
 * signatures are made over: keys sorted, no spaces, only " and \ escaped, no fractions.
 */
final class Json {
    private static final int DEEPEST = 64; // levels of brackets
    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** The value in all of `data`; throws what is wrong as Refused. */
    static Object parse(byte[] data) throws Refused {
        String text;
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data)).toString();
        } catch (CharacterCodingException problem) {
            throw new Refused("no UTF-8");
        }
        Json json = new Json(text);
        Object value = json.value(0);
        json.space();
        if (json.at < text.length()) throw json.wrong();
        return value;
    }

    static Map<String, Object> object(byte[] data) throws Refused {
        return object(parse(data));
    }

    @SuppressWarnings("unchecked") // keys of JSON are strings
    static Map<String, Object> object(Object value) throws Refused {
        if (value instanceof Map) return (Map<String, Object>) value;
        throw new Refused("an object was expected, not " + value);
    }

    @SuppressWarnings("unchecked")
    static List<Object> list(Object value) throws Refused {
        if (value instanceof List) return (List<Object>) value;
        throw new Refused("a list was expected, not " + value);
    }

    static String string(Object value) throws Refused {
        if (value instanceof String) return (String) value;
        throw new Refused("a string was expected, not " + value);
    }

    /** A whole number from 0 to `most`. */
    static long number(Object value, long most) throws Refused {
        if (value instanceof Long && (Long) value >= 0 && (Long) value <= most) return (Long) value;
        throw new Refused("a number from 0 to " + most + " was expected, not " + value);
    }

    static byte[] canonical(Object value) throws Refused {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void write(Object value, StringBuilder out) throws Refused {
        if (value instanceof Map) {
            String before = "{";
            for (Map.Entry<String, Object> one : new TreeMap<>(object(value)).entrySet()) {
                out.append(before);
                write(one.getKey(), out);
                out.append(':');
                write(one.getValue(), out);
                before = ",";
            }
            out.append(before.equals("{") ? "{}" : "}");
        } else if (value instanceof List) {
            String before = "[";
            for (Object one : list(value)) {
                out.append(before);
                write(one, out);
                before = ",";
            }
            out.append(before.equals("[") ? "[]" : "]");
        } else if (value instanceof String) {
            String escaped = ((String) value).replace("\\", "\\\\").replace("\"", "\\\"");
            out.append('"').append(escaped).append('"');
        } else if (value == null || value instanceof Boolean || value instanceof Long) {
            out.append(value);
        } else {
            throw new Refused(value + " has no canonical form");
        }
    }

    private Object value(int depth) throws Refused {
        if (depth > DEEPEST) throw wrong();
        space();
        switch (peek()) {
            case '{':
                return map(depth);
            case '[':
                return items(depth);
            case '"':
                return quoted();
            case 't':
                return word("true", true);
            case 'f':
                return word("false", false);
            case 'n':
                return word("null", null);
            default:
                return digits();
        }
    }

    private Map<String, Object> map(int depth) throws Refused {
        Map<String, Object> made = new LinkedHashMap<>();
        at++;
        space();
        if (peek() == '}') {
            at++;
            return made;
        }
        while (true) {
            space();
            String key = quoted();
            space();
            expect(':');
            Object value = value(depth + 1);
            if (made.containsKey(key)) throw new Refused("the key " + key + " is there twice");
            made.put(key, value);
            space();
            if (peek() == '}') break;
            expect(',');
        }
        at++;
        return made;
    }

    private List<Object> items(int depth) throws Refused {
        List<Object> made = new ArrayList<>();
        at++;
        space();
        if (peek() == ']') {
            at++;
            return made;
        }
        while (true) {
            made.add(value(depth + 1));
            space();
            if (peek() == ']') break;
            expect(',');
        }
        at++;
        return made;
    }

    private String quoted() throws Refused {
        expect('"');
        StringBuilder made = new StringBuilder();
        while (peek() != '"') {
            char c = text.charAt(at++);
            if (c < ' ') throw wrong();
            made.append(c == '\\' ? escaped() : c);
        }
        at++;
        return made.toString();
    }

    private char escaped() throws Refused {
        char c = peek();
        at++;
        int simple = "\"\\/bfnrt".indexOf(c);
        if (simple >= 0) return "\"\\/\b\f\n\r\t".charAt(simple);
        if (c != 'u' || at + 4 > text.length()) throw wrong();
        at += 4;
        try {
            return (char) Integer.parseInt(text.substring(at - 4, at), 16);
        } catch (NumberFormatException problem) {
            throw wrong();
        }
    }

    private Object word(String word, Object value) throws Refused {
        if (!text.startsWith(word, at)) throw wrong();
        at += word.length();
        return value;
    }

    private Object digits() throws Refused {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) at++;
        String found = text.substring(start, at);
        try {
            if (found.matches("-?(0|[1-9][0-9]*)")) return Long.valueOf(found);
            if (found.matches("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")) {
                return Double.valueOf(found);
            }
        } catch (NumberFormatException tooLong) {
            throw wrong();
        }
        throw wrong();
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
    }

    private char peek() throws Refused {
        if (at >= text.length()) throw wrong();
        return text.charAt(at);
    }

    private void expect(char wanted) throws Refused {
        if (peek() != wanted) throw wrong();
        at++;
    }

    private Refused wrong() {
        return new Refused("no JSON from character " + at + " on");
    }
}
