import OrchestryModel

/// Decides how many instances each app should have. Pure: no clock, I/O, randomness or logging; the same samples,
/// changes and evaluations give the same answers.
///
/// Model: samples come from several nodes, each second one per app and node, a little late and perhaps not at all. An
/// evaluation at second `now` looks at complete seconds, `now − windowSeconds … now − 1`. Nodes' clocks agree to about
/// two seconds; a node that is further behind counts as silent. Every node that serves an app is expected to report it
/// each second, zeros included.
///
/// The arithmetic is that of Kubernetes' HPA v2 (`ReplicaArithmetic`, `RateLimits`) with Knative's burst window
/// (`BurstWindow`). Whatever is not known argues against the change: as none when growing, as much when shrinking.
public struct Autoscaler: Sendable {
    private var positions: [AppName: Int] = [:]
    private var series: [AppSeries] = []

    public init() {}

    /// Apps that anything is remembered of, sorted.
    public var apps: [AppName] { positions.keys.sorted() }

    /// Takes in a sample: any node, any order. One for the same app, node and second replaces the earlier; one for a
    /// second that was injected, or older than what is kept, is ignored.
    public mutating func record(_ sample: Sample) {
        series[position(of: sample.app)].record(sample)
    }

    /// Takes in a reading of a custom metric: any order; one for the same second replaces the earlier.
    /// - Parameter name: as in the policy's `customMetrics`.
    public mutating func record(_ reading: CustomReading, app: AppName) {
        series[position(of: app)].record(reading)
    }

    /// Replaces all samples of one second by a total for the whole app (`POST /apps/{name}/simulateMetrics`). An
    /// evaluation at `second` itself or later sees it.
    /// - Parameter metrics: `rps` and `activeConnections` of the whole app, `cpuPercent` and `memoryPercent` of each
    ///   instance. `healthyReplicas` and `evaluate` are the caller's business.
    public mutating func inject(_ metrics: SimulatedMetrics, app: AppName, second: Int64) {
        series[position(of: app)].inject(metrics, at: second)
    }

    /// Windows up to this length are kept warm of apps whose policy is not known.
    public static let followerWindowSeconds =
        AppSeries.initialCapacity - Int(AppSeries.staleSeconds + AppSeries.aheadSeconds)

    /// Keeps at least this much of an app's past from now on. Evaluations ask for their window by themselves; whoever
    /// wants to be warm for windows of more than `followerWindowSeconds` calls this when it learns the policy.
    public mutating func retain(_ app: AppName, windowSeconds: Int) {
        series[position(of: app)].retain(seconds: windowSeconds)
    }

    /// Drops all that is remembered of an app.
    public mutating func forget(_ app: AppName) {
        guard let position = positions.removeValue(forKey: app) else { return }
        series.swapAt(position, series.count - 1)
        series.removeLast()
        if position < series.count { positions[series[position].app] = position }
    }

    /// Evaluates an app. Changes nothing by itself: when the caller acts on the result, it calls `noteScaled`.
    /// - Parameter second: now, seconds since 1970; once a second.
    public mutating func evaluate(
        _ app: AppName, policy: ScalingPolicy, state: ReplicaState, at second: Int64
    ) -> Evaluation {
        series[position(of: app)].evaluate(policy: policy, state: state, at: second)
    }

    /// Whether requests that have just begun to wait start an app that is idle, without waiting for its next evaluation.
    /// - Returns: nil when nothing changes: `evaluate` says why.
    public mutating func wake(
        _ app: AppName, policy: ScalingPolicy, state: ReplicaState, at second: Int64
    ) -> Evaluation? {
        series[position(of: app)].wake(policy: policy, state: state, at: second)
    }

    /// What the window shows, without deciding anything: for followers and for scrapes.
    /// - Parameter ready: instances that share the traffic.
    public func observed(_ app: AppName, policy: ScalingPolicy, ready: Int, at second: Int64) -> ObservedMetrics {
        guard let position = positions[app] else {
            return AppSeries(app: app).observed(policy: policy, ready: ready, at: second)
        }
        return series[position].observed(policy: policy, ready: ready, at: second)
    }

    /// Evaluations of about the last five minutes, oldest first, the newest always among them: every one whose result
    /// or rules differ from the one before, and one in ten seconds of the others; at most 129.
    public func recentEvaluations(_ app: AppName) -> [Evaluation] {
        positions[app].map { series[$0].history.evaluations } ?? []
    }

    /// Tells of a change of the wanted count, by the autoscaler, a person, or read back from stored decisions by a new
    /// leader. Cooldown, rate policies and bursts go by it. Any order; `from == to` is no change.
    public mutating func noteScaled(_ app: AppName, from: Int, to: Int, at second: Int64) {
        series[position(of: app)].noteScaled(from: from, to: to, at: second)
    }

    private mutating func position(of app: AppName) -> Int {
        if let position = positions[app] { return position }
        series.append(AppSeries(app: app))
        positions[app] = series.count - 1
        return series.count - 1
    }
}
