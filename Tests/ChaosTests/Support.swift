import Foundation
import Synchronization
import TestSupport
import Testing

private let environment = ProcessInfo.processInfo.environment

/// nil: the scenarios can run here. `configs/dev/test` installs what they need and sets the variable, which turns what
/// is missing from a reason to skip into a failure.
let obstacle: String? =
    environment["ORCHESTRY_DEV_REQUIRE_SERVICES"] != nil
    ? nil : PrivatePostgres.isInstalled ? NetworkLab.obstacle : "PostgreSQL is not installed"

/// How often each scenario runs.
let rounds = max(1, environment["ORCHESTRY_CHAOS_ROUNDS"].flatMap { Int($0) } ?? 1)

/// One cluster for many scenarios, made when the first needs it, and anew after one that failed.
actor SharedCluster {
    static let plain = SharedCluster(.init())
    static let relayed = SharedCluster(.init(hasRelays: true))
    /// With a lease so long that a leader stays leader whatever the test does to its way to PostgreSQL, and with one
    /// connection, so that it gives up soon.
    static let patient = SharedCluster(
        .init(hasRelays: true, leadership: "{lease_ttl: 60s, renew_interval: 5s}", postgresPool: 1))

    private let options: ChaosCluster.Options
    private var cluster: ChaosCluster?
    private var round = 0

    init(_ options: ChaosCluster.Options) { self.options = options }

    /// Runs the scenario as often as asked for, prints its account, and fails the test with what was found.
    func run(_ scenario: Scenario) async throws {
        try await use { cluster, round in try await play(scenario, on: cluster, round: round) }
    }

    /// As often as asked for, with a number that rises.
    func use(_ body: (ChaosCluster, Int) async throws -> Void) async throws {
        for _ in 0..<rounds {
            let cluster = if let cluster { cluster } else { try await ChaosCluster(options) }
            self.cluster = cluster
            round += 1
            do {
                try await body(cluster, round)
            } catch {
                self.cluster = nil
                try await cluster.tearDown()
                throw error
            }
        }
    }

    func tearDown() async throws {
        defer { cluster = nil }
        try await cluster?.tearDown()
    }
}

/// Takes shared clusters down at the end of a suite: nine nodes that nobody uses would slow all that is tested after.
struct SharedClustersEnd: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await function()) } catch { outcome = .failure(error) }
        for cluster in [SharedCluster.plain, .relayed, .patient] { try await cluster.tearDown() }
        try outcome.get()
    }
}

extension Trait where Self == SharedClustersEnd {
    static var endsSharedClusters: Self { Self() }
}

/// Runs a scenario on a cluster; prints the account, and the logs when something was found.
func play(_ scenario: Scenario, on cluster: ChaosCluster, round: Int) async throws {
    do {
        let result = try await scenario.run(on: cluster, round: round)
        print(result.account)
        guard result.problems.isEmpty else {
            throw ChaosFailure(result.account + "\n  " + result.problems.prefix(20).joined(separator: "\n  "))
        }
    } catch {
        let kept = try cluster.keepLogs()
        Issue.record("\(scenario.label): \(error)\nlogs: \(kept)")
        throw error
    }
}

/// Makes a cluster for one test and takes it down, whatever happens.
func withChaosCluster(_ options: ChaosCluster.Options, _ body: (ChaosCluster) async throws -> Void) async throws {
    let cluster = try await ChaosCluster(options)
    do {
        try await body(cluster)
    } catch {
        print("logs: \(try cluster.keepLogs())")
        try await cluster.tearDown()
        throw error
    }
    try await cluster.tearDown()
}

extension ChaosCluster {
    /// Copies the nodes' logs to where they outlive the test.
    func keepLogs() throws -> String {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("orchestry-\(cluster)-logs").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for member in members {
            let target = "\(folder)/\(member.name).log"
            // Of an earlier failure on the same cluster: the log at hand has it all.
            try? FileManager.default.removeItem(atPath: target)
            try FileManager.default.copyItem(atPath: member.log, toPath: target)
        }
        return folder
    }
}
