import Foundation
import TestSupport
import Testing

/// Faults of processes and of the network between namespaces.
@Suite(.serialized, .endsSharedClusters, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(10)))
struct ProcessAndNetworkTests {
    @Test func `the leader is killed`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "kill", what: "leader killed (SIGKILL), started again") { cluster, leader in
                let fault = try await cluster.kill(leader)
                try await hold(.seconds(2))
                try cluster.start(leader)
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test func `the leader stands still for longer than the lease, then goes on`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "freeze", what: "leader stopped (SIGSTOP) for longer than the lease of 5 s, then SIGCONT") {
                cluster, leader in
                let fault = cluster.signal(leader, SIGSTOP)
                try await hold(.milliseconds(6_500))
                return .init(fault: fault, mended: cluster.signal(leader, SIGCONT))
            })
    }

    @Test func `the leader is cut off from PostgreSQL`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "nodb", what: "leader cut off from PostgreSQL") { cluster, leader in
                try await cluster.cut(leader, [.coming, .going], from: ["db"], for: .seconds(10))
            })
    }

    @Test func `the leader is cut off from its peers`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "nopeers", what: "leader cut off from its peers, both ways") { cluster, leader in
                try await cluster.cut(leader, [.coming, .going], from: cluster.peers(of: leader), for: .seconds(7))
            })
    }

    @Test func `the leader is not heard by its peers but hears them`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "mute", what: "leader's packets to its peers dropped, theirs not") { cluster, leader in
                try await cluster.cut(leader, [.going], from: cluster.peers(of: leader), for: .seconds(5))
            })
    }

    @Test func `the leader does not hear its peers but is heard`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "deaf", what: "peers' packets to the leader dropped, its own not") { cluster, leader in
                try await cluster.cut(leader, [.coming], from: cluster.peers(of: leader), for: .seconds(5))
            })
    }

    @Test func `packets are lost at random everywhere`() async throws {
        try await SharedCluster.plain.run(
            Scenario(label: "loss", what: "5% of all packets between nodes and to PostgreSQL lost") { cluster, _ in
                let fault = machineNanoseconds()
                try await onOwnThread {
                    for member in cluster.members {
                        try cluster.lab.drop(
                            at: ChaosCluster.place(member.name), [.coming],
                            others: cluster.peers(of: member.name) + ["db"], probability: 0.05)
                    }
                }
                try await hold(.seconds(6))
                try await onOwnThread { try cluster.lab.heal() }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }
}

extension ChaosCluster {
    /// Namespaces of the other nodes.
    func peers(of name: String) -> [String] { others(than: name).map { Self.place($0.name) } }

    func cut(
        _ name: String, _ ways: Set<NetworkLab.Way>, from others: [String], for duration: Duration
    ) async throws -> Scenario.Moments {
        let fault = machineNanoseconds()
        try await onOwnThread { [lab] in try lab.drop(at: Self.place(name), ways, others: others) }
        try await hold(duration)
        try await onOwnThread { [lab] in try lab.heal() }
        return .init(fault: fault, mended: machineNanoseconds())
    }
}
