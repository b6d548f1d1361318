import Foundation
import Logging
import MetricsCache
import OrchestryModel
import TestSupport
import Testing

/// The whole way of events under load: outbox, follower, leader, PostgreSQL, on real nodes that are killed on the way.
/// With `ORCHESTRY_DEV_LONG_TESTS=1` a million of them.
@Suite(
    .serialized, .enabled(if: servicesExpected, "needs PostgreSQL, nginx and a container engine: see configs/dev/test"),
    .timeLimit(.minutes(20)))
struct OutboxFloodTests {
    private static let isLong = ProcessInfo.processInfo.environment["ORCHESTRY_DEV_LONG_TESTS"] != nil
    private let perNode = isLong ? 333_334 : 2_000
    private let kills = isLong ? 20 : 4

    @Test func `full outboxes reach PostgreSQL once, whoever is killed on the way`() async throws {
        let options = Cluster.Options.protocolOnly
        try await withCluster("flood", options, beforeStart: fill) { cluster in
            let total = 3 * perNode
            let begun = ContinuousClock.now
            var left = Dictionary(uniqueKeysWithValues: cluster.members.map { ($0.id, perNode) })
            var killed = 0
            var peak = 0
            let isThrough = try await eventually(within: .seconds(900), every: .milliseconds(50)) {
                for member in cluster.members {
                    guard let now = await outbox(of: member, on: cluster) else { continue }
                    left[member.id] = now
                    peak = max(peak, await residentKibibytes(of: member, on: cluster))
                }
                let arrived = total - left.values.reduce(0, +)
                // Evenly over the way, leaders and followers in turn.
                if killed < kills, arrived > total * (killed + 1) / (kills + 1) {
                    let victim = cluster.members[killed % 3]
                    await cluster.kill(victim.id)
                    try await cluster.start(victim)
                    killed += 1
                }
                return left.values.allSatisfy { $0 == 0 }
            }
            guard isThrough else { throw TestFailure("not all arrived within 15 minutes; left: \(left)") }
            let took = ContinuousClock.now - begun
            let rows = try cluster.postgres.query(
                """
                SELECT node_id, count(*), count(DISTINCT message), count(DISTINCT sequence) FROM events
                WHERE message LIKE 'load %' GROUP BY 1 ORDER BY 1
                """, on: cluster.database)
            let expected = cluster.members.map { "\($0.id)|\(perNode)|\(perNode)|\(perNode)" }
            try #require(
                rows == expected.joined(separator: "\n"), "node, rows, different messages, different sequences")
            #expect(killed == kills)
            let rate = Double(total) / (Double(took.components.seconds) + 0.001)
            print(
                """
                flood: \(total) events of three nodes, nodes killed \(killed) times: \(took), \(Int(rate)) events/s, highest \
                resident memory of a node \(peak / 1024) MiB; lost 0, doubled 0
                """)
        }
    }

    private func fill(_ cluster: Cluster) async throws {
        for member in cluster.members {
            let data = member.folder + "/data"
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
            let outbox = try Outbox(
                folder: data, node: member.id, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            for first in stride(from: 0, to: perNode, by: 500) {
                _ = try await outbox.append(
                    events: (first..<min(first + 500, perNode)).map { number in
                        Event(
                            node: member.id, time: WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)),
                            app: nil, kind: .instanceReady,
                            message: "load \(number): web-1-\(number) is ready on \(member.id) at 172.18.0.9:9010",
                            details: ["instance": .string("web-1-\(number)"), "revision": 1])
                    })
            }
            outbox.shutdown()
        }
    }

    /// How many events wait there; nil: it does not say.
    private func outbox(of member: Cluster.Member, on cluster: Cluster) async -> Int? {
        // Not yet, is all that no answer says.
        let text = try? await cluster.get("/metrics/prometheus", from: member).text
        let line = text?.split(separator: "\n").first { $0.hasPrefix("orchestry_outbox_events{") }
        return line?.split(separator: " ").last.flatMap { Double($0) }.map { Int($0) }
    }

    private func residentKibibytes(of member: Cluster.Member, on cluster: Cluster) async -> Int {
        guard let process = await cluster.processes.identifier(of: member.id),
            // Gone meanwhile.
            let status = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") })
        else { return 0 }
        return Int(line.filter(\.isNumber)) ?? 0
    }
}
