import Foundation
import Testing

/// Every command explains itself, with an example.
struct HelpTests {
    /// The commands that help lists under a heading of their own, below `path`.
    private func subcommands(_ path: [String]) async throws -> (names: [String], help: String) {
        let run = try await CommandLineRun.run(path + ["--help"])
        #expect(run.exitCode == 0, "\(path): \(run.errors)")
        var names: [String] = []
        var isListing = false
        for line in run.output.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasSuffix("SUBCOMMANDS:") {
                isListing = true
            } else if isListing {
                // Continued descriptions are indented further.
                guard line.hasPrefix("  "), !line.hasPrefix("   ") else {
                    if line.isEmpty { isListing = false }
                    continue
                }
                names.append(String(line.dropFirst(2).prefix { $0 != " " }))
            }
        }
        return (names, run.output)
    }

    @Test func `no command is without an abstract and an example`() async throws {
        var open: [[String]] = [[]]
        var leaves = 0
        while let path = open.popLast() {
            let (names, help) = try await subcommands(path)
            #expect(help.contains("OVERVIEW:"), "\(path)")
            guard names.isEmpty else {
                open += names.map { path + [$0] }
                continue
            }
            leaves += 1
            let command = "orchestry \(path.joined(separator: " ")) "
            // Beside the line of usage.
            let words = help.split(separator: "\n").filter { !$0.hasPrefix("USAGE:") }
                .flatMap { $0.split(separator: " ") }.joined(separator: " ")
            #expect("\(words) ".contains(command), "\(path) has no example:\n\(help)")
        }
        #expect(leaves > 40)
    }

    @Test func `the options of every example are known`() async throws {
        for line in ["list -o wide", "status web -o wide", "events --watch -o json", "scale web 8 --for 2h"] {
            // No server answers: what is refused before is wrong usage.
            let run = try await CommandLineRun.run(
                line.split(separator: " ").map(String.init) + ["--timeout", "0"], server: "http://127.0.0.1:1")
            #expect(run.exitCode == 3, "\(line): \(run.errors)")
        }
    }
}
