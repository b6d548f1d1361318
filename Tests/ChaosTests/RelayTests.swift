import Foundation
import TestSupport
import Testing

/// Faults that packet filters can't make: lateness, silence of an open connection, resets. Every connection between
/// nodes and to PostgreSQL goes through a relay of the test.
@Suite(.serialized, .endsSharedClusters, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(10)))
struct RelayTests {
    @Test func `200 ms between the nodes`() async throws {
        try await SharedCluster.relayed.run(
            Scenario(label: "slowpeers", what: "200 ms more on every message between nodes, each way") {
                cluster, _ in
                try await cluster.delay(cluster.peerLinks, by: .milliseconds(200), for: .seconds(6))
            })
    }

    @Test func `200 ms to PostgreSQL`() async throws {
        try await SharedCluster.relayed.run(
            Scenario(label: "slowdb", what: "200 ms more on every message to and from PostgreSQL") { cluster, _ in
                try await cluster.delay(
                    Array(cluster.links.postgres.values), by: .milliseconds(200), for: .seconds(6))
            })
    }

    @Test func `the leader's connections to its peers stall`() async throws {
        try await SharedCluster.relayed.run(
            Scenario(label: "stall", what: "leader's connections to its peers stalled, then caught up") {
                cluster, leader in
                try await cluster.stall(cluster.peerLinks(of: leader), for: .seconds(4))
            })
    }

    @Test func `the leader's connections to PostgreSQL stall`() async throws {
        try await SharedCluster.relayed.run(
            Scenario(label: "stalldb", what: "leader's connections to PostgreSQL stalled, then caught up") {
                cluster, leader in
                try await cluster.stall([cluster.links.postgres[leader]].compactMap(\.self), for: .seconds(4))
            })
    }

    @Test func `connections are reset again and again`() async throws {
        try await SharedCluster.relayed.run(
            Scenario(label: "reset", what: "every connection between nodes and to PostgreSQL reset 10 times in 5 s") {
                cluster, _ in
                let fault = machineNanoseconds()
                for _ in 0..<10 {
                    for link in cluster.links.all { try await link.reset() }
                    try await hold(.milliseconds(500))
                }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }
}

extension ChaosCluster {
    var peerLinks: [TCPRelay] { links.peers.values.flatMap(\.values) }

    func peerLinks(of name: String) -> [TCPRelay] {
        links.peers.flatMap { dialer, links in
            links.compactMap { $0.key == name || dialer == name ? $0.value : nil }
        }
    }

    func delay(_ relays: [TCPRelay], by delay: Duration, for duration: Duration) async throws -> Scenario.Moments {
        let fault = machineNanoseconds()
        for relay in relays {
            for way in TCPRelay.Way.allCases { try await relay.delay(way, by: delay) }
        }
        try await hold(duration)
        for relay in relays {
            for way in TCPRelay.Way.allCases { try await relay.delay(way, by: .zero) }
        }
        return .init(fault: fault, mended: machineNanoseconds())
    }

    func stall(_ relays: [TCPRelay], for duration: Duration) async throws -> Scenario.Moments {
        let fault = machineNanoseconds()
        for relay in relays {
            for way in TCPRelay.Way.allCases { try await relay.hold(way) }
        }
        try await hold(duration)
        for relay in relays {
            for way in TCPRelay.Way.allCases { try await relay.release(way) }
        }
        return .init(fault: fault, mended: machineNanoseconds())
    }
}
