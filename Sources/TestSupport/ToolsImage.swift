import Foundation

/// A little image with a shell, made from the system's static busybox: for tests that look from inside a container.
public enum ToolsImage {
    public static let name = "orchestry-test-tools:1"
    static let busybox = "/bin/busybox"
    public static let isPossible = TestEngine.isInstalled && FileManager.default.fileExists(atPath: busybox)

    /// What to run in it to get `/health` of an HTTP server; ends with 0 if that says "ok". (Its `wget` crashes.)
    public static func request(host: String, port: Int) -> [String] {
        [
            "/bin/sh", "-c",
            "printf 'GET /health HTTP/1.0\\r\\n\\r\\n' | nc -w 2 \(host) \(port) | grep -q ok",
        ]
    }

    /// Built once for all tests; nil: it is there, else the builder's words.
    public static let failure = Task<String?, Never> {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("orchestry-tools-\(UUID())").path
        // A left-over in the temporary folder harms nobody.
        defer { try? FileManager.default.removeItem(atPath: folder) }
        // Nothing runs while it is built: not every builder may run something on every machine.
        let script = """
            set -e
            mkdir -p "$1/root/bin" "$1/root/tmp" "$1/data"
            cp \(busybox) "$1/root/bin/"
            cd "$1/root/bin"
            for name in $(./busybox --list); do [ "$name" = busybox ] || ln -s busybox "$name"; done
            chmod 1777 ../tmp
            """
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try """
            FROM scratch
            COPY root/ /
            COPY --chown=65534:65534 data /data
            ENTRYPOINT ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]
            """.write(toFile: folder + "/Dockerfile", atomically: true, encoding: .utf8)
        } catch {
            return "\(error)"
        }
        let made = await TestEngine.run(["sh", "-c", script, "sh", folder])
        guard made.status == 0 else { return made.output }
        let built = await TestEngine.run(["docker", "build", "-q", "-t", name, folder])
        return built.status == 0 ? nil : built.output
    }
}
