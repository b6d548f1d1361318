import Autoscaling
import MetricsCache
import OrchestryModel
import RestFacade
import ScalingSimulation

/// What a node's cache has of one app.
struct ScalingHistory: Sendable {
    /// Single seconds of the last hour.
    var samples: [RecordedSample]
    /// Minutes before that.
    var minutes: [Sample]
    var records: [ScalingRecord]

    static func read(
        _ app: AppName, since second: Int64, from metrics: MetricsDatabase
    ) async throws -> ScalingHistory {
        // All there is of the last hour: records are run again from their beginning.
        let recorded = try await metrics.recorded(app: app, sinceSecond: 0)
        let first = recorded.first?.sample.second ?? Int64.max
        return ScalingHistory(
            samples: recorded.map { RecordedSample($0.sample, seen: $0.seen) },
            minutes: try await metrics.minutes(app: app, sinceSecond: second).filter { $0.second + 60 <= first },
            records: ScalingState.decode(try await metrics.scalingLines(app: app, sinceSecond: 0)))
    }
}

/// `POST /apps/{name}/simulate`: what a policy would have done with the load of late.
extension LeaderTerm {
    func simulate(_ request: SimulationRequest, for application: Application) async throws -> ControlResponse {
        guard !isSimulating else {
            throw Problem(
                status: 503, code: "simulation-running", title: "A simulation is under way",
                detail: "One simulation runs at a time; try again in a second.", retryAfterSeconds: 1)
        }
        isSimulating = true
        defer { isSimulating = false }
        var policies = [(application.spec.scaling, "in force")]
        if request.policy != .null {
            let merged = try ScalingPolicy.parse(request.policy, merging: application.document["scaling"] ?? [:])
            try refuseUnknownZones(of: merged.policy, at: "policy")
            policies.insert((merged.policy, "asked"), at: 0)
        }
        await surroundings.keepRecords(surroundings.scaling.takeRecords(all: true))
        let now = surroundings.clock.wall().wholeSecond
        let since = now - Int64(request.sinceSeconds)
        let history: ScalingHistory
        do {
            history = try await surroundings.history(application.name, since)
        } catch {
            throw Problem(
                status: 503, code: "metrics-unavailable", title: "The metrics cache can't be read",
                detail: "The leader's metrics cache can't be read now: \(error).", retryAfterSeconds: 5)
        }
        let tried = policies
        let work = Simulation(
            app: application.name, policies: tried, request: request, history: history, range: since..<now)
        guard let body = await work.run() else {
            throw Problem(
                status: 404, code: "no-history", title: "Nothing is recorded",
                detail: "The leader has no samples of \(application.name) of the last \(request.sinceSeconds) s.")
        }
        return ControlResponse(body: body)
    }
}

/// The computation, apart from the actor: it may take a second.
private struct Simulation: Sendable {
    var app: AppName
    var policies: [(policy: ScalingPolicy, name: String)]
    var request: SimulationRequest
    var history: ScalingHistory
    var range: Range<Int64>

    /// - Returns: nil without any sample.
    @concurrent func run() async -> JSONValue? {
        let samples = history.minutes + history.samples.map(\.sample)
        guard let trace = LoadTrace(samples, over: range) else { return nil }
        let replay = ScalingReplay(app, samples: history.samples, records: history.records)
        let recorded = history.records.compactMap { record -> ScalingRun.Step? in
            guard case .scaled(let from, let to, let second) = record, range.contains(second) else { return nil }
            return ScalingRun.Step(second: second, from: from, to: to, reason: "")
        }
        let start = history.records.lazy.compactMap { record -> Int? in
            guard case .evaluated(_, let last, _, let state, _) = record, last >= range.lowerBound else { return nil }
            return state.desired
        }.first
        let runs = policies.map { policy, name in
            var model = AppModel(policy: policy)
            if let capacity = request.capacityPerInstance { model.capacityPerInstance = capacity }
            if let seconds = request.startSeconds { model.startSeconds = Int64(seconds) }
            return ScalingRun(
                OrchestryRule(policy, name: name, offset: TimeZones.offset), scenario: Scenario(app.rawValue, trace),
                model: model, bounds: policy.leastAwake...max(policy.leastAwake, policy.maxReplicas),
                start: max(start ?? policy.minReplicas, 1), targetRPS: policy.targetRPS)
        }
        var notes: [String] = []
        if !history.minutes.isEmpty {
            notes.append("Before the last hour only minutes are kept: what happens within one is not seen.")
        }
        if replay.evaluations > 0 {
            notes.append(
                "Run again, \(replay.evaluations) recorded evaluations (\(replay.decisions) decisions) gave "
                    + (replay.differences.isEmpty
                        ? "exactly what they gave then." : "something else in \(replay.differences.count) cases."))
        }
        let report = SimulationReport(runs: runs, recorded: recorded, notes: notes)
        return [
            "app": .string(app.rawValue), "report": report.json, "replay": replay.json, "text": .string(report.text),
            "chart": .string(report.chart),
        ]
    }
}
