import OrchestryModel

/// A clock whose rate is off by a given number of parts per million, and may change. Whole numbers only, so that runs
/// are the same on every machine.
struct SimulatedClock: Sendable {
    private var trueBase: Int64
    private var localBase: Int64
    private(set) var partsPerMillion: Int64

    /// - Parameter local: what it shows at the true time `start`, in nanoseconds.
    init(local: Int64, at start: Int64, partsPerMillion: Int64) {
        trueBase = start
        localBase = local
        self.partsPerMillion = partsPerMillion
    }

    func local(at time: Int64) -> Instant {
        let elapsed = time - trueBase
        return Instant(nanoseconds: localBase + elapsed + elapsed * partsPerMillion / 1_000_000)
    }

    /// The first true time at which it shows `instant` or later; the past may be returned.
    func time(of instant: Instant) -> Int64 {
        let elapsed = instant.nanoseconds - localBase
        let scale = 1_000_000 + partsPerMillion
        // Split, since a product of nanoseconds and a million would overflow after three hours.
        var time = trueBase + elapsed / scale * 1_000_000 + (elapsed % scale) * 1_000_000 / scale
        while local(at: time) < instant { time += 1 }
        return time
    }

    /// Goes on from what it shows at `time`, at another rate.
    mutating func setRate(_ partsPerMillion: Int64, at time: Int64) {
        localBase = local(at: time).nanoseconds
        trueBase = time
        self.partsPerMillion = partsPerMillion
    }
}
