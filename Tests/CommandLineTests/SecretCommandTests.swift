import Foundation
import OrchestryModel
import RestFacade
import Testing

/// How a value gets from a user to the cluster: by standard input or a file, never as an argument.
struct SecretCommandTests {
    private static let name = SecretName(unchecked: "db")
    private static func answer(changed: Bool) -> ControlResponse {
        let sealed = SealedSecret(name: name, version: 2, keyID: "k", box: "b")
        let now = WallTime(seconds: 1)
        return ControlResponse(
            body: Presentation.secretSet(
                SecretSummary(sealed: sealed, createdAt: now, updatedAt: now, updatedBy: "ann"), changed: changed,
                restarted: changed ? [AppName(unchecked: "web")] : []))
    }

    /// The fake server's facade "seals" by turning the text round.
    @Test(arguments: [
        ([], "s3cret\n", "terc3s"), ([], "s3cret", "terc3s"), (["--raw"], "s3cret\n", "\nterc3s"),
        ([], "two\nlines\n\n", "\nsenil\nowt"),
    ])
    func `a value comes from standard input`(_ flags: [String], _ input: String, _ sealed: String) async throws {
        try await FakeServer.run({ _, _ in Self.answer(changed: true) }) { server in
            let run = try await CommandLineRun.run(["secret", "set", "db"] + flags, server: server.url, input: input)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.output == "db: set, version 2.\nRestarting with it, one instance after the other: web\n")
            #expect(
                server.plane.requests.map(\.operation) == [
                    .setSecret(SealedSecret(name: Self.name, version: 0, keyID: "key", box: sealed))
                ])
        }
    }

    @Test func `or from a file, and an argument is no way`() async throws {
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent("value").path
            try "from file\n".write(toFile: file, atomically: true, encoding: .utf8)
            try await FakeServer.run({ _, _ in Self.answer(changed: false) }) { server in
                let run = try await CommandLineRun.run(
                    ["secret", "set", "db", "--from-file", file], server: server.url)
                #expect(run.output == "db has that value already (version 2).\n")
                guard case .setSecret(let sealed)? = server.plane.requests.first?.operation else {
                    Issue.record("\(server.plane.requests)")
                    return
                }
                #expect(sealed.box == "elif morf")
                for arguments in [
                    ["secret", "set", "db", "s3cret"], ["secret", "set", "a b"],
                    ["secret", "set", "db", "--from-file", "/no"],
                    ["secret", "set", "db"],
                ] {
                    let refused = try await CommandLineRun.run(arguments, server: server.url, input: "")
                    #expect(refused.exitCode == 2, "\(arguments): \(refused.errors)")
                }
                #expect(server.plane.requests.count == 1)
            }
        }
    }

    @Test func `a key file is made and extended`() async throws {
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent("secrets.key").path
            let made = try await CommandLineRun.run(["secret", "key", file])
            #expect(made.exitCode == 0 && made.output.contains("secrets.key_file"), "\(made.errors)")
            let more = try await CommandLineRun.run(["secret", "key", file])
            #expect(more.output.contains("Added a key"))
            #expect(try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").count == 2)
            let printed = try await CommandLineRun.run(["secret", "key"])
            #expect(Data(base64Encoded: printed.output.trimmingCharacters(in: .newlines))?.count == 32)
            #expect(try await CommandLineRun.run(["secret", "key", "/no/such/folder/key"]).exitCode == 1)
        }
    }
}
