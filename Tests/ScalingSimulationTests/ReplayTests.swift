import Autoscaling
import Foundation
import OrchestryModel
import ScalingSimulation
import Testing

/// What was recorded gives the same decisions again; and a trace is what its file says.
struct ReplayTests {
    private static let app = AppName(unchecked: "web")

    /// SplitMix64, for a load that looks like one.
    private struct Seeded: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    /// A leader's day in small: three nodes whose samples come late now and then, a burst, a person, a pause, a deploy,
    /// skipped seconds, a restart of the process.
    private struct Recording {
        var samples: [RecordedSample] = []
        var records: [ScalingRecord] = []
        var decisions = 0

        init(seed: UInt64) {
            var random = Seeded(state: seed)
            var policy = ScalingPolicy(
                maxReplicas: 20, targetRPS: 50, maxP95LatencyMilliseconds: 400, maxCPUPercent: 80, windowSeconds: 10,
                cooldownSeconds: 10, stabilizationWindowSeconds: 15)
            policy.customMetrics = [.init(name: "jobs", metric: "jobs", target: 40)]
            var scaler = Autoscaler()
            var recorder = ScalingRecorder()
            var desired = 2
            var ready: [InstanceID: Int64] = [:]
            var late: [(sample: Sample, due: Int64)] = []
            for second in Int64(1_000)..<1_500 {
                if second == 1_300 {
                    // The process dies: what was recorded stays, what it knew goes, but for the cache.
                    records += recorder.take(all: true)
                    recorder = ScalingRecorder()
                    scaler = Autoscaler()
                    for sample in samples { scaler.record(sample.sample) }
                }
                for number in 0..<max(desired, 1) where ready[Self.instance(number)] == nil {
                    ready[Self.instance(number)] = second + 2
                }
                for number in desired..<40 { ready[Self.instance(number)] = nil }
                let load = (1_100..<1_250).contains(second) ? 600.0 : (1_400..<1_450).contains(second) ? 250 : 60
                for node in 1...3 {
                    let rps = load / 3 * Double.random(in: 0.8...1.2, using: &random)
                    let sample = Self.sample(second - 1, node: node, rps: rps, ready: ready)
                    let delay = Int64.random(in: 0..<20, using: &random)
                    if delay < 4 { late.append((sample, second + delay)) } else { late.append((sample, second)) }
                }
                for entry in late where entry.due == second {
                    scaler.record(entry.sample)
                    samples.append(
                        RecordedSample(entry.sample, seen: recorder.lastEvaluated.map { $0 + 1 } ?? second))
                }
                late.removeAll { $0.due <= second }
                if second % 3 == 0 {
                    let reading = CustomReading(
                        metric: "jobs", instance: Self.instance(0), second: second,
                        value: Double.random(in: 10...50, using: &random))
                    scaler.record(reading, app: ReplayTests.app)
                    recorder.note(.custom(reading))
                }
                // A busy leader misses a second.
                if second % 97 == 0 { continue }
                let state = ReplicaState(
                    desired: desired, ready: ready.filter { $0.value <= second },
                    starting: ready.count { $0.value > second }, rolloutInProgress: (1_260..<1_270).contains(second),
                    pauseIn: (1_230..<1_300).contains(second))
                let evaluation = scaler.evaluate(ReplayTests.app, policy: policy, state: state, at: second)
                recorder.evaluated(at: second, policy: policy, state: state, wanted: evaluation.wanted)
                var wanted = evaluation.wanted
                if wanted != desired { decisions += 1 }
                if second == 1_350 { wanted = 7 }  // A person.
                if wanted != desired {
                    scaler.noteScaled(ReplayTests.app, from: desired, to: wanted, at: second)
                    recorder.note(.scaled(from: desired, to: wanted, second: second))
                    desired = wanted
                }
                records += recorder.take()
            }
            records += recorder.take(all: true)
        }

        private static func instance(_ number: Int) -> InstanceID { InstanceID(unchecked: "web-1-\(number)") }

        private static func sample(_ second: Int64, node: Int, rps: Double, ready: [InstanceID: Int64]) -> Sample {
            var latency = LatencyHistogram()
            latency.record(microseconds: UInt64(20_000 + rps * 1_000), count: UInt64(rps) + 1)
            return Sample(
                app: ReplayTests.app, node: NodeID(unchecked: "node-\(node)"), second: second, requests: UInt64(rps),
                requestSeconds: rps * 0.05, latency: latency,
                instances: node == 1
                    ? ready.keys.sorted().map { InstanceSample(instance: $0, cpuPercent: min(100, rps / 3)) } : [])
        }
    }

    @Test(arguments: [1, 2, 4, 5] as [UInt64])
    func `recorded evaluations, run again, decide exactly as they did`(_ seed: UInt64) throws {
        let recording = Recording(seed: seed)
        // As the cache keeps them.
        let records = try recording.records.map {
            try JSONDecoder().decode(ScalingRecord.self, from: JSONEncoder().encode($0))
        }
        let replay = ScalingReplay(Self.app, samples: recording.samples.shuffled(), records: records)
        #expect(replay.evaluations > 490, "seed \(seed)")
        #expect(replay.decisions == recording.decisions && replay.decisions > 2, "seed \(seed): \(replay.decisions)")
        #expect(replay.differences == [], "seed \(seed): \(replay.differences.prefix(3))")
        #expect(records.count < 600, "alike seconds are one record: \(records.count)")
    }

    @Test func `when a sample was first known matters`() {
        let recording = Recording(seed: 1)
        let early = recording.samples.map { RecordedSample($0.sample, seen: $0.sample.second + 1) }
        #expect(!ScalingReplay(Self.app, samples: early, records: recording.records).differences.isEmpty)
    }

    // MARK: Traces

    @Test func `a trace file is read`() throws {
        let trace = try LoadTrace(
            csv: "# a comment\nsecond, rps, cpu_percent, instances\n10,20,,\n\n12,500,40,5\r\n13,,,\n15,30,,\n")
        #expect(trace.points.map(\.second) == [10, 11, 12, 13, 14, 15])
        #expect(trace.points.map(\.rps) == [20, 20, 500, 500, 500, 30])
        #expect(trace.points.map(\.isMeasured) == [true, true, true, false, false, true])
        #expect(trace.points[2].cpuPercent == 200)
    }

    @Test(arguments: [
        ("", 1), ("second,rps\n", 2), ("second\n1\n", 1), ("second,rps,mood\n", 1), ("second,rps\n1,x\n", 2),
        ("second,rps\n1,2,3\n", 2), ("second,rps\n2,1\n2,1\n", 3), ("second,rps\n1,-1\n", 2),
        ("second,rps\n1.5,1\n", 2),
        ("second,rps\n0,1\n700000,1\n", 3), ("rps,second,rps\n", 1),
    ])
    func `a wrong trace file is refused with its line`(_ text: String, _ line: Int) {
        let error = #expect(throws: TraceError.self) { try LoadTrace(csv: text) }
        #expect(error?.line == line, "\(String(describing: error))")
    }

    @Test func `samples of nodes and minutes add up to a trace`() throws {
        func sample(_ second: Int64, node: String, requests: UInt64, interval: Double = 1) -> Sample {
            Sample(
                app: Self.app, node: NodeID(unchecked: node), second: second, interval: interval, requests: requests,
                inFlight: 2)
        }
        let trace = try #require(
            LoadTrace(
                [
                    sample(0, node: "a", requests: 600, interval: 60), sample(60, node: "a", requests: 5),
                    sample(60, node: "b", requests: 7), sample(62, node: "a", requests: 1),
                ], over: 58..<64))
        #expect(trace.points.map(\.rps) == [10, 10, 12, 12, 1, 1])
        #expect(trace.points.map(\.isMeasured) == [true, true, true, false, true, false])
        #expect(trace.points[2].connections == 4)
        #expect(LoadTrace([], over: 0..<10) == nil)
    }

    @Test func `a report compares policies, and its chart is a picture`() throws {
        let scenario = Scenario("step", LoadTrace(seconds: 300) { $0 < 100 ? 20 : 400 })
        let runs = [50.0, 25].map { target in
            let policy = ScalingPolicy(maxReplicas: 20, targetRPS: target)
            return ScalingRun(
                OrchestryRule(policy, name: target == 50 ? "asked & <new>" : "in force"), scenario: scenario,
                model: AppModel(policy: ScalingPolicy(targetRPS: 50)), bounds: 1...20, start: 1, targetRPS: target)
        }
        let report = SimulationReport(runs: runs, recorded: [.init(second: 100, from: 1, to: 8, reason: "")])
        #expect(runs.map(\.peak) == [8, 16])
        #expect(runs[0].instanceSeconds < runs[1].instanceSeconds)
        #expect(report.text.contains("1 → 8"), "\(report.text)")
        #expect(report.json["policies"]?.arrayValue?.count == 2)
        let parser = XMLCheck(report.chart)
        #expect(parser.isWellFormed, "\(parser.problem) in \(report.chart)")
        #expect(report.chart.contains("asked &amp; &lt;new>") && report.chart.contains("as recorded"))
        #expect(!report.chart.contains("nan") && !report.chart.contains("inf\""))
    }
}

/// Whether tags are closed in order: enough to see that a chart is well-formed, without a parser that needs a package.
private struct XMLCheck {
    private(set) var isWellFormed = true
    private(set) var problem = ""

    init(_ text: String) {
        var open: [Substring] = []
        for part in text.split(separator: "<").dropFirst(text.hasPrefix("<") ? 0 : 1) {
            guard let end = part.firstIndex(of: ">") else {
                isWellFormed = false
                problem = "a tag does not end: \(part.prefix(40))"
                return
            }
            let tag = part[..<end]
            if tag.hasSuffix("/") { continue }
            if tag.hasPrefix("/") {
                if open.popLast() != tag.dropFirst() {
                    isWellFormed = false
                    problem = "\(tag) closes nothing"
                    return
                }
            } else {
                open.append(tag.prefix { $0 != " " })
            }
        }
        if !open.isEmpty {
            isWellFormed = false
            problem = "\(open) stay open"
        }
    }
}
