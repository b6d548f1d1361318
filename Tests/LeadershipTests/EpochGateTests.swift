import Leadership
import OrchestryModel
import Testing

/// L5: what an agent makes of orders, one after the other.
struct GateRow: Sendable, CustomTestStringConvertible {
    enum Step: Hashable, Sendable {
        case labels([UInt64])
        case command(UInt64, obeyed: Bool)
        case table(UInt64, obeyed: Bool)
    }
    var name: String
    var steps: [Step]
    var highest: UInt64
    var testDescription: String { name }

    static let rows: [GateRow] = [
        GateRow(
            name: "epochs rise", steps: [.labels([]), .command(1, obeyed: true), .command(3, obeyed: true)],
            highest: 3),
        GateRow(
            name: "the same epoch again", steps: [.labels([]), .command(3, obeyed: true), .command(3, obeyed: true)],
            highest: 3),
        GateRow(
            name: "a lower one is refused, and changes nothing",
            steps: [.labels([]), .command(3, obeyed: true), .command(2, obeyed: false), .command(3, obeyed: true)],
            highest: 3),
        GateRow(
            name: "tables and commands share one memory",
            steps: [
                .labels([]), .table(4, obeyed: true), .command(3, obeyed: false), .command(5, obeyed: true),
                .table(4, obeyed: false),
            ], highest: 5),
        GateRow(
            name: "labels are remembered orders",
            steps: [.labels([2, 7, 5]), .command(6, obeyed: false), .command(7, obeyed: true)], highest: 7),
        GateRow(
            name: "no command before the labels are known",
            steps: [.command(9, obeyed: false), .labels([4]), .command(8, obeyed: false), .command(9, obeyed: true)],
            highest: 9),
        GateRow(
            name: "tables pass before the labels are known",
            steps: [.table(2, obeyed: true), .table(1, obeyed: false)],
            highest: 2),
        GateRow(
            name: "labels read again never lower it",
            steps: [.labels([5]), .command(8, obeyed: true), .labels([5]), .command(7, obeyed: false)], highest: 8),
    ]
}

@Suite struct EpochGateTests {
    @Test(arguments: GateRow.rows)
    func `an agent obeys no epoch below the highest it has seen`(_ row: GateRow) {
        var gate = EpochGate()
        for (index, step) in row.steps.enumerated() {
            switch step {
            case .labels(let labels): gate.adopt(labels.map { Epoch($0) })
            case .command(let epoch, let obeyed):
                #expect(gate.admit(.command, of: Epoch(epoch)) == obeyed, "step \(index): \(step)")
            case .table(let epoch, let obeyed):
                #expect(gate.admit(.routingTable, of: Epoch(epoch)) == obeyed, "step \(index): \(step)")
            }
        }
        #expect(gate.highest == Epoch(row.highest))
    }
}
