import Foundation
import OrchestryModel
import Testing

struct CertificateCommandTests {
    @Test func `an authority, certificates for nodes, and what they say`() async throws {
        try await CommandLineRun.withFolder { folder in
            let dir = folder.appendingPathComponent("certs").path
            let made = try await CommandLineRun.run(["certs", "init", "--dir", dir])
            #expect(made.exitCode == 0, "\(made.errors)")
            #expect(made.output.contains("orchestry certs issue NODE --dir \(dir)"))
            let issued = try await CommandLineRun.run(["certs", "issue", "controller-1", "controller-2", "--dir", dir])
            #expect(issued.exitCode == 0, "\(issued.errors)")
            for name in [
                "ca.pem", "ca.key", "controller-1.pem", "controller-1.key", "controller-2.pem", "controller-2.key",
            ] {
                let attributes = try FileManager.default.attributesOfItem(atPath: "\(dir)/\(name)")
                let mode = try #require(attributes[.posixPermissions] as? Int)
                #expect(mode == (name.hasSuffix(".key") ? 0o600 : 0o644), "\(name)")
            }
            let shown = try await CommandLineRun.run(["certs", "show", "\(dir)/controller-1.pem", "-o", "json"])
            let summary = try JSONValue(jsonText: shown.output)
            #expect(summary["dns_names"] == ["controller-1"])
            #expect(summary["authority"] == false)

            let again = try await CommandLineRun.run(["certs", "init", "--dir", dir])
            #expect(again.exitCode == 1)
            #expect(again.errors.contains("exists"))
        }
    }

    @Test func `what cannot be issued`() async throws {
        try await CommandLineRun.withFolder { folder in
            let dir = folder.path
            let without = try await CommandLineRun.run(["certs", "issue", "a", "--dir", dir])
            #expect(without.exitCode == 1)
            #expect(without.errors.contains("orchestry certs init"))
            #expect(try await CommandLineRun.run(["certs", "init", "--dir", dir]).exitCode == 0)
            for arguments in [
                ["Bad_Name"], ["a", "--address", "nonsense"], ["a", "b", "--address", "10.0.0.1"],
                ["a", "--days", "0"],
            ] {
                let run = try await CommandLineRun.run(["certs", "issue", "--dir", dir] + arguments)
                #expect(run.exitCode == 2, "\(arguments): \(run.errors)")
            }
        }
    }
}
