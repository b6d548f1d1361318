import OrchestryModel

/// The constants of proto-spec/lease.md. All voters of a cluster must agree on `promise`, `leaseTTL` and `drift`: safety
/// rests on them. The others only decide how soon things happen.
public struct LeadershipSettings: Hashable, Sendable {
    /// How often a leader sends heartbeats. 10 ms and up.
    public var heartbeatInterval: Duration = .milliseconds(100)
    /// `P`: how long an acknowledgement binds the voter, by its own clock. At least three heartbeat intervals.
    public var promise: Duration = .milliseconds(500)
    /// How long a lease lasts after a renewal, by PostgreSQL's clock. At least three renewal intervals and two promises.
    public var leaseTTL: Duration = .seconds(5)
    /// How often a leader renews its lease.
    public var renewInterval: Duration = .seconds(1)
    /// Every clock's rate is within this fraction of true time: 0 ..< 0.2.
    public var drift: Double = 0.02
    /// After this long without an answer a lease statement counts as failed. A later answer is still looked at.
    public var leaseRequestTimeout: Duration = .seconds(1)
    /// L8: how long a candidate waits for each better-placed one. More than a vote's round trip.
    public var staggerStep: Duration = .milliseconds(40)
    /// The most that chance adds to a wait.
    public var jitter: Duration = .milliseconds(10)
    /// How long after a refused vote a candidate asks that voter again.
    public var voteRetry: Duration = .milliseconds(10)
    /// How long a voter that granted a vote leaves the others waiting, so that the winner can reach PostgreSQL.
    /// Not longer than a promise.
    public var voteHold: Duration = .milliseconds(250)
    /// The longest wait between two attempts to acquire that PostgreSQL refused.
    public var acquireRetry: Duration = .milliseconds(250)
    /// How long a candidate that could not reach PostgreSQL lets the others try.
    public var storeBackoff: Duration = .seconds(1)
    /// The longest wait until a leader that is active without a lease (all voters promised, PostgreSQL does not answer)
    /// falls silent for a moment, in case PostgreSQL answers another node. The first is a renewal interval, each next one
    /// four times as long.
    public var storeProbeInterval: Duration = .seconds(30)

    public init() {}

    /// Everything wrong with these settings; empty when they may be used. Fields are named as in this type.
    public func violations() -> [Violation] {
        var found: [Violation] = []
        func require(_ holds: Bool, _ field: String, _ rule: String) {
            if !holds { found.append(Violation(field, rule)) }
        }
        require(heartbeatInterval >= .milliseconds(10), "heartbeatInterval", "must be at least 10 ms")
        require(promise >= heartbeatInterval * 3, "promise", "must be at least three heartbeat intervals")
        require(promise <= .seconds(60), "promise", "must be at most 60 s")
        require(renewInterval >= .milliseconds(50), "renewInterval", "must be at least 50 ms")
        require(
            leaseTTL >= renewInterval * 3 && leaseTTL >= promise * 2, "leaseTTL",
            "must be at least three renewal intervals and two promises")
        require(leaseTTL <= .seconds(600), "leaseTTL", "must be at most 600 s")
        require(drift >= 0 && drift < 0.2, "drift", "must be at least 0 and under 0.2, got \(drift)")
        require(
            leaseRequestTimeout >= .milliseconds(10) && leaseRequestTimeout * 2 <= leaseTTL, "leaseRequestTimeout",
            "must be at least 10 ms and at most half of leaseTTL")
        require(staggerStep >= .zero && staggerStep <= promise, "staggerStep", "must be between 0 and promise")
        require(jitter >= .zero && jitter <= promise, "jitter", "must be between 0 and promise")
        require(
            voteRetry >= .milliseconds(1) && voteRetry <= promise, "voteRetry", "must be between 1 ms and promise")
        require(voteHold >= .zero && voteHold <= promise, "voteHold", "must be between 0 and promise")
        require(
            acquireRetry >= voteRetry && acquireRetry <= leaseTTL, "acquireRetry",
            "must be between voteRetry and leaseTTL")
        require(
            storeBackoff >= .milliseconds(10) && storeBackoff <= .seconds(60), "storeBackoff",
            "must be between 10 ms and 60 s")
        require(storeProbeInterval >= leaseTTL, "storeProbeInterval", "must be at least leaseTTL")
        return found
    }
}

/// The settings in whole nanoseconds: `Duration` counts 128-bit attoseconds, which costs at a few million steps a second.
struct Timing: Hashable, Sendable {
    let heartbeat, promise, countedPromise, countedLease, renew, requestTimeout: Int64
    let stagger, jitter, voteRetry, voteHold, acquireRetry, storeBackoff, storeProbe: Int64

    init(_ settings: LeadershipSettings) {
        // L2: what a leader counts on ends earlier, by any clocks, than what the voter or PostgreSQL keeps:
        // (1 - drift) / (1 + drift) > 1 - 2 drift.
        func counted(_ duration: Duration) -> Int64 {
            Int64(Double(duration.inNanoseconds) * (1 - 2 * settings.drift))
        }
        heartbeat = settings.heartbeatInterval.inNanoseconds
        promise = settings.promise.inNanoseconds
        countedPromise = counted(settings.promise)
        countedLease = counted(settings.leaseTTL)
        renew = settings.renewInterval.inNanoseconds
        requestTimeout = settings.leaseRequestTimeout.inNanoseconds
        stagger = settings.staggerStep.inNanoseconds
        jitter = settings.jitter.inNanoseconds
        voteRetry = settings.voteRetry.inNanoseconds
        voteHold = settings.voteHold.inNanoseconds
        acquireRetry = settings.acquireRetry.inNanoseconds
        storeBackoff = settings.storeBackoff.inNanoseconds
        storeProbe = settings.storeProbeInterval.inNanoseconds
    }
}

extension Instant {
    func after(_ nanoseconds: Int64) -> Instant { Instant(nanoseconds: self.nanoseconds + nanoseconds) }
}
