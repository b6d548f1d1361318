/// What people told the autoscaler about one app: kept with the app, over leaders and restarts.
public struct ScalingControl: Hashable, Sendable, Codable {
    /// A count fixed by hand until an expiry.
    public struct Override: Hashable, Sendable, Codable {
        /// 1…100.
        public var replicas: Int
        /// Seconds since 1970; from then on the policy decides again.
        public var untilSecond: Int64
        public var by: String
        public init(replicas: Int, untilSecond: Int64, by: String) {
            self.replicas = replicas
            self.untilSecond = untilSecond
            self.by = by
        }
    }
    /// A direction in which the autoscaler does nothing.
    public struct Pause: Hashable, Sendable, Codable {
        /// Seconds since 1970; nil: until somebody resumes.
        public var untilSecond: Int64?
        public var by: String
        public init(untilSecond: Int64? = nil, by: String) {
            self.untilSecond = untilSecond
            self.by = by
        }
    }
    public var fixed: Override?
    public var pauseOut: Pause?
    public var pauseIn: Pause?
    public init(fixed: Override? = nil, pauseOut: Pause? = nil, pauseIn: Pause? = nil) {
        self.fixed = fixed
        self.pauseOut = pauseOut
        self.pauseIn = pauseIn
    }

    public var isEmpty: Bool { fixed == nil && pauseOut == nil && pauseIn == nil }

    /// What still holds at `second`.
    public func active(at second: Int64) -> ScalingControl {
        func holds(_ pause: Pause?) -> Pause? { pause.flatMap { $0.untilSecond ?? Int64.max > second ? $0 : nil } }
        return ScalingControl(
            fixed: fixed.flatMap { $0.untilSecond > second ? $0 : nil }, pauseOut: holds(pauseOut),
            pauseIn: holds(pauseIn))
    }
}

/// The body of `POST /apps/{name}/autoscale`.
public struct AutoscaleChange: Hashable, Sendable, Codable {
    public enum Action: String, Hashable, Sendable, Codable { case pause, resume }
    public enum Direction: String, Hashable, Sendable, Codable { case out, `in`, both }
    public var action: Action
    public var direction: Direction
    /// 1…2,592,000 (30 days), with `pause`; nil: until resumed.
    public var forSeconds: Int?
    public init(_ action: Action, _ direction: Direction = .both, forSeconds: Int? = nil) {
        self.action = action
        self.direction = direction
        self.forSeconds = forSeconds
    }
    /// Longest time for a pause and an override: 30 days.
    public static let longestSeconds = 30 * 86_400

    /// The control after the change.
    public func applied(to control: ScalingControl, at second: Int64, by actor: String) -> ScalingControl {
        var changed = control.active(at: second)
        let pause =
            action == .resume
            ? nil : ScalingControl.Pause(untilSecond: forSeconds.map { second + Int64($0) }, by: actor)
        if direction != .in { changed.pauseOut = pause }
        if direction != .out { changed.pauseIn = pause }
        return changed
    }
}
