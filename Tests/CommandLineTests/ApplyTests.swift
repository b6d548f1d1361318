import Foundation
import OrchestryModel
import RestFacade
import Testing

struct ApplyTests {
    private static func spec(_ name: String, image: String = "shop:1", more: String = "") -> String {
        """
        metadata: {name: \(name)}
        spec: {type: http, image: "\(image)", ports: [{containerPort: 80}]}
        \(more)
        """
    }

    private func with(
        _ files: [String: String], _ body: @Sendable (SpecCluster, FakeServer, String) async throws -> Void
    ) async throws {
        let cluster = SpecCluster()
        try await FakeServer.run(cluster.answer) { server in
            try await CommandLineRun.withFolder { folder in
                for (name, text) in files {
                    try text.write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
                }
                try await body(cluster, server, folder.path)
            }
        }
    }

    @Test func `plan: 2 with changes, 0 without, 1 for every error`() async throws {
        try await with(["a.yaml": Self.spec("shop")]) { cluster, server, folder in
            let file = folder + "/a.yaml"
            let new = try await CommandLineRun.run(["plan", file], server: server.url)
            #expect(new.exitCode == 2, "\(new.errors)")
            #expect(new.output.contains("shop: new"))
            #expect(cluster["shop"] == nil)
            _ = try await CommandLineRun.run(["apply", file], server: server.url)
            let same = try await CommandLineRun.run(["plan", file], server: server.url)
            #expect(same.exitCode == 0, "\(same.output)")
            #expect(same.output.contains("shop: no change"))
            for arguments in [["plan", "/nowhere"], ["plan"], ["plan", file, "--nonsense"], ["diff", "other", file]] {
                let run = try await CommandLineRun.run(arguments, server: server.url)
                #expect(run.exitCode == 1, "\(arguments): \(run.errors)")
                #expect(!run.errors.isEmpty)
            }
            let unreachable = try await CommandLineRun.run(
                ["plan", file, "--timeout", "0"], server: "http://127.0.0.1:1")
            #expect(unreachable.exitCode == 1)
        }
    }

    @Test func `diff: field by field, old and new, and what it does`() async throws {
        try await with([
            "a.yaml": Self.spec("shop"),
            "b.yaml": Self.spec("shop", image: "shop:2", more: "scaling: {maxReplicas: 9}"),
            "c.yaml": Self.spec("shop", more: "scaling: {maxReplicas: 9}"),
        ]) { cluster, server, folder in
            _ = try await CommandLineRun.run(["apply", folder + "/a.yaml", "--up"], server: server.url)
            let revision = try await CommandLineRun.run(["diff", "shop", folder + "/b.yaml"], server: server.url)
            #expect(revision.exitCode == 2, "\(revision.errors)")
            for words in [
                "shop: revision 1 → 2", "~ spec.image: shop:1 → shop:2", "+ scaling: {\"maxReplicas\":9}",
                "→ Makes revision 2 and replaces 1 instance by a rolling update",
            ] {
                #expect(revision.output.contains(words), "\(revision.output)")
            }
            let settings = try await CommandLineRun.run(["diff", "shop", folder + "/c.yaml"], server: server.url)
            #expect(settings.output.contains("shop: changed, no restart"), "\(settings.output)")
            let json = try await CommandLineRun.run(
                ["diff", "shop", folder + "/b.yaml", "-o", "json"], server: server.url)
            #expect(json.exitCode == 2)
            #expect(try JSONValue(jsonText: json.output)["change"] == "revision")
            let none = try await CommandLineRun.run(["diff", "shop", folder + "/a.yaml"], server: server.url)
            #expect(none.exitCode == 0)
            #expect(!none.output.contains("\u{1B}"))
        }
    }

    @Test func `apply is idempotent and leaves the number of replicas alone`() async throws {
        try await with(["a.yaml": Self.spec("shop")]) { cluster, server, folder in
            let file = folder + "/a.yaml"
            let first = try await CommandLineRun.run(["apply", file, "--up", "--wait"], server: server.url)
            #expect(first.exitCode == 0, "\(first.errors)")
            #expect(first.output.contains("shop: registered, revision 1; started; ready."), "\(first.output)")
            cluster["shop"]?.replicas = 7
            let before = server.plane.requests.count
            let second = try await CommandLineRun.run(["apply", file, "--up", "--wait"], server: server.url)
            #expect(second.exitCode == 0, "\(second.errors)")
            #expect(second.output.contains("shop: no change"), "\(second.output)")
            #expect(!server.plane.requests.dropFirst(before).contains { $0.operation.isWrite })
            try Self.spec("shop", image: "shop:2").write(toFile: file, atomically: true, encoding: .utf8)
            let third = try await CommandLineRun.run(["apply", file], server: server.url)
            #expect(third.output.contains("shop: revision 2, rolling out."), "\(third.output)")
            #expect(cluster["shop"]?.replicas == 7)
        }
    }

    @Test func `a folder goes by its files' names, each file by its documents`() async throws {
        try await with([
            "2-two.yaml": Self.spec("c"), "1-one.yml": Self.spec("b") + "---\n" + Self.spec("a") + "---\n",
            "3.json": #"{"metadata": {"name": "d"}, "spec": {"type": "worker", "image": "w:1"}}"#, ".hidden.yaml": "?",
            "README.md": "?",
        ]) { cluster, server, folder in
            let run = try await CommandLineRun.run(["apply", folder], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            let names = server.plane.requests.compactMap { request -> String? in
                guard case .register(let document, let condition) = request.operation else { return nil }
                #expect(condition == .absent)
                return document["metadata"]?["name"]?.stringValue
            }
            #expect(names == ["b", "a", "c", "d"])
        }
    }

    @Test func `all is checked before the first is applied`() async throws {
        try await with(["1.yaml": Self.spec("a"), "2.yaml": Self.spec("b") + "---\nspec: {type: http, imag: x}\n"]) {
            cluster, server, folder in
            let run = try await CommandLineRun.run(["apply", folder], server: server.url)
            #expect(run.exitCode == 1)
            #expect(run.errors.contains("2.yaml (document 2): spec.imag: is not a known field"), "\(run.errors)")
            #expect(cluster["a"] == nil)
        }
    }

    @Test func `a dry run changes nothing`() async throws {
        try await with(["1.yaml": Self.spec("a")]) { cluster, server, folder in
            let run = try await CommandLineRun.run(["apply", folder, "--dry-run"], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            #expect(run.output.contains("Nothing was applied"), "\(run.output)")
            #expect(!server.plane.requests.contains { $0.operation.isWrite })
        }
    }

    @Test func `what somebody changed meanwhile is not overwritten`() async throws {
        let cluster = SpecCluster()
        let raced: @Sendable (ControlRequest, Int) -> ControlResponse = { request, number in
            // Between the plan and the write somebody else writes.
            if case .register = request.operation { cluster["shop"]?.revision += 1 }
            return cluster.answer(request, number)
        }
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent("a.yaml")
            try Self.spec("shop").write(to: file, atomically: true, encoding: .utf8)
            try await FakeServer.run(cluster.answer) { server in
                _ = try await CommandLineRun.run(["apply", file.path], server: server.url)
            }
            try Self.spec("shop", image: "shop:9").write(to: file, atomically: true, encoding: .utf8)
            try await FakeServer.run(raced) { server in
                let run = try await CommandLineRun.run(["apply", file.path], server: server.url)
                #expect(run.exitCode == 1)
                #expect(run.errors.contains("a.yaml, app shop: not applied. 0 of 1 documents"), "\(run.errors)")
                #expect(run.errors.contains("Error: The app's spec is another one by now"), "\(run.errors)")
            }
            #expect(cluster["shop"]?.spec.image == "shop:1")
        }
    }

    @Test func `an app that is registered and does not start is told of`() async throws {
        let cluster = SpecCluster()
        let stubborn: @Sendable (ControlRequest, Int) -> ControlResponse = { request, number in
            if case .start(let name) = request.operation, name.rawValue == "b" {
                return ControlResponse(.appNotFound(name))
            }
            return cluster.answer(request, number)
        }
        try await CommandLineRun.withFolder { folder in
            let file = folder.appendingPathComponent("all.yaml")
            try ["a", "b", "c"].map { Self.spec($0) }.joined(separator: "\n---\n").write(
                to: file, atomically: true, encoding: .utf8)
            try await FakeServer.run(stubborn) { server in
                let run = try await CommandLineRun.run(["apply", file.path, "--up"], server: server.url)
                #expect(run.exitCode == 4, "\(run.errors)")
                for words in ["a: registered, revision 1; started.", "b: registered, revision 1; it is stopped"] {
                    #expect(run.output.contains(words), "\(run.output)")
                }
                #expect(
                    run.errors.contains(
                        "(document 2), app b: registered, but not started. 1 of 3 documents were applied before it, "
                            + "1 after it were not looked at."), "\(run.errors)")
                #expect(cluster["c"] == nil)
            }
        }
    }

    @Test func `maintenance on and off, and the rest of the spec stays`() async throws {
        let spec = Self.spec("shop", more: "scaling: {maxReplicas: 9}")
        try await with(["a.yaml": spec]) { cluster, server, folder in
            _ = try await CommandLineRun.run(["apply", folder, "--up"], server: server.url)
            let before = cluster["shop"]
            let on = try await CommandLineRun.run(
                ["maintenance", "shop", "on", "--message", "Back soon", "--retry-after", "15m"], server: server.url)
            #expect(on.exitCode == 0, "\(on.errors)")
            #expect(cluster["shop"]?.spec.routing.maintenance?.message == "Back soon")
            #expect(cluster["shop"]?.spec.routing.maintenance?.retryAfterSeconds == 900)
            let off = try await CommandLineRun.run(["maintenance", "shop", "off"], server: server.url)
            #expect(off.exitCode == 0, "\(off.errors)")
            #expect(cluster["shop"] == before)
        }
    }

    @Test func `what spec --document prints can be applied`() async throws {
        try await with(["a.yaml": Self.spec("shop", more: "scaling: {maxReplicas: 9}")]) { cluster, server, folder in
            _ = try await CommandLineRun.run(["apply", folder], server: server.url)
            let shown = try await CommandLineRun.run(["spec", "shop", "--document"], server: server.url)
            let plan = try await CommandLineRun.run(["plan", "-"], server: server.url, input: shown.output)
            #expect(plan.exitCode == 0, "\(plan.output) \(plan.errors)")
        }
    }
}
