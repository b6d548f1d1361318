import Leadership
import OrchestryModel
import SimulationKit
import Testing

private let nodeA = NodeID(unchecked: "a")
private let nodeB = NodeID(unchecked: "b")

/// The statements on the row, second by second: what `PostgresStore` must do as well. The lease lasts 5 s.
@Suite struct LeaseRegisterTests {
    enum Expected: Hashable, Sendable {
        case acquired(UInt64)
        case renewed(LeaseMode)
        case released
        case refused
    }

    struct Step: Sendable {
        var second: Int64
        var node: NodeID
        var statement: LeaseRequest.Statement
        var expected: Expected
        /// PostgreSQL's.
        var timeline: UInt32 = 1

        func after(promotions: UInt32) -> Step {
            var step = self
            step.timeline += promotions
            return step
        }
    }

    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var steps: [Step]
        var testDescription: String { name }
    }

    private static func acquire(
        _ second: Int64, _ node: NodeID, votes: Bool = false, highest: UInt64 = 0, _ expected: Expected
    ) -> Step {
        Step(
            second: second, node: node,
            statement: .acquire(votesGranted: votes, highestEpoch: Epoch(highest)), expected: expected)
    }
    private static func renew(
        _ second: Int64, _ node: NodeID, _ epoch: UInt64, seq: UInt64, mode: LeaseMode = .quorum,
        _ expected: Expected
    ) -> Step {
        Step(
            second: second, node: node, statement: .renew(epoch: Epoch(epoch), seq: seq, mode: mode),
            expected: expected)
    }
    private static func release(
        _ second: Int64, _ node: NodeID, _ epoch: UInt64, seq: UInt64, _ expected: Expected
    ) -> Step {
        Step(second: second, node: node, statement: .release(epoch: Epoch(epoch), seq: seq), expected: expected)
    }

    static let rows: [Row] = [
        Row(name: "L3 the first lease has epoch 1", steps: [acquire(0, nodeA, .acquired(1))]),
        Row(
            name: "L3 the epoch is above the highest reported, though the row is older",
            steps: [acquire(0, nodeA, highest: 7, .acquired(8)), acquire(5, nodeB, highest: 3, .acquired(9))]),
        Row(
            name: "L3 an unexpired lease needs votes",
            steps: [
                acquire(0, nodeA, .acquired(1)), acquire(4, nodeB, .refused),
                acquire(4, nodeB, votes: true, .acquired(2)),
            ]),
        Row(
            name: "L3 an expired lease does not",
            steps: [acquire(0, nodeA, .acquired(1)), acquire(5, nodeB, .acquired(2))]),
        Row(
            name: "L3 votes are no use against a solo lease",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 1, mode: .solo, .renewed(.solo)),
                acquire(2, nodeB, votes: true, .refused), acquire(6, nodeB, .acquired(2)),
            ]),
        Row(
            name: "L3 the holder itself gets a new epoch",
            steps: [acquire(0, nodeA, .acquired(1)), acquire(1, nodeA, votes: true, .acquired(2))]),
        Row(
            name: "L4 only the holder, under its epoch, renews",
            steps: [
                acquire(0, nodeA, highest: 3, .acquired(4)), renew(1, nodeB, 4, seq: 1, .refused),
                renew(1, nodeA, 3, seq: 1, .refused), renew(1, nodeA, 4, seq: 1, .renewed(.quorum)),
            ]),
        Row(
            name: "L4 a lease that expired may be renewed while nobody took it",
            steps: [acquire(0, nodeA, .acquired(1)), renew(60, nodeA, 1, seq: 1, .renewed(.quorum))]),
        Row(
            name: "L4 a delayed statement can't undo a later one",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 2, mode: .solo, .renewed(.solo)),
                renew(2, nodeA, 1, seq: 1, .refused), renew(2, nodeA, 1, seq: 2, .refused),
                renew(2, nodeA, 1, seq: 3, .renewed(.quorum)),
            ]),
        Row(
            name: "L4 solo waits for every earlier lease to run out",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(3, nodeA, 1, seq: 1, .renewed(.quorum)),
                // Node a's lease runs until 8, node b's second one would have until 9.
                acquire(4, nodeB, votes: true, .acquired(2)), acquire(5, nodeA, votes: true, .acquired(3)),
                renew(8, nodeA, 3, seq: 1, mode: .solo, .refused), renew(8, nodeA, 3, seq: 2, .renewed(.quorum)),
                renew(9, nodeA, 3, seq: 3, mode: .solo, .renewed(.solo)),
            ]),
        Row(
            name: "L4 a new epoch counts its statements from the start",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 9, .renewed(.quorum)),
                acquire(2, nodeA, votes: true, .acquired(2)), renew(3, nodeA, 2, seq: 1, .renewed(.quorum)),
            ]),
        Row(
            name: "L7 a released lease is free at once, also a solo one",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 1, mode: .solo, .renewed(.solo)),
                release(2, nodeA, 1, seq: 2, .released), acquire(2, nodeB, .acquired(2)),
                renew(2, nodeB, 2, seq: 1, mode: .solo, .renewed(.solo)),
            ]),
        Row(
            name: "L7 a release obeys the number as well",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 2, .renewed(.quorum)),
                release(2, nodeA, 1, seq: 1, .refused), release(2, nodeB, 1, seq: 3, .refused),
                acquire(2, nodeB, .refused),
            ]),
        Row(
            name: "L9 after a promotion nobody acquires for a TTL, with votes or without",
            steps: [
                acquire(0, nodeA, .acquired(1)), acquire(10, nodeB, votes: true, .refused).after(promotions: 1),
                acquire(14, nodeB, .refused).after(promotions: 1),
                acquire(15, nodeB, .acquired(1_002)).after(promotions: 1),
            ]),
        Row(
            name: "L9 nobody goes solo, or stays so, for a TTL after a promotion; quorum goes on",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 1, mode: .solo, .renewed(.solo)),
                renew(2, nodeA, 1, seq: 2, mode: .solo, .refused).after(promotions: 1),
                renew(2, nodeA, 1, seq: 3, .renewed(.quorum)).after(promotions: 1),
                renew(6, nodeA, 1, seq: 4, mode: .solo, .refused).after(promotions: 1),
                renew(7, nodeA, 1, seq: 5, mode: .solo, .renewed(.solo)).after(promotions: 1),
            ]),
        Row(
            name: "L9 epochs of each history are their own",
            steps: [
                acquire(0, nodeA, .acquired(1)), renew(1, nodeA, 1, seq: 1, .renewed(.quorum)).after(promotions: 2),
                acquire(6, nodeB, votes: true, .acquired(2_002)).after(promotions: 2),
                acquire(7, nodeA, votes: true, .acquired(2_003)).after(promotions: 2),
            ]),
        Row(
            name: "L9 a server whose clock is behind does not wait for the old one's times",
            steps: [
                acquire(1_000, nodeA, .acquired(1)), acquire(10, nodeB, .refused).after(promotions: 1),
                acquire(15, nodeB, .acquired(1_002)).after(promotions: 1),
                renew(19, nodeB, 1_002, seq: 1, mode: .solo, .renewed(.solo)).after(promotions: 1),
            ]),
        Row(
            name: "L7, L9 a release is taken, but not at once of use",
            steps: [
                acquire(0, nodeA, .acquired(1)), release(1, nodeA, 1, seq: 1, .released).after(promotions: 1),
                acquire(2, nodeB, .refused).after(promotions: 1),
                acquire(6, nodeB, .acquired(1_002)).after(promotions: 1),
            ]),
    ]

    @Test(arguments: rows)
    func `the row obeys`(_ row: Row) {
        var register = LeaseRegister(leaseTTL: .seconds(5))
        for step in row.steps {
            let clock = Instant(nanoseconds: step.second * 1_000_000_000)
            let outcome = register.execute(step.statement, by: step.node, clock: clock, timeline: step.timeline)
            let got: Expected? =
                switch outcome {
                case .acquired(let epoch): .acquired(epoch.rawValue)
                case .renewed(_, let mode): .renewed(mode)
                case .released: .released
                case .refused: .refused
                case .failed: nil
                }
            #expect(got == step.expected, "at \(step.second) s: \(step.statement)")
        }
    }

    @Test func `L5 only the row's epoch may write`() {
        var register = LeaseRegister(leaseTTL: .seconds(5))
        #expect(!register.admits(.none, of: nodeA))
        _ = register.execute(.acquire(votesGranted: false, highestEpoch: .none), by: nodeA, clock: .zero)
        #expect(register.admits(Epoch(1), of: nodeA))
        #expect(!register.admits(Epoch(1), of: nodeB))
        _ = register.execute(.acquire(votesGranted: true, highestEpoch: .none), by: nodeB, clock: .zero)
        #expect(!register.admits(Epoch(1), of: nodeA))
        #expect(register.admits(Epoch(2), of: nodeB))
    }
}
