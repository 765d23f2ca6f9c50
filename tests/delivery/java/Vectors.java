import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.Executors;
import java.util.zip.GZIPOutputStream;
import org.packlight.Refused;
import org.packlight.Updates;

/**
 * Takes the test vectors with the Java client, and serves them itself. Lines of standard input: "case
 * FOLDER OS" makes a new device, with a URL behind for a host that runs elsewhere; "cut BYTES" ends
 * answers early; "gzip" on or off; "bad" says that the file in use is; "step OVERLAY" updates and answers with a line:
 * version, sha256 of the file in use, files taken, bytes received, what was said. Words are separated
 * by tabs.
 */
public final class Vectors {
    private static volatile Path over;
    private static Path vectors;
    private static volatile boolean gzip; // for those who ask for it
    private static volatile int cut = Integer.MAX_VALUE; // bytes after which one answer ends

    public static void main(String[] words) throws Exception {
        vectors = Path.of(words[0]);
        byte[] root = Files.readAllBytes(vectors.resolve("repository/metadata/1.root.json"));
        HttpServer server =
                HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/", Vectors::serve);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
        String url = "http://127.0.0.1:" + server.getAddress().getPort();
        Updates device = null;
        Scanner lines = new Scanner(System.in, "UTF-8");
        while (lines.hasNextLine()) {
            String[] line = lines.nextLine().split("\t", -1);
            switch (line[0]) {
                case "case":
                    String os = line[2].isEmpty() ? null : line[2];
                    device = new Updates(line.length > 3 ? line[3] : url, "letters",
                            new File(line[1]), root, "onnx", os);
                    break;
                case "cut":
                    cut = Integer.parseInt(line[1]);
                    break;
                case "gzip":
                    gzip = line[1].equals("on");
                    break;
                case "bad":
                    device.markBad();
                    break;
                default:
                    over = line[1].isEmpty() ? null : vectors.resolve("over").resolve(line[1]);
                    System.out.println(step(device));
                    System.out.flush();
            }
        }
        server.stop(0);
        System.exit(0);
    }

    private static String step(Updates device) throws Exception {
        String said = "", files = "", received = "";
        try {
            Updates.Result done = device.update(1 << 20);
            files = String.join(",", done.files);
            received = Long.toString(done.received);
            said = done.note == null ? "" : "note: " + done.note;
        } catch (Refused problem) {
            said = "refused: " + problem.getMessage();
        } catch (IOException problem) {
            said = "later: " + problem.getMessage();
        }
        File file = device.current();
        String version = "", hash = "";
        if (file != null) {
            version = file.getParentFile().getName().split("-")[0];
            byte[] raw = Files.readAllBytes(file.toPath());
            StringBuilder text = new StringBuilder();
            for (byte one : MessageDigest.getInstance("SHA-256").digest(raw)) {
                text.append(String.format("%02x", one));
            }
            hash = text.toString();
        }
        return String.join("\t", List.of(version, hash, files, received, said));
    }

    private static void serve(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath().substring(1);
        Path file = over == null ? null : over.resolve(path);
        if (file == null || !Files.isRegularFile(file)) {
            file = vectors.resolve("repository").resolve(path);
        }
        if (!Files.isRegularFile(file)) {
            exchange.sendResponseHeaders(404, -1);
            exchange.close();
            return;
        }
        byte[] data = Files.readAllBytes(file);
        String range = exchange.getRequestHeaders().getFirst("Range");
        int start = range == null ? 0 : Integer.parseInt(range.replaceAll("\\D", ""));
        if (start > 0) {
            exchange.getResponseHeaders()
                    .set("Content-Range", "bytes " + start + "-" + (data.length - 1) + "/" + data.length);
        }
        String asked = exchange.getRequestHeaders().getFirst("Accept-Encoding");
        if (gzip && asked.equals("gzip")) {
            ByteArrayOutputStream packed = new ByteArrayOutputStream();
            try (GZIPOutputStream out = new GZIPOutputStream(packed)) {
                out.write(data);
            }
            data = packed.toByteArray();
            exchange.getResponseHeaders().set("Content-Encoding", "gzip");
        }
        int count = data.length - start;
        exchange.sendResponseHeaders(start > 0 ? 206 : 200, count);
        int sent = path.endsWith(".plt") ? Math.min(count, cut) : count;
        new ByteArrayInputStream(data, start, sent).transferTo(exchange.getResponseBody());
        if (sent < count) exchange.getResponseBody().flush();
        exchange.close();
    }
}
