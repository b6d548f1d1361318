import Foundation
import Testing

/// `configs/examples` and what `init` writes are in order.
struct ExampleTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("configs/examples")

    private static var names: [String] {
        // Unreadable: the test below finds too few.
        ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter { $0.hasSuffix(".yaml") }
            .sorted()
    }

    @Test func `all examples pass a dry run, together`() async throws {
        #expect(Self.names.count >= 10)
        try await FakeServer.run(SpecCluster().answer) { server in
            let run = try await CommandLineRun.run(["apply", Self.folder.path, "--dry-run"], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.output.contains("\(Self.names.count) apps: \(Self.names.count) new."), "\(run.output)")
        }
    }

    @Test func `each has its line in the table`() throws {
        let readme = try String(contentsOf: Self.folder.appendingPathComponent("README.md"), encoding: .utf8)
        for name in Self.names { #expect(readme.contains("| `\(name)` |"), "\(name)") }
    }

    @Test(arguments: ["http", "tcp", "worker"])
    func `what init writes passes a dry run`(_ type: String) async throws {
        try await FakeServer.run(SpecCluster().answer) { server in
            let spec = try await CommandLineRun.run(
                ["init", "shop", "--image", "shop:1", "--port", "9000", "--type", type])
            #expect(spec.exitCode == 0, "\(spec.errors)")
            let run = try await CommandLineRun.run(["apply", "-", "--dry-run"], server: server.url, input: spec.output)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.output.contains("shop: new"))
        }
    }

    @Test func `comments of init are in order, too`() async throws {
        let spec = try await CommandLineRun.run(["init", "shop", "--image", "shop:1"])
        // Each commented field of `spec` and `scaling` taken in.
        let lines = spec.output.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.hasPrefix("  # ") ? "  " + line.dropFirst(4) : String(line)
        }.filter { !$0.contains("A worker has no ports") }
        try await FakeServer.run(SpecCluster().answer) { server in
            let run = try await CommandLineRun.run(
                ["apply", "-", "--dry-run"], server: server.url, input: lines.joined(separator: "\n"))
            #expect(run.exitCode == 0, "\(run.errors)")
        }
    }

    @Test func `init overwrites nothing and refuses a bad name`() async throws {
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent("a.yaml").path
            let first = try await CommandLineRun.run(["init", "shop", "--to", file])
            #expect(first.exitCode == 0, "\(first.errors)")
            #expect(try await CommandLineRun.run(["init", "shop", "--to", file]).exitCode == 1)
            let bad = try await CommandLineRun.run(["init", "Shop_1"])
            #expect(bad.exitCode == 2)
            #expect(bad.errors.contains("metadata.name"), "\(bad.errors)")
        }
    }
}
