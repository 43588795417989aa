import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/**
 * A client in Java: Client KIND HOST:PORT… prints "HOST:PORT ANSWER" for each. PATIENCE: for how many seconds it waits
 * for one.
 */
public final class Client {
    static final Duration PATIENCE =
            Duration.ofSeconds(Long.parseLong(System.getenv().getOrDefault("PATIENCE", "10")));

    interface Kind {
        String ask(String host, int port) throws Exception;
    }

    public static void main(String[] arguments) {
        Kind kind = kind(arguments.length > 1 ? arguments[0] : "");
        for (int i = 1; i < arguments.length; i++) {
            String[] at = arguments[i].split(":");
            System.out.println(arguments[i] + " " + answer(kind, at[0], Integer.parseInt(at[1])).strip());
        }
        // Netty's threads live on for a while.
        System.exit(0);
    }

    private static Kind kind(String name) {
        switch (name) {
            case "http":
                return Client::http;
            case "netty-nio":
                return new Netty(false, false)::ask;
            case "netty-nio-dns":
                return new Netty(false, true)::ask;
            case "netty-epoll":
                return new Netty(true, false)::ask;
            case "netty-epoll-dns":
                return new Netty(true, true)::ask;
            default:
                System.err.println("usage: Client http|netty-nio[-dns]|netty-epoll[-dns] HOST:PORT…");
                System.exit(2);
                throw new IllegalStateException();
        }
    }

    private static String answer(Kind kind, String host, int port) {
        try {
            return kind.ask(host, port);
        } catch (Exception error) {
            StringBuilder told = new StringBuilder("error: " + error);
            for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
                told.append(": ").append(cause);
            }
            return told.toString().replaceAll("\\s+", " ");
        }
    }

    private static String http(String host, int port) throws Exception {
        HttpClient client =
                HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(PATIENCE).build();
        URI uri = URI.create("http://" + host + ":" + port + "/whoami");
        HttpRequest request = HttpRequest.newBuilder(uri).timeout(PATIENCE).build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }
}
