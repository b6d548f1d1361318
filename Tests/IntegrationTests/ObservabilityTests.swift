import Foundation
import OrchestryModel
import TestSupport
import Testing

/// The metrics pages as Prometheus sees them, and what is made of them in `configs/prometheus`.
@Suite(
    .serialized,
    .enabled(
        if: servicesExpected && Tool.isExpected("promtool") && Tool.isExpected("prometheus"),
        "needs PostgreSQL, nginx, a container engine and prometheus: see configs/dev/test"),
    .timeLimit(.minutes(5)))
struct ObservabilityTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("configs/prometheus").path

    @Test func `the alert rules fire for their trouble, and only then`() async throws {
        let promtool = try Tool.named("promtool")
        try await promtool.run(["check", "config", Self.folder + "/prometheus.yaml"])
        let outcome = try await promtool.run(["test", "rules", Self.folder + "/alerts.test.yaml"])
        #expect(outcome.contains("SUCCESS"))
        // An alert that no test names would pass the above.
        let rules = try String(contentsOfFile: Self.folder + "/alerts.yaml", encoding: .utf8)
        let tests = try String(contentsOfFile: Self.folder + "/alerts.test.yaml", encoding: .utf8)
        let alerts = rules.matches(of: /alert: (\w+)/).map { String($0.1) }
        #expect(alerts.count >= 15)
        for alert in alerts { #expect(tests.contains("alertname=\"\(alert)\""), "\(alert) has no test") }
    }

    @Test func `a real Prometheus takes the pages, and every panel of the dashboard shows something`() async throws {
        let promtool = try Tool.named("promtool")
        try await withCluster("metrics") { cluster in
            let leader = cluster.member(try await cluster.leader())
            let follower = cluster.members.first { $0.id != leader.id } ?? leader
            _ = try await cluster.post("/apps/register", Cluster.document("web"), to: leader)
            _ = try await cluster.post("/apps/web/up", to: leader)
            try await cluster.waitForReady("web", 1, via: leader)
            let prometheus = try Prometheus(of: cluster.members.map(\.apiPort), rules: Self.folder)
            defer { prometheus.stop() }

            // What the panels need: answers of both kinds, a step of scaling, trouble.
            async let load = request("web", through: follower, on: cluster, for: .seconds(12), pause: .milliseconds(20))
            _ = try await cluster.post("/apps/web/scale", ["replicas": 2], to: follower)
            try await cluster.waitForReady("web", 2, via: leader)
            // Not asked a second time by nginx, which can't know what the first one did.
            #expect(try await cluster.post("/crash", to: "web", via: follower).status >= 500)
            _ = try await load

            for member in cluster.members {
                let page = try await cluster.get("/metrics/prometheus", from: member)
                #expect(page.status == 200)
                // Silence is its praise; each doubt is a line.
                #expect(try await promtool.run(["check", "metrics"], input: page.text) == "")
            }
            for (title, query) in try panels() {
                let answer = await firstValue(within: .seconds(30), every: .milliseconds(500)) {
                    // Not there yet, or Prometheus is still starting: asked again.
                    (try? await prometheus.ask(query, with: cluster)).flatMap { $0.isEmpty ? nil : $0 }
                }
                #expect(answer != nil, "the panel '\(title)' shows nothing: \(query)")
            }
            let counted = try await prometheus.ask("sum(orchestry_requests_total{app=\"web\"})", with: cluster)
            let total = counted.first?["value"]?.arrayValue?.last?.stringValue.flatMap(Double.init)
            #expect(try #require(total) >= 100)
            let reloads = try await prometheus.ask(
                "sum(increase(orchestry_proxy_reloads_total[5s]))", with: cluster)
            #expect(reloads.first?["value"]?.arrayValue?.last?.stringValue == "0")
        }
    }

    /// The titles and queries of the dashboard's panels, for all apps.
    private func panels() throws -> [(title: String, query: String)] {
        let data = try Data(contentsOf: URL(fileURLWithPath: Self.folder + "/grafana-dashboard.json"))
        let dashboard = try JSONDecoder().decode(JSONValue.self, from: data)
        let panels = dashboard["panels"]?.arrayValue ?? []
        #expect(panels.count >= 15)
        return panels.flatMap { panel in
            (panel["targets"]?.arrayValue ?? []).compactMap { target in
                target["expr"]?.stringValue.map {
                    (panel["title"]?.stringValue ?? "", $0.replacing("$app", with: ".*"))
                }
            }
        }
    }
}

/// A private Prometheus with the repository's rules.
private final class Prometheus: Sendable {
    private let process: ChildProcess
    private let folder: TemporaryFolder
    private let port = freePort()

    init(of ports: [Int], rules: String) throws {
        folder = try TemporaryFolder("prometheus")
        let targets = ports.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ", ")
        let file = folder.appending("prometheus.yaml")
        try """
        global: {scrape_interval: 1s, evaluation_interval: 1s}
        rule_files: ["\(rules)/recording.yaml", "\(rules)/alerts.yaml"]
        scrape_configs:
          - {job_name: orchestry, metrics_path: /metrics/prometheus, static_configs: [{targets: [\(targets)]}]}
        """.write(toFile: file, atomically: true, encoding: .utf8)
        process = try ChildProcess(
            try Tool.named("prometheus").path,
            [
                "--config.file=\(file)", "--storage.tsdb.path=\(folder.appending("data"))",
                "--web.listen-address=127.0.0.1:\(port)",
            ], output: folder.appending("log"))
    }

    /// - Returns: the vector's elements.
    func ask(_ query: String, with cluster: Cluster) async throws -> [JSONValue] {
        let allowed = CharacterSet.alphanumerics
        let text = query.addingPercentEncoding(withAllowedCharacters: allowed) ?? query
        let answer = try await cluster.get("/api/v1/query?query=\(text)", port: port)
        guard answer.json["status"]?.stringValue == "success" else {
            throw TestFailure("Prometheus refuses \(query): \(answer.text)")
        }
        return answer.json["data"]?["result"]?.arrayValue ?? []
    }

    func stop() {
        process.signal(SIGTERM)
        process.wait()
    }
}
