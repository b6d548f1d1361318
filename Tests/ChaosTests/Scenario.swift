import Foundation
import OrchestryModel
import TestSupport
import Testing

/// Breaks something under a stream of writes and reads, mends it, and has everything checked.
struct Scenario: Sendable {
    /// When things happened, by the machine's clock.
    struct Moments: Sendable {
        var fault: Int64
        /// The same as `fault` where nothing had to be mended.
        var mended: Int64
    }

    /// For the account, and with letters, digits and hyphens only, for names of apps.
    var label: String
    var what: String
    /// Failed writes, answered 503 with a hint when to try again, are in order: PostgreSQL was away from everybody.
    var mayRefuse = false
    /// A change of leader is a fault.
    var keepsLeader = false
    /// How long clients go on trying.
    var patience = Duration.seconds(25)
    /// How long they wait for one answer.
    var answerLimit = Duration.milliseconds(2_500)
    /// Breaks and mends. Gets the leader's name.
    var fault: @Sendable (ChaosCluster, String) async throws -> Moments

    struct Result: Sendable {
        var account: String
        var problems: [String]
    }

    /// - Parameter round: makes names new.
    func run(on cluster: ChaosCluster, round: Int) async throws -> Result {
        let leader = try await cluster.settled()
        try await cluster.installTriggers()
        let epochsBefore = try await cluster.epochs().count
        let workload = Workload(cluster, label: "\(label)-\(round)", patience: patience, answerLimit: answerLimit)
        try await workload.prepare()
        let moments = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await workload.run() }
            defer { workload.stop() }
            let begun = machineNanoseconds()
            try await wait(for: "writes before the fault") { workload.accepted(since: begun) >= 20 }
            let moments = try await fault(cluster, leader)
            try await wait(for: "writes after the fault was mended") {
                workload.accepted(since: moments.mended) >= 20
            }
            return moments
        }
        // The machine may be busy; that it all comes together again is what counts.
        let last = try await cluster.settled()
        var record = workload.seen
        record.reads += try await cluster.readEverywhere(workload, workload.apps)
        var problems = try await cluster.findings(record, apps: workload.apps).problems
        problems += refusals(in: record)
        let epochs = try await cluster.epochs().dropFirst(epochsBefore - 1)
        if keepsLeader, epochs.count > 1 { problems.append("the leader changed: \(epochs.map(\.leader))") }
        return Result(
            account: account(record, moments, epochs: Array(epochs), leaders: (leader, last), problems: problems),
            problems: problems)
    }

    private func wait(for what: String, _ condition: () -> Bool) async throws {
        guard await eventually(within: .seconds(60), every: .milliseconds(50), condition) else {
            throw ChaosFailure("\(label): no \(what) within 60 s")
        }
    }

    private func refusals(in record: Workload.Record) -> [String] {
        let failed = record.writes.filter { !$0.isAccepted }
        var problems: [String] = []
        if !mayRefuse, !failed.isEmpty {
            problems.append("\(failed.count) writes failed, such as \(failed[0])")
        }
        for case .refused(let status, let text) in failed.map(\.outcome) where status != 503 {
            problems.append("a write was answered \(status): \(text)")
        }
        if record.notNowWithoutHint > 0 { problems.append("\(record.notNowWithoutHint) × 503 without Retry-After") }
        return problems
    }

    /// One line that says it all.
    private func account(
        _ record: Workload.Record, _ moments: Moments, epochs: [(epoch: Int64, leader: String)],
        leaders: (before: String, after: String), problems: [String]
    ) -> String {
        let accepted = record.writes.filter(\.isAccepted).sorted { $0.returned < $1.returned }
        let unanswered = record.writes.count { $0.outcome == .unanswered }
        let failed = record.writes.count - accepted.count - unanswered
        func seconds(_ nanoseconds: Int64) -> String { String(format: "%.2f s", Double(nanoseconds) / 1e9) }
        let next =
            accepted.first { $0.invoked >= moments.fault }.map { seconds($0.returned - moments.fault) } ?? "never"
        let gap = zip(accepted, accepted.dropFirst()).map { $1.returned - $0.returned }.max() ?? 0
        let retried = accepted.count { $0.attempts > 1 }
        let mended =
            moments.mended == moments.fault ? "" : " (mended after \(seconds(moments.mended - moments.fault)))"
        let numbers = epochs.map { "\($0.epoch) \($0.leader.replacing("controller-", with: "c"))" }
        return "chaos \(label): \(what)\(mended); next accepted write \(next) after the fault, longest gap "
            + "\(seconds(gap)); writes ok \(accepted.count) (\(retried) at a second node or attempt), failed \(failed), "
            + "unknown \(unanswered), 503 on the way \(record.notNow); reads \(record.reads.count); epochs "
            + "\(numbers.joined(separator: " → ")); checker: "
            + (problems.isEmpty ? "no violation" : "\(problems.count) VIOLATIONS")
    }
}

extension ChaosCluster {
    /// One read of each app through each node.
    func readEverywhere(_ workload: Workload, _ apps: [String]) async throws -> [Workload.Read] {
        var reads: [Workload.Read] = []
        for app in apps {
            for member in members {
                try await wait(for: "an answer of \(member.name)") {
                    guard let read = await workload.read(app, client: "end", from: member) else { return false }
                    reads.append(read)
                    return true
                }
            }
        }
        return reads
    }

    /// Once per database.
    func installTriggers() async throws {
        let (server, database) = (server, database)
        // The leader makes the tables when it has been elected.
        try await wait(for: "the tables") {
            try await onOwnThread {
                let tables = "to_regclass('events') IS NOT NULL, to_regclass('chaos_acts') IS NOT NULL"
                let there = try server.query("SELECT \(tables)", on: database)
                if there == "t|f" { try server.query(Witness.triggers, on: database) }
                return there.hasPrefix("t")
            }
        }
    }

    /// The PostgreSQL server that takes writes.
    var server: PrivatePostgres {
        guard let standby, database.contains(standby.host) else { return postgres }
        return standby
    }

    /// Every change of epoch so far, in order.
    func epochs() async throws -> [(epoch: Int64, leader: String)] {
        let (server, database) = (server, database)
        return try await onOwnThread { try Witness(server, database, apps: ["none"]).epochs }
    }

    func findings(_ record: Workload.Record, apps: [String]) async throws -> Findings {
        let (server, database) = (server, database)
        let members = members.map { ($0, ends(of: $0.name)) }
        return try await onOwnThread {
            let witness = try Witness(server, database, apps: apps)
            var logs: [String: NodeLog] = [:]
            for (member, ends) in members {
                let bytes = try Data(contentsOf: URL(fileURLWithPath: member.log))
                logs[member.name] = try NodeLog(
                    node: member.name, text: String(decoding: bytes, as: UTF8.self), ends: ends)
            }
            return Findings(record: record, apps: apps, witness: witness, logs: logs)
        }
    }
}
