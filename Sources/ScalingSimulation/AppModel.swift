import OrchestryModel

/// How a simulated app behaves. A model of first order: every instance carries up to its capacity, and latency rises as
/// in a queue (service time ÷ free share) until it is reached.
public struct AppModel: Hashable, Sendable {
    /// Requests per second one instance can carry; what comes beyond is short of capacity.
    public var capacityPerInstance: Double
    /// From the decision to the first request a new instance takes.
    public var startSeconds: Int64
    /// p95 of an idle instance.
    public var serviceMilliseconds: Double

    /// - Parameter capacityPerInstance: above 0.
    public init(capacityPerInstance: Double, startSeconds: Int64 = 2, serviceMilliseconds: Double = 20) {
        self.capacityPerInstance = max(capacityPerInstance, 0.001)
        self.startSeconds = max(startSeconds, 0)
        self.serviceMilliseconds = max(serviceMilliseconds, 0.001)
    }

    /// A fifth more than its target: targets are set below what breaks an instance. Without a target for requests, 100.
    public init(policy: ScalingPolicy) {
        self.init(capacityPerInstance: policy.targetRPS.map { $0 * 1.2 } ?? 100)
    }

    /// The share of an instance's capacity in use, at most this, so that latency stays finite.
    private static let fullest = 0.98

    func p95Milliseconds(rps: Double, ready: Int) -> Double {
        let used = min(rps / (capacityPerInstance * Double(max(ready, 1))), Self.fullest)
        return serviceMilliseconds / (1 - used)
    }

    func connections(rps: Double, ready: Int) -> Double {
        // Little's law, with half the p95 for the mean.
        rps * p95Milliseconds(rps: rps, ready: ready) / 2_000
    }
}

/// A load and what else happens to the app meanwhile.
public struct Scenario: Sendable {
    public var name: String
    public var trace: LoadTrace
    /// A rollout replaces one instance after the other in these seconds.
    public var rollout: Range<Int64>?
    /// One instance gets `factor` times the others' share.
    public var hot: (seconds: Range<Int64>, factor: Double)?
    public init(
        _ name: String, _ trace: LoadTrace, rollout: Range<Int64>? = nil,
        hot: (seconds: Range<Int64>, factor: Double)? = nil
    ) {
        self.name = name
        self.trace = trace
        self.rollout = rollout
        self.hot = hot
    }
}
