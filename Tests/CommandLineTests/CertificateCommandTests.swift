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

    @Test func `nodes and the authority are rotated, each step saying what comes next`() async throws {
        try await CommandLineRun.withFolder { folder in
            let dir = folder.appendingPathComponent("certs").path
            func certs(_ arguments: String...) async throws -> CommandLineRun {
                try await CommandLineRun.run(["certs"] + arguments + ["--dir", dir])
            }
            func show(_ file: String) async throws -> JSONValue {
                let run = try await CommandLineRun.run(["certs", "show", "\(dir)/\(file)", "-o", "json"])
                return try JSONValue(jsonText: run.output)
            }
            #expect(try await certs("init").exitCode == 0)
            #expect(try await certs("issue", "a", "--address", "10.0.0.1").exitCode == 0)
            #expect(try await certs("issue", "b").exitCode == 0)
            let first = try await show("a.pem")
            let one = try await certs("rotate", "a")
            #expect(one.exitCode == 0 && one.output.contains("a.pem") && !one.output.contains("b.pem"), "\(one.output)")
            let second = try await show("a.pem")
            #expect(second["serial"] != first["serial"])
            #expect(second["addresses"] == ["10.0.0.1"], "addresses are kept")
            let all = try await certs("rotate", "--all")
            #expect(all.output.contains("a.pem") && all.output.contains("b.pem"), "\(all.output)\(all.errors)")

            // The authority: out of order each step says which one comes first.
            let early = try await certs("rotate", "--ca", "--reissue")
            #expect(early.exitCode == 1 && early.errors.contains("rotate --ca --dir \(dir)"), "\(early.errors)")
            let begun = try await certs("rotate", "--ca")
            #expect(
                begun.exitCode == 0 && begun.output.contains("rotate --ca --reissue --dir \(dir)"), "\(begun.errors)")
            #expect(try await show("ca.pem").arrayValue?.count == 2)
            let twice = try await certs("rotate", "--ca")
            #expect(twice.exitCode == 1 && twice.errors.contains("--reissue"))
            let dropped = try await certs("rotate", "--ca", "--drop-old")
            #expect(dropped.exitCode == 1 && dropped.errors.contains("--reissue"))
            let switched = try await certs("rotate", "--ca", "--reissue")
            #expect(switched.exitCode == 0 && switched.output.contains("--drop-old"), "\(switched.errors)")
            let ended = try await certs("rotate", "--ca", "--drop-old")
            #expect(ended.exitCode == 0, "\(ended.errors)")
            #expect(try await show("ca.pem")["authority"] == true)
            #expect(try await show("a.pem")["issuer"] == (try await show("ca.pem")["subject"]))
            let over = try await certs("rotate", "--ca", "--drop-old")
            #expect(over.exitCode == 1 && over.errors.contains("nothing to drop"))

            for arguments in [
                [], ["a", "--all"], ["a", "--ca"], ["--all", "--reissue"], ["--ca", "--reissue", "--drop-old"],
            ] {
                let run = try await CommandLineRun.run(["certs", "rotate", "--dir", dir] + arguments)
                #expect(run.exitCode == 2, "\(arguments): \(run.errors)")
            }
            let unknown = try await certs("rotate", "c")
            #expect(unknown.exitCode == 1 && unknown.errors.contains("orchestry certs issue c"), "\(unknown.errors)")
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
