import Foundation
import Testing

/// A little image with a shell, made from the system's static busybox: for tests that look from inside a container.
enum ToolsImage {
    static let name = "orchestry-test-tools:1"
    static let busybox = "/bin/busybox"
    static let isPossible = FileManager.default.fileExists(atPath: busybox)

    /// Built once for all tests; nil: it is there, else the builder's words.
    static let failure = Task<String?, Never> {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("orchestry-tools-\(UUID())")
        defer { try? FileManager.default.removeItem(at: folder) }  // A left-over in the temporary folder harms nobody.
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: busybox, toPath: folder.appendingPathComponent("busybox").path)
            try """
            FROM scratch
            COPY busybox /bin/busybox
            RUN ["/bin/busybox", "--install", "-s", "/bin"]
            RUN mkdir -p /data /tmp && chown 65534:65534 /data && chmod 1777 /tmp
            ENTRYPOINT ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"]
            """.write(to: folder.appendingPathComponent("Dockerfile"), atomically: true, encoding: .utf8)
        } catch {
            return "\(error)"
        }
        let result = await EngineFixture.run(["docker", "build", "-q", "-t", name, folder.path])
        return result.status == 0 ? nil : result.output
    }
}

extension Trait where Self == ConditionTrait {
    static var needsTools: Self {
        .enabled(
            if: EngineFixture.isInstalled && ToolsImage.isPossible,
            "no Docker engine, or no \(ToolsImage.busybox) (busybox-static)")
    }
}
