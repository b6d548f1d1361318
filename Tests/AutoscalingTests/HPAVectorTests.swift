import Autoscaling
import OrchestryModel
import Testing

/// The replica calculator against the cases published with Kubernetes' Horizontal Pod Autoscaler (Apache-2.0), as data:
/// thresholds 100/100, tolerance 0.1.
struct HPAVectorTests {
    enum Kind: Sendable {
        /// Percent of the request, by instance.
        case cpu
        /// A custom metric, by instance.
        case pods
        /// One figure with a target for the whole (Kubernetes' object and external metrics).
        case whole
        /// One figure with a target for each instance.
        case perInstance
    }

    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var kind: Kind
        var current: Int
        /// R ready, U not ready, H in its warm-up, F failed, D being deleted, P pending.
        var pods: String
        var levels: [Double]
        var request: Double?
        var target: Double
        /// nil: an error, that is, hold.
        var expected: Int?

        init(
            _ name: String, _ kind: Kind, current: Int, _ pods: String, _ levels: [Double], request: Double? = 1000,
            target: Double, expect expected: Int?
        ) {
            self.name = name
            self.kind = kind
            self.current = current
            self.pods = pods
            self.levels = levels
            self.request = request
            self.target = target
            self.expected = expected
        }
        var testDescription: String { name }
    }

    static let rows: [Row] = [
        Row("up-basic", .cpu, current: 3, "RRR", [300, 500, 700], target: 30, expect: 5),
        Row("up-hot-less", .cpu, current: 3, "HRR", [300, 500, 700], target: 30, expect: 4),
        Row("hot-none", .cpu, current: 3, "RHH", [400, 500, 700], target: 30, expect: 3),
        Row("up-ignores-deleting", .cpu, current: 2, "RRDD", [500, 700], target: 30, expect: 4),
        Row("up-qps-unready-counts", .pods, current: 3, "RRU", [50000, 10000, 30000], target: 15000, expect: 6),
        Row("up-object", .whole, current: 3, "RRR", [20000], target: 15000, expect: 4),
        Row("up-object-only-ready", .whole, current: 3, "URU", [50000], target: 10000, expect: 5),
        Row("up-external-only-ready", .whole, current: 3, "URU", [8600], target: 4400, expect: 2),
        Row("down-basic", .cpu, current: 5, "RRRRR", [100, 300, 500, 250, 250], target: 50, expect: 3),
        Row("down-object-per-pod", .perInstance, current: 5, "RRRRR", [6000], target: 2000, expect: 3),
        Row("down-external", .whole, current: 5, "RRRRR", [8600], target: 14334, expect: 3),
        Row("down-unready-excluded", .cpu, current: 5, "RRRUU", [100, 300, 500, 250, 250], target: 50, expect: 2),
        Row("down-hot-excluded", .cpu, current: 5, "RRRHH", [100, 300, 500, 250, 250], target: 50, expect: 2),
        Row("down-ignores-deleting", .cpu, current: 5, "RRRRRDD", [100, 300, 500, 250, 250], target: 50, expect: 3),
        Row("tolerance-qps", .pods, current: 3, "RRR", [20000, 21000, 21000], target: 20000, expect: 3),
        Row("tolerance-object-per-pod", .perInstance, current: 4, "RRRR", [20166], target: 5000, expect: 4),
        Row("tolerance-external-per-pod", .perInstance, current: 3, "RRR", [8600], target: 2900, expect: 3),
        Row("missing-metrics-damped-down", .cpu, current: 4, "RRRR", [400, 95], target: 100, expect: 3),
        Row("missing-nochange-gt", .cpu, current: 2, "RR", [1900], target: 100, expect: 2),
        Row("missing+unready-nochange", .cpu, current: 3, "URR", [100, 450], target: 50, expect: 3),
        Row("missing+unready-up", .cpu, current: 3, "URR", [100, 2000], target: 50, expect: 4),
        Row("surge-during-rolling", .cpu, current: 2, "RRR", [100, 100], target: 50, expect: 2),
        Row("no-requests", .cpu, current: 1, "R", [200], request: nil, target: 100, expect: nil),
    ]

    private let arithmetic = ReplicaArithmetic(
        outThreshold: 1, inThreshold: 1, toleranceOut: 0.1, toleranceIn: 0.1)

    @Test(arguments: rows)
    func `the arithmetic equals the published vectors`(_ row: Row) {
        let readyCount = row.pods.count { $0 == "R" }
        let answer: Int? =
            switch row.kind {
            case .cpu, .pods: instanceAnswer(row)
            case .whole:
                arithmetic.desired(value: row.levels[0], target: row.target, ready: readyCount, current: row.current)
                    .count
            case .perInstance:
                arithmetic.desired(
                    low: row.levels[0], high: row.levels[0], targetPerInstance: row.target, ready: readyCount,
                    current: row.current
                ).count
            }
        #expect(answer == row.expected)
    }

    private func instanceAnswer(_ row: Row) -> Int? {
        var levels = ReplicaArithmetic.Levels(
            sum: 0, measured: 0, missingLevel: row.kind == .cpu ? max(100, row.target) : row.target)
        for (index, letter) in row.pods.enumerated() where letter != "F" && letter != "D" {
            let isSetAside = row.kind == .cpu ? "UHP".contains(letter) : letter == "P"
            if isSetAside {
                levels.setAside += 1
            } else if index < row.levels.count, row.kind == .pods {
                levels.sum += row.levels[index]
                levels.measured += 1
            } else if index < row.levels.count, let request = row.request {
                levels.sum += row.levels[index] / request * 100
                levels.measured += 1
            } else {
                levels.missing += 1
            }
        }
        return arithmetic.desired(levels, target: row.target, current: row.current)?.count
    }

    /// The same rows through samples, windows and the whole evaluation.
    ///
    /// Left out: `.pods` (apps have no custom metric of each instance yet) and `.whole` (only latency is of that shape,
    /// whose steps we bound on purpose: its answer to more instances is not in proportion).
    @Test(arguments: rows.filter { $0.kind == .cpu || $0.kind == .perInstance })
    func `a whole evaluation equals the published vectors`(_ row: Row) {
        let isCPU = row.kind == .cpu
        let policy = plainPolicy(rps: isCPU ? nil : row.target, cpu: isCPU ? row.target : nil).likeHPA
        var scaler = Autoscaler()
        var state = ReplicaState(desired: row.current, ready: [:])
        var cpu: [Double?] = []
        for (index, letter) in row.pods.enumerated() {
            let level = index < row.levels.count && isCPU ? row.levels[index] : nil
            cpu.append(level.flatMap { level in row.request.map { level / $0 * 100 } })
            switch letter {
            case "R": state.ready[instance(index)] = 0
            case "H": state.ready[instance(index)] = 197
            case "U", "P": state.starting += 1
            default: break
            }
        }
        scaler.record(seconds: 170...199) { second in
            sample(second, rps: isCPU ? 0 : row.levels[0], instances: readings(cpu: cpu))
        }
        let evaluation = scaler.evaluate(app, policy: policy, state: state, at: 200)
        #expect(evaluation.wanted == row.expected ?? row.current, "\(evaluation.words)")
    }
}
