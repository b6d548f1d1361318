import Foundation
import NIOHTTP1
import OrchestryModel
import TestSupport

/// Steps of schedules written by hand.
extension ChaosCluster {
    /// The place among `members`.
    func index(of name: String) -> Int { members.firstIndex { $0.name == name } ?? 0 }

    func wait(for what: String, _ condition: () async throws -> Bool) async throws {
        guard try await eventually(within: .seconds(30), condition) else {
            throw ChaosFailure("\(what) has not come within 30 s")
        }
    }

    /// Waits until the others have a leader among them.
    func leader(otherThan old: String) async throws -> String {
        let found = await firstValue(within: .seconds(30)) {
            for member in others(than: old) {
                // It may know of no leader yet.
                let answer = try? await send(.GET, "/cluster/leader", to: member, within: .seconds(2))
                if let leader = answer?.json["leader_id"]?.stringValue, leader != old, answer?.status == 200 {
                    return leader
                }
            }
            return nil as String?
        }
        guard let found else { throw ChaosFailure("nobody leads instead of \(old)") }
        return found
    }

    /// Kills a leader, starts it again, reads through every node, and checks it all.
    func readAfterDeath(
        of name: String, _ app: String, _ workload: Workload, _ written: [Workload.Write]
    ) async throws -> [String] {
        try await kill(name)
        _ = try await leader(otherThan: name)
        try start(name)
        try await settled()
        let record = Workload.Record(writes: written, reads: try await readEverywhere(workload, [app]))
        return try await findings(record, apps: [app]).problems
    }
}
