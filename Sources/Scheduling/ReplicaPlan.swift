import OrchestryModel

/// How many instances to make and which to drain, for one app at one moment. The same rules serve scaling, rollouts
/// and the replacement of failing instances, alone or all at once:
///
/// - never more than wanted + surge instances that are not draining;
/// - a ready instance is only drained while ready ones stay at or above wanted − unavailable (unavailable counts in a
///   rollout only), or when more than wanted are ready;
/// - a failing instance stays until its replacement is ready, so that it may recover instead; with a surge of 0 it is
///   not replaced at all, its agent goes on trying.
package struct ReplicaPlan: Hashable, Sendable {
    package enum Health: Int, Hashable, Sendable, Comparable {
        /// Crash-looping, or not ready for too long.
        case stuck = 0
        /// On its way.
        case coming = 1
        /// Was ready and fails its health check.
        case unhealthy = 2
        case ready = 3
        package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
        package var isFailing: Bool { self == .stuck || self == .unhealthy }
    }

    package struct Member: Hashable, Sendable {
        package var id: InstanceID
        package var node: NodeID
        package var health: Health
        /// Of the app's revision now.
        package var isCurrent: Bool
        /// Its node is not connected: it may be dead already.
        package var isSilent: Bool
        /// Reserved share of its node, 0…1.
        package var nodeLoad: Double
        /// Order of age: larger is younger.
        package var bornAt: Int64

        package init(
            id: InstanceID, node: NodeID, health: Health, isCurrent: Bool, isSilent: Bool = false,
            nodeLoad: Double = 0, bornAt: Int64 = 0
        ) {
            self.id = id
            self.node = node
            self.health = health
            self.isCurrent = isCurrent
            self.isSilent = isSilent
            self.nodeLoad = nodeLoad
            self.bornAt = bornAt
        }
    }

    package struct Goal: Hashable, Sendable {
        package var wanted: Int
        package var surge: Int
        package var unavailable: Int
        package init(wanted: Int, surge: Int, unavailable: Int) {
            self.wanted = wanted
            self.surge = surge
            self.unavailable = unavailable
        }
    }

    package var create = 0
    /// In the order in which they were chosen.
    package var drain: [InstanceID] = []

    /// - Parameter members: the app's instances that are not draining, in any order.
    package init(_ members: [Member], goal: Goal) {
        guard goal.wanted > 0 else {
            drain = members.map(\.id).sorted()
            return
        }
        var pool = Pool(members)
        // A rollout with neither surge nor unavailability could not move.
        let surge = pool.hasOld && goal.surge == 0 && goal.unavailable == 0 ? 1 : goal.surge
        if pool.hasOld {
            drain += pool.takeOldNotReady()
        }
        drain += pool.takeSurplus(wanted: goal.wanted, surge: surge)
        if pool.hasOld {
            let spare = pool.ready - max(0, goal.wanted - goal.unavailable)
            drain += pool.takeOldReady(atMost: spare)
        }
        let working = pool.members.count { $0.isCurrent && !$0.health.isFailing }
        let missing =
            goal.surge == 0 && !pool.hasOld
            ? goal.wanted - pool.members.count
            : min(goal.wanted - working, goal.wanted + surge - pool.members.count)
        create = max(0, missing)
    }
}

/// The instances still there while a plan is being made.
private struct Pool {
    var members: [ReplicaPlan.Member]
    private var perNode: [NodeID: Int] = [:]

    init(_ members: [ReplicaPlan.Member]) {
        self.members = members
        for member in members { perNode[member.node, default: 0] += 1 }
    }

    var hasOld: Bool { members.contains { !$0.isCurrent } }
    var ready: Int { members.count { $0.health == .ready } }

    /// Old instances that serve nobody go at once.
    mutating func takeOldNotReady() -> [InstanceID] {
        take(members.count { !$0.isCurrent && $0.health != .ready }) { !$0.isCurrent && $0.health != .ready }
    }

    mutating func takeOldReady(atMost limit: Int) -> [InstanceID] {
        take(min(limit, members.count { !$0.isCurrent })) { !$0.isCurrent }
    }

    /// Current instances above the wanted number; failing ones may be above it until enough are ready.
    mutating func takeSurplus(wanted: Int, surge: Int) -> [InstanceID] {
        let current = members.filter(\.isCurrent)
        let ready = current.count { $0.health == .ready }
        let failing = current.count { $0.health.isFailing }
        let allowed = ready >= wanted ? wanted : wanted + min(failing, surge)
        return take(current.count - allowed) { $0.isCurrent }
    }

    private mutating func take(_ count: Int, where isCandidate: (ReplicaPlan.Member) -> Bool) -> [InstanceID] {
        var taken: [InstanceID] = []
        while taken.count < count {
            var first: Int?
            for index in members.indices where isCandidate(members[index]) {
                if let known = first, !goesBefore(members[index], members[known]) { continue }
                first = index
            }
            guard let index = first else { break }
            let member = members.remove(at: index)
            perNode[member.node, default: 1] -= 1
            taken.append(member.id)
        }
        return taken
    }

    /// Not ready first, then unhealthy, then what may be dead already, then from the node with most of the app, then
    /// from the most loaded node, then the youngest.
    private func goesBefore(_ left: ReplicaPlan.Member, _ right: ReplicaPlan.Member) -> Bool {
        if left.health != right.health { return left.health < right.health }
        if left.isSilent != right.isSilent { return left.isSilent }
        let (here, there) = (perNode[left.node] ?? 0, perNode[right.node] ?? 0)
        if here != there { return here > there }
        if left.nodeLoad != right.nodeLoad { return left.nodeLoad > right.nodeLoad }
        if left.bornAt != right.bornAt { return left.bornAt > right.bornAt }
        return left.id > right.id
    }
}
