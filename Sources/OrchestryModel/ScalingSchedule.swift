/// Other bounds for an app at times that come again: `scaling.schedules` of the spec.
public struct ScalingSchedule: Hashable, Sendable, Codable {
    /// Names it in explanations; 1…63 characters.
    public var name: String
    /// Moments from which it holds, in `timeZone`.
    public var start: CronExpression
    /// Moments from which it does not.
    public var end: CronExpression
    /// A name of the IANA database, `Europe/Berlin`.
    public var timeZone: String
    /// 1…1,000; nil: the policy's. At least one of both is given.
    public var minReplicas: Int?
    public var maxReplicas: Int?
    public init(
        name: String, start: CronExpression, end: CronExpression, timeZone: String = "UTC", minReplicas: Int? = nil,
        maxReplicas: Int? = nil
    ) {
        self.name = name
        self.start = start
        self.end = end
        self.timeZone = timeZone
        self.minReplicas = minReplicas
        self.maxReplicas = maxReplicas
    }

    /// Whether it holds at `second`, and the second at which that changes.
    ///
    /// It holds when it ends next. Where start and end fall on one moment, it starts.
    /// - Parameter offset: of `timeZone` to UTC, seconds, at a second since 1970.
    public func state(at second: Int64, offset: (Int64) -> Int64) -> (isActive: Bool, until: Int64) {
        let ends = end.next(after: second, offset: offset) ?? Int64.max
        let starts = start.next(after: second, offset: offset) ?? Int64.max
        return (ends < starts, min(ends, starts))
    }
}

/// The bounds that schedules put in place of a policy's at one moment.
public struct ScheduledBounds: Hashable, Sendable, Codable {
    /// Of the schedules that hold, joined with " and ".
    public var name: String
    /// nil: the policy's.
    public var minReplicas: Int?
    public var maxReplicas: Int?
    public init(name: String, minReplicas: Int? = nil, maxReplicas: Int? = nil) {
        self.name = name
        self.minReplicas = minReplicas
        self.maxReplicas = maxReplicas
    }

    /// Of several schedules that hold at once the highest minimum and the highest maximum count.
    /// - Returns: nil when there are none.
    public init?(of schedules: [ScalingSchedule]) {
        guard !schedules.isEmpty else { return nil }
        self.init(
            name: schedules.map(\.name).joined(separator: " and "),
            minReplicas: schedules.compactMap(\.minReplicas).max(),
            maxReplicas: schedules.compactMap(\.maxReplicas).max())
    }

    /// The policy with these bounds. A minimum above the policy's maximum raises that; a maximum below its minimum
    /// lowers it.
    public func applied(to policy: ScalingPolicy) -> ScalingPolicy {
        var bounded = policy
        if let maxReplicas {
            bounded.maxReplicas = maxReplicas
            bounded.minReplicas = min(policy.minReplicas, maxReplicas)
        }
        if minReplicas != nil { bounded.scaleToZero = nil }
        if let minReplicas {
            bounded.minReplicas = minReplicas
            bounded.maxReplicas = max(bounded.maxReplicas, minReplicas)
        }
        return bounded
    }
}

/// Which schedules of one app hold, asked second by second: moments are computed only when one has passed.
public struct ScheduleClock: Sendable {
    private var schedules: [ScalingSchedule] = []
    private var bounds: ScheduledBounds?
    /// `bounds` holds from…until.
    private var from = Int64.max
    private var until = Int64.min

    public init() {}

    /// - Parameters:
    ///   - schedules: the app's, nil: none.
    ///   - offset: of a time zone to UTC in seconds, at a second since 1970; nil: the zone is not known, and its schedule
    ///     does not hold.
    public mutating func bounds(
        _ schedules: [ScalingSchedule]?, at second: Int64, offset: (String, Int64) -> Int64?
    ) -> ScheduledBounds? {
        guard let schedules, !schedules.isEmpty else { return nil }
        if schedules == self.schedules, second >= from, second < until { return bounds }
        self.schedules = schedules
        from = second
        // Not longer than a day, should the zone's rules be replaced meanwhile.
        until = second + 86_400
        let active = schedules.filter { schedule in
            guard offset(schedule.timeZone, second) != nil else { return false }
            let state = schedule.state(at: second) { offset(schedule.timeZone, $0) ?? 0 }
            until = min(until, state.until)
            return state.isActive
        }
        bounds = ScheduledBounds(of: active)
        return bounds
    }
}
