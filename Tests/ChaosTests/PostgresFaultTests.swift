import Foundation
import TestSupport
import Testing

/// PostgreSQL goes away for everybody, or changes places.
@Suite(.serialized, .endsSharedClusters, .enabled(if: obstacle == nil, "\(obstacle ?? "")"), .timeLimit(.minutes(10)))
struct PostgresFaultTests {
    @Test func `PostgreSQL crashes and is started again`() async throws {
        try await SharedCluster.plain.run(
            Scenario(
                label: "restart", what: "PostgreSQL ended without a checkpoint, started again", mayRefuse: true,
                patience: .seconds(2)
            ) { cluster, _ in
                let fault = machineNanoseconds()
                try await onOwnThread { cluster.postgres.stop(immediately: true) }
                try await hold(.seconds(4))
                try await onOwnThread { try cluster.postgres.start() }
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test func `PostgreSQL stands still for longer than the lease`() async throws {
        try await SharedCluster.plain.run(
            Scenario(
                label: "freezedb", what: "PostgreSQL stopped (SIGSTOP) for longer than the lease of 5 s, then SIGCONT",
                mayRefuse: true, patience: .seconds(2), answerLimit: .seconds(5)
            ) { cluster, _ in
                let fault = machineNanoseconds()
                cluster.postgres.pause()
                try await hold(.milliseconds(6_500))
                cluster.postgres.resume()
                return .init(fault: fault, mended: machineNanoseconds())
            })
    }

    @Test func `a synchronous standby is promoted`() async throws {
        for round in 1...rounds {
            try await withChaosCluster(.init(hasStandby: true)) { cluster in
                guard let standby = cluster.standby else { throw ChaosFailure("no standby") }
                let isSynchronous = try await onOwnThread {
                    try cluster.postgres.query("SELECT sync_state FROM pg_stat_replication") == "sync"
                }
                #expect(isSynchronous)
                try await play(
                    Scenario(
                        label: "promote", what: "PostgreSQL killed, its synchronous standby promoted", mayRefuse: true
                    ) { cluster, _ in
                        let fault = machineNanoseconds()
                        try await onOwnThread {
                            cluster.postgres.stop(immediately: true)
                            try standby.query("SELECT pg_promote()")
                        }
                        cluster.standbyTakesOver()
                        return .init(fault: fault, mended: machineNanoseconds())
                    }, on: cluster, round: round)
            }
        }
    }
}
