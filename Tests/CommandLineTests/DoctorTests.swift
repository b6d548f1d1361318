import Foundation
import OrchestryModel
import RestFacade
import Testing

struct DoctorTests {
    /// The nodes of the fake server's view have addresses of their own, which are not its.
    @Test func `the cluster: who leads, PostgreSQL, engines, apps, each with what to do`() async throws {
        let web = Application(
            spec: AppSpec(name: AppName(unchecked: "web"), image: "w:1", ports: []), document: [:], revision: 1,
            status: .running, replicas: 3, createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 1))
        let node = NodeID(unchecked: "controller-3")
        let nodes = Presentation.nodes([
            .init(
                id: node, info: nil, isConnected: true, isLost: false, engineAvailable: false,
                capacityMillicores: 1_000, capacityMemoryBytes: 1 << 30, reservedMillicores: 0, reservedMemoryBytes: 0,
                instances: 0, scheduling: NodeScheduling(node: node))
        ])
        try await FakeServer.run({ request, _ in
            switch request.operation {
            case .listApps:
                ControlResponse(body: Presentation.appList([Presentation.appListEntry(web, readyReplicas: 1)]))
            case .listNodes: ControlResponse(body: nodes)
            default: ControlResponse(.storeUnavailable("connection refused"))
            }
        }) { server in
            let run = try await CommandLineRun.run(
                ["doctor", "--cluster", "-o", "json", "--timeout", "0"], server: server.url)
            #expect(run.exitCode == 1, "\(run.errors)")
            let answer = try JSONValue(jsonText: run.output)
            func finding(_ check: String) -> JSONValue? {
                answer["findings"]?.arrayValue?.first { $0["check"]?.stringValue == check }
            }
            #expect(finding("leader")?["found"] == "controller-2 leads, epoch 7")
            #expect(finding("PostgreSQL")?["level"] == "error")
            #expect(finding("PostgreSQL")?["found"]?.stringValue?.contains("connection refused") == true)
            #expect(finding("engine of controller-3")?["level"] == "error")
            #expect(finding("app web")?["found"] == "1 of 3 ready")
            #expect(finding("app web")?["advice"]?.stringValue?.contains("orchestry status web") == true)
            for number in 1...3 { #expect(finding("node controller-\(number)") != nil) }
            for finding in answer["findings"]?.arrayValue ?? [] {
                #expect((finding["level"] == "ok") == (finding["advice"] == JSONValue.null), "\(finding)")
            }
            #expect((answer["errors"]?.intValue ?? 0) >= 2)
        }
    }

    @Test func `a cluster that does not answer`() async throws {
        let run = try await CommandLineRun.run(["doctor", "--cluster", "--timeout", "0"], server: "http://127.0.0.1:1")
        #expect(run.exitCode == 1)
        #expect(run.output.contains("none answers"), "\(run.output)")
        #expect(run.output.contains("What to do:"))
    }

    @Test func `this host: a taken port, a full look, certificates`() async throws {
        try await FakeServer.run({ _, _ in ControlResponse(body: .null) }) { server in
            try await CommandLineRun.withFolder { folder in
                let certs = folder.appendingPathComponent("certs").path
                for arguments in [
                    ["init", "--dir", certs], ["issue", "n-1", "--days", "10", "--dir", certs],
                ] {
                    let made = try await CommandLineRun.run(["certs"] + arguments)
                    #expect(made.exitCode == 0, "\(made.errors)")
                }
                let run = try await CommandLineRun.run([
                    "doctor", "--host", "--ports", "\(server.port)", "--data", folder.path, "--certs", certs, "-o",
                    "json",
                ])
                let answer = try JSONValue(jsonText: run.output)
                let findings = answer["findings"]?.arrayValue ?? []
                func finding(_ check: String) -> JSONValue? { findings.first { $0["check"]?.stringValue == check } }
                #expect(finding("port \(server.port)")?["level"] == "warning")
                #expect(finding("disk")?["found"]?.stringValue?.contains("free at \(folder.path)") == true)
                for check in ["engine", "nginx", "control groups", "clock"] {
                    #expect(finding(check) != nil, "\(check)")
                }
                let levels = findings.filter { $0["check"] == "certificate" }.map { $0["level"] }
                #expect(Set(levels) == ["ok", "warning"], "the authority's years, the node's ten days: \(findings)")
                #expect(run.exitCode == (answer["errors"] == 0 ? 0 : 1))
            }
        }
    }

    @Test func `top: one table when nobody watches, largest first`() async throws {
        func usage(_ name: String, _ rps: Double?) -> Presentation.AppUsage {
            Presentation.AppUsage(
                app: AppName(unchecked: name), status: .running, wanted: 2, ready: 1,
                observed: rps.map {
                    Presentation.ObservedMetrics(
                        rps: $0, p95LatencyMilliseconds: 12.5, activeConnections: 3, cpuPercent: 40, memoryPercent: nil,
                        healthyReplicas: 1, totalReplicas: 2)
                })
        }
        let answer = Presentation.usageOfApps([usage("a", nil), usage("b", 10), usage("c", 200)])
        try await FakeServer.run({ _, _ in ControlResponse(body: answer) }) { server in
            let run = try await CommandLineRun.run(["top"], server: server.url)
            #expect(run.exitCode == 0, "\(run.errors)")
            let lines = run.output.split(separator: "\n")
            #expect(lines.dropFirst().map { $0.prefix(1) } == ["c", "b", "a"])
            #expect(lines.dropFirst().first?.contains("200  12.5    3          40%  -") == true, "\(run.output)")
            #expect(!run.output.contains("\u{1B}"))
            let byName = try await CommandLineRun.run(["top", "--sort", "name"], server: server.url)
            #expect(byName.output.split(separator: "\n").dropFirst().map { $0.prefix(1) } == ["a", "b", "c"])
            #expect(server.plane.requests.map(\.operation) == [.usageOfApps, .usageOfApps])
        }
    }

    @Test func `wide has more columns`() async throws {
        let application = Application(
            spec: AppSpec(name: AppName(unchecked: "web"), image: "w:1", ports: []),
            document: ["type": "http", "image": "w:1", "routing": ["hosts": ["a.example", "b.example"]]], revision: 1,
            status: .running, replicas: 1, createdAt: WallTime(seconds: 1), updatedAt: WallTime(seconds: 1_795_391_963))
        let answer = Presentation.appList([Presentation.appListEntry(application, readyReplicas: 1)])
        try await FakeServer.run({ _, _ in ControlResponse(body: answer) }) { server in
            let run = try await CommandLineRun.run(["list", "-o", "wide"], server: server.url)
            #expect(run.output.contains("a.example,b.example  -    -    2026-11-22 23:59:23"), "\(run.output)")
        }
    }
}
