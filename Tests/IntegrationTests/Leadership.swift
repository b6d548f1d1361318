import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Whether PostgreSQL is here: what the tests of the cluster protocol need.
let postgresExpected =
    ProcessInfo.processInfo.environment["ORCHESTRY_DEV_REQUIRE_SERVICES"] != nil || PrivatePostgres.isInstalled

/// Who leads, under which epoch: what must not change.
struct Leadership: Hashable, Sendable {
    var leader: String
    var epoch: Int64
}

extension Cluster {
    /// As all nodes see it, waiting until they agree.
    func leadership(deadline: Duration = .seconds(30)) async throws -> Leadership {
        var seen: [Leadership] = []
        let agreed = await eventually(within: deadline, every: .milliseconds(50)) {
            seen = []
            for member in members {
                // A node that does not answer yet is asked again.
                guard let answer = try? await get("/cluster/leader", from: member), answer.status == 200,
                    let leader = answer.json["leader_id"]?.stringValue,
                    let epoch = answer.json["term"]?.intValue ?? answer.json["epoch"]?.intValue
                else { return false }
                seen.append(Leadership(leader: leader, epoch: Int64(epoch)))
            }
            return Set(seen).count == 1
        }
        guard agreed, let first = seen.first else { throw TestFailure("the nodes don't agree who leads: \(seen)") }
        return first
    }

    /// Registers an app that never runs, whose policy can be written to.
    func registerWeb(via member: Member? = nil) async throws {
        let answer = try await post("/apps/register", Self.document("web"), to: member ?? members[0])
        guard answer.status == 200 else { throw TestFailure("not registered: \(answer.status) \(answer.text)") }
    }

    /// - Parameter start: leaves out so many bytes.
    func log(of member: Member, from start: Int = 0) -> String {
        // Missing before the node has said anything.
        let text = (try? String(contentsOfFile: member.folder + "/log", encoding: .utf8)) ?? ""
        return String(decoding: text.utf8.dropFirst(start), as: UTF8.self)
    }

    /// How long each log is now: the first election may have had its own ups and downs.
    var logLengths: [NodeID: Int] {
        Dictionary(members.map { ($0.id, log(of: $0).utf8.count) }, uniquingKeysWith: { first, _ in first })
    }

    func metric(_ name: String, of member: Member) async throws -> [String: Double] {
        let text = try await get("/metrics/prometheus", from: member).text
        var values: [String: Double] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix(name + "{") || line.hasPrefix(name + " ") {
            let parts = line.split(separator: " ")
            values[String(parts.dropLast().joined(separator: " "))] = parts.last.flatMap { Double($0) }
        }
        return values
    }
}

/// Writes one after the other until it is told to stop.
actor Writer {
    private let cluster: Cluster
    private let members: [Cluster.Member]
    private(set) var outcome = Outcome()
    private var isStopped = false

    /// - Parameter members: asked in turn.
    init(_ cluster: Cluster, through members: [Cluster.Member]) {
        self.cluster = cluster
        self.members = members
    }

    func stop() { isStopped = true }

    func run() async {
        while !isStopped, !Task.isCancelled {
            let begun = ContinuousClock.now
            let member = members[outcome.done % members.count]
            do {
                let answer = try await cluster.post(
                    "/apps/web/policy", ["policy": ["maxReplicas": JSONValue(7 + outcome.done % 90)]], to: member)
                if answer.status == 200 {
                    outcome.done += 1
                } else {
                    outcome.failed.append("\(member.id): \(answer.status) \(answer.text)")
                }
            } catch {
                outcome.failed.append("\(member.id): \(error)")
            }
            outcome.longest = max(outcome.longest, ContinuousClock.now - begun)
            // Cancelled: the test is over.
            try? await Task.sleep(for: .milliseconds(10))
        }
    }
}
