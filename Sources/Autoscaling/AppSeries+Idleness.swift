import OrchestryModel

/// Scale to zero: the last instance goes when nobody has asked for the app for long, and comes back with the first
/// request. What is not known for certain never lets it go.
extension AppSeries {
    /// From this many quiet seconds on it is said how long the last instance still stays.
    private static let mentionedAfter: Int64 = 10

    /// The second since which no node has seen a request of the app, and none was in flight or waiting.
    /// - Returns: nil when that is not known: some node that may serve it has not reported lately, or none ever has.
    func quietSince(at second: Int64) -> Int64? {
        var since: Int64?
        for node in nodes where node.latest >= second - Self.silentNodeSeconds {
            guard node.latest >= second - Self.staleSeconds else { return nil }
            since = max(since ?? Int64.min, node.quietSince)
        }
        guard var since else { return nil }
        // Of what was given by hand, a request is one like any other.
        for entry in synthetic where entry.load.microRate > 0 || entry.load.inFlight > 0 {
            since = max(since, entry.second + 1)
        }
        return since
    }

    /// The last instance of an app that scales to zero.
    mutating func applyIdleness(
        _ policy: ScalingPolicy, _ state: ReplicaState, at second: Int64, to course: inout Course
    ) {
        guard let zero = policy.scaleToZero, let activation = state.activation, course.current == 1, course.count <= 1
        else { return }
        if !activation.blindNodes.isEmpty { return course.explain(.blind) }
        guard activation.silentNodes.isEmpty, let quiet = quietSince(at: second) else {
            return course.explain(.unseen)
        }
        guard activation.waiting.isEmpty else { return }
        // One that is still starting has not had its chance; nor has one that has just become ready.
        guard let ready = state.ready.values.max() else { return course.explain(.noneReady) }
        let scaled = lastScaled(state, at: second).map { $0 + 1 } ?? Int64.min
        let since = max(quiet, ready + 1, scaled)
        let left = Int64(zero.idleSeconds) - (second - since)
        if left <= 0 {
            course.move(to: 0, .idle, value: zero.idleSeconds)
        } else if second - quiet >= Self.mentionedAfter {
            course.explain(.notIdleYet, value: Int(left))
        }
    }

    /// An app that is idle: whether it gets its first instance.
    static func applyActivation(_ policy: ScalingPolicy, _ state: ReplicaState, to course: inout Course) {
        guard let activation = state.activation else { return }
        if policy.scaleToZero == nil {
            course.move(to: policy.leastAwake, .minReplicas, value: policy.leastAwake)
        } else if !activation.waiting.isEmpty {
            course.move(to: policy.leastAwake, .woken, value: Int(clamping: activation.requests))
        } else if !activation.blindNodes.isEmpty {
            course.move(to: policy.leastAwake, .blind)
        } else {
            course.explain(.asleep)
        }
        if policy.scaleToZero != nil { course.evaluation.wish = course.count }
        applyHolds(state, to: &course)
    }

    /// Between two evaluations: whether requests that have just begun to wait start the app. Depends on nothing but
    /// what is given, and changes nothing but what `recentEvaluations` shows.
    mutating func wake(policy given: ScalingPolicy, state: ReplicaState, at second: Int64) -> Evaluation? {
        let policy = state.schedule?.applied(to: given) ?? given
        guard policy.mode == .auto, state.desired == 0, state.activation?.isIdle == true, state.fixed == nil else {
            return nil
        }
        var course = Self.course(policy, state, at: second, app: app)
        Self.applyActivation(policy, state, to: &course)
        course.evaluation.wanted = course.count
        guard course.evaluation.shouldScale else { return nil }
        history.add(course.evaluation)
        return course.evaluation
    }
}
