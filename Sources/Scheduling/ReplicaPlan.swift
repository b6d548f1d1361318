import OrchestryModel

/// How many instances to make and which to drain, for one app at one moment. The same rules serve scaling, rollouts,
/// moves to other nodes and the replacement of failing instances, alone or all at once:
///
/// - never more than wanted + surge instances that are not draining;
/// - a ready instance is only drained while ready ones stay at or above wanted − unavailable (unavailable counts in a
///   rollout only), or when more than wanted are ready;
/// - a failing instance stays until its replacement is ready, so that it may recover instead; with a surge of 0 it is
///   not replaced at all, its agent goes on trying;
/// - an instance that is to move is replaced as one of an old revision is, by a surge of at least 1.
///
/// While a rollout holds (paused, or a canary is watched), its new instances and the old ones are planned apart, so that
/// neither side grows at the other's cost: what is missing of the old is made of the old.
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
        /// Made from what the app's revision now is made from.
        package var isCurrent: Bool
        /// Of the revision the rollout comes from.
        package var isPrevious = false
        /// Ready for as long as the rollout asks for.
        package var isProven = true
        /// Chosen to be replaced by one on another node.
        package var isMoving = false
        /// Its node should be empty, or it was replaced while its node was thought dead: of two alike, this one goes.
        package var isUnwelcome = false
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

        /// It stays if nothing else happens.
        fileprivate var stays: Bool { isCurrent && !isMoving }
    }

    package enum Hold: Hashable, Sendable {
        case none
        /// That many new instances beside all the old ones.
        case canary(Int)
        /// As many new instances as there are.
        case paused
    }

    package struct Goal: Hashable, Sendable {
        package var wanted: Int
        package var surge: Int
        package var unavailable: Int
        package var hold = Hold.none
        /// Whether instances of the previous revision can be made.
        package var canMakePrevious = false
        /// How many instances make up the canary; 0: there is none.
        package var canaryCount: Int { if case .canary(let count) = hold { count } else { 0 } }
        package init(wanted: Int, surge: Int, unavailable: Int) {
            self.wanted = wanted
            self.surge = surge
            self.unavailable = unavailable
        }
    }

    /// Of the current revision.
    package var create = 0
    package var createPrevious = 0
    /// In the order in which they were chosen.
    package var drain: [InstanceID] = []

    /// - Parameter members: the app's instances that are not draining, in any order.
    package init(_ members: [Member], goal: Goal) {
        guard goal.wanted > 0 else {
            drain = members.map(\.id).sorted()
            return
        }
        let newReady = members.count { $0.isCurrent && $0.health == .ready }
        let oldReady = members.count { !$0.isCurrent && $0.health == .ready }
        switch goal.hold {
        case .none: planTogether(members, goal)
        case .canary(let count):
            // More new ones than that, from a pause or a larger share, go when the old can do without them.
            let newCount = max(count, min(newReady, goal.wanted - oldReady))
            planApart(members, goal, new: newCount, old: goal.wanted, oldSurge: max(0, goal.surge - count))
        case .paused:
            let oldCount = max(goal.wanted - newReady, min(oldReady, goal.wanted))
            var newCount = min(members.count(where: \.isCurrent), max(0, goal.wanted + goal.surge - oldCount))
            // Nothing old can be made: what is missing is made of the new.
            if !goal.canMakePrevious { newCount = max(newCount, goal.wanted - oldReady) }
            planApart(members, goal, new: newCount, old: oldCount, oldSurge: goal.surge)
        }
    }

    private mutating func planApart(
        _ members: [Member], _ goal: Goal, new newCount: Int, old oldCount: Int, oldSurge: Int
    ) {
        var new = goal
        (new.wanted, new.surge, new.unavailable) = (newCount, 0, 0)
        planTogether(members.filter(\.isCurrent), new)
        let created = create
        var old = goal
        (old.wanted, old.surge) = (oldCount, oldSurge)
        let others = members.filter { !$0.isCurrent }.map { member in
            var member = member
            member.isCurrent = member.isPrevious || !goal.canMakePrevious
            return member
        }
        create = 0
        planTogether(others, old)
        // A move is a surge of one of its own on either side.
        let moves = Set(members.filter(\.isMoving).map(\.isCurrent)).count
        let room = goal.wanted + goal.surge + moves - (members.count - drain.count)
        createPrevious = goal.canMakePrevious ? max(0, min(create, room - created)) : 0
        create = max(0, min(created, room))
    }

    private mutating func planTogether(_ members: [Member], _ goal: Goal) {
        guard goal.wanted > 0 else {
            drain += members.map(\.id).sorted()
            return
        }
        var goal = goal
        var pool = Pool(members)
        // A move alone is nobody's rollout: it costs no ready instance.
        if pool.hasLeaving, members.allSatisfy(\.isCurrent) {
            goal.surge = max(1, goal.surge)
            goal.unavailable = 0
        }
        // A rollout with neither surge nor unavailability could not move.
        let surge = pool.hasLeaving && goal.surge == 0 && goal.unavailable == 0 ? 1 : goal.surge
        if pool.hasLeaving {
            drain += pool.takeLeavingNotReady()
        }
        drain += pool.takeSurplus(wanted: goal.wanted, surge: surge)
        if pool.hasLeaving {
            let spare = pool.counting - max(0, goal.wanted - goal.unavailable)
            drain += pool.takeLeavingReady(atMost: spare)
        }
        let working = pool.members.count { $0.stays && !$0.health.isFailing }
        let missing =
            goal.surge == 0 && !pool.hasLeaving
            ? goal.wanted - pool.members.count
            : min(goal.wanted - working, goal.wanted + surge - pool.members.count)
        create = max(0, missing)
    }
}

/// The instances still there while a plan is being made. *Leaving* ones are of an old revision, or move.
private struct Pool {
    var members: [ReplicaPlan.Member]
    private var perNode: [NodeID: Int] = [:]

    init(_ members: [ReplicaPlan.Member]) {
        self.members = members
        for member in members { perNode[member.node, default: 0] += 1 }
    }

    var hasLeaving: Bool { members.contains { !$0.stays } }
    /// Ready ones that may be counted on: new ones once they have proved themselves.
    var counting: Int { members.count { $0.health == .ready && ($0.isProven || !$0.isCurrent) } }

    /// Leaving instances that serve nobody go at once.
    mutating func takeLeavingNotReady() -> [InstanceID] {
        take(members.count { !$0.stays && $0.health != .ready }) { !$0.stays && $0.health != .ready }
    }

    mutating func takeLeavingReady(atMost limit: Int) -> [InstanceID] {
        take(min(limit, members.count { !$0.stays })) { !$0.stays }
    }

    /// Staying instances above the wanted number; failing ones may be above it until enough are ready.
    mutating func takeSurplus(wanted: Int, surge: Int) -> [InstanceID] {
        let staying = members.filter(\.stays)
        let ready = staying.count { $0.health == .ready }
        let failing = staying.count { $0.health.isFailing }
        let allowed = ready >= wanted ? wanted : wanted + min(failing, surge)
        return take(staying.count - allowed) { $0.stays }
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

    /// Not ready first, then unhealthy, then what may be dead already, then what is unwelcome where it is, then from
    /// the node with most of the app, then from the most loaded node, then the youngest.
    private func goesBefore(_ left: ReplicaPlan.Member, _ right: ReplicaPlan.Member) -> Bool {
        if left.health != right.health { return left.health < right.health }
        if left.isSilent != right.isSilent { return left.isSilent }
        if left.isUnwelcome != right.isUnwelcome { return left.isUnwelcome }
        let (here, there) = (perNode[left.node] ?? 0, perNode[right.node] ?? 0)
        if here != there { return here > there }
        if left.nodeLoad != right.nodeLoad { return left.nodeLoad > right.nodeLoad }
        if left.bornAt != right.bornAt { return left.bornAt > right.bornAt }
        return left.id > right.id
    }
}
