import OrchestryModel
import Scheduling
import Testing

/// One case: members as words. `r` ready, `c` coming, `u` unhealthy, `s` stuck; a capital is of an old revision.
/// Instances are named by position, `i0` first; the node is `n` + position modulo 3 unless given.
struct PlanRow: CustomTestStringConvertible, Sendable {
    var name: String
    var members: String
    var wanted: Int
    var surge = 1
    var unavailable = 0
    var create: Int
    var drain: [String]
    var testDescription: String { name }

    var parsed: [ReplicaPlan.Member] {
        members.enumerated().map { index, letter in
            let health: ReplicaPlan.Health =
                switch letter.lowercased() {
                case "r": .ready
                case "c": .coming
                case "u": .unhealthy
                default: .stuck
                }
            return ReplicaPlan.Member(
                id: id("i\(index)"), node: node("n\(index % 3)"), health: health, isCurrent: letter.isLowercase,
                bornAt: Int64(index))
        }
    }
}

@Suite struct ReplicaPlanTests {
    static let rows: [PlanRow] = [
        PlanRow(name: "nothing yet", members: "", wanted: 3, create: 3, drain: []),
        PlanRow(name: "as wanted", members: "rrr", wanted: 3, create: 0, drain: []),
        PlanRow(name: "on their way", members: "rcc", wanted: 3, create: 0, drain: []),
        PlanRow(name: "scale out", members: "rr", wanted: 5, create: 3, drain: []),
        PlanRow(
            name: "scale in takes the youngest of the fullest node", members: "rrrr", wanted: 3, create: 0,
            drain: ["i3"]),
        PlanRow(name: "scale in takes what is not ready first", members: "crrr", wanted: 3, create: 0, drain: ["i0"]),
        PlanRow(name: "stopped", members: "rcU", wanted: 0, create: 0, drain: ["i0", "i1", "i2"]),
        // Replacement
        PlanRow(name: "unhealthy: a replacement is made first", members: "rru", wanted: 3, create: 1, drain: []),
        PlanRow(name: "the replacement is on its way", members: "rruc", wanted: 3, create: 0, drain: []),
        PlanRow(name: "the replacement is ready", members: "rrur", wanted: 3, create: 0, drain: ["i2"]),
        PlanRow(name: "it recovered first", members: "rrrc", wanted: 3, create: 0, drain: ["i3"]),
        PlanRow(name: "crash-loopers are not multiplied", members: "ssss", wanted: 3, create: 0, drain: []),
        PlanRow(name: "all stuck: one more is tried", members: "sss", wanted: 3, create: 1, drain: []),
        PlanRow(name: "surge 2 replaces two at a time", members: "uuu", wanted: 3, surge: 2, create: 2, drain: []),
        PlanRow(
            name: "surge 0 replaces nothing", members: "uu", wanted: 2, surge: 0, unavailable: 1, create: 0, drain: []),
        PlanRow(name: "scale in while failing", members: "rus", wanted: 1, create: 0, drain: ["i2", "i1"]),
        // Rollout
        PlanRow(name: "rollout begins with a surge", members: "RRR", wanted: 3, create: 1, drain: []),
        PlanRow(name: "waits for it", members: "RRRc", wanted: 3, create: 0, drain: []),
        PlanRow(
            name: "one ready: one old may go, one more is made", members: "RRRr", wanted: 3, create: 1, drain: ["i0"]),
        PlanRow(name: "last step", members: "Rrrr", wanted: 3, create: 0, drain: ["i0"]),
        PlanRow(name: "old ones that serve nobody go at once", members: "RRS", wanted: 3, create: 2, drain: ["i2"]),
        PlanRow(
            name: "unavailable 1, surge 0", members: "RRR", wanted: 3, surge: 0, unavailable: 1, create: 1,
            drain: ["i2"]),
        PlanRow(name: "0 and 0 counts as surge 1", members: "RR", wanted: 2, surge: 0, create: 1, drain: []),
        PlanRow(name: "a stuck new instance holds the rollout", members: "RRRs", wanted: 3, create: 0, drain: []),
        PlanRow(name: "scale out in a rollout", members: "RRRc", wanted: 6, create: 3, drain: []),
        PlanRow(
            name: "scale in in a rollout spares the new", members: "RRRRr", wanted: 2, create: 1,
            drain: ["i3", "i1", "i2"]),
        PlanRow(name: "scale in below the new ones", members: "RRcc", wanted: 1, create: 0, drain: ["i3", "i1"]),
    ]

    @Test(arguments: rows)
    func `a plan`(_ row: PlanRow) {
        let plan = ReplicaPlan(
            row.parsed, goal: .init(wanted: row.wanted, surge: row.surge, unavailable: row.unavailable))
        #expect(plan.create == row.create)
        #expect(plan.drain.map(\.rawValue).sorted() == row.drain.sorted())
    }

    @Test func `the order of members does not matter, and promises hold for every small mix`() {
        var generator = SeededGenerator(seed: 3)
        for round in 0..<3_000 {
            let letters = (0..<Int.random(in: 0...7, using: &generator)).map { _ in
                "rrrcusRRCUS".randomElement(using: &generator) ?? "r"
            }
            let row = PlanRow(
                name: "\(round)", members: String(letters), wanted: Int.random(in: 0...5, using: &generator),
                surge: Int.random(in: 0...2, using: &generator), unavailable: Int.random(in: 0...2, using: &generator),
                create: 0, drain: [])
            let goal = ReplicaPlan.Goal(wanted: row.wanted, surge: row.surge, unavailable: row.unavailable)
            let plan = ReplicaPlan(row.parsed, goal: goal)
            #expect(plan == ReplicaPlan(row.parsed.shuffled(using: &generator), goal: goal), "\(row)")
            let left = row.parsed.filter { !plan.drain.contains($0.id) }
            let hasOld = row.parsed.contains { !$0.isCurrent }
            let surge = hasOld && goal.surge == 0 && goal.unavailable == 0 ? 1 : goal.surge
            if plan.create > 0 { #expect(left.count + plan.create <= goal.wanted + surge, "\(row)") }
            let readyBefore = row.parsed.count { $0.health == .ready }
            let ready = left.count { $0.health == .ready }
            let floor = goal.wanted - (hasOld ? goal.unavailable : 0)
            #expect(ready >= min(readyBefore, floor), "\(row)")
            #expect(goal.wanted > 0 || (left.isEmpty && plan.create == 0), "\(row)")
        }
    }
}

/// Plans with everything at once: revisions, proof, moves, holds.
@Suite struct ReplicaPlanPropertyTests {
    @Test func `promises hold for every mix of revisions, moves and holds`() {
        var generator = SeededGenerator(seed: 5)
        for round in 0..<10_000 {
            var members: [ReplicaPlan.Member] = []
            for index in 0..<Int.random(in: 0...9, using: &generator) {
                let health = [ReplicaPlan.Health.ready, .ready, .ready, .coming, .unhealthy, .stuck]
                var member = ReplicaPlan.Member(
                    id: id("i\(index)"), node: node("n\(index % 3)"),
                    health: health.randomElement(using: &generator) ?? .ready,
                    isCurrent: generator.chance(0.5), bornAt: Int64(index))
                member.isPrevious = !member.isCurrent && generator.chance(0.7)
                member.isProven = generator.chance(0.7)
                member.isMoving = generator.chance(0.2)
                member.isUnwelcome = member.isMoving || generator.chance(0.1)
                members.append(member)
            }
            var goal = ReplicaPlan.Goal(
                wanted: Int.random(in: 0...6, using: &generator), surge: Int.random(in: 0...3, using: &generator),
                unavailable: Int.random(in: 0...2, using: &generator))
            goal.canMakePrevious = generator.chance(0.7)
            switch Int.random(in: 0...3, using: &generator) {
            case 0: goal.hold = .paused
            case 1:
                goal.surge = max(1, goal.surge)
                goal.hold = .canary(Int.random(in: 1...goal.surge, using: &generator))
            default: goal.hold = .none
            }
            let plan = ReplicaPlan(members, goal: goal)
            var context: String {
                "round \(round): \(goal) \(members.map { "\($0.id) \($0.health) cur=\($0.isCurrent) prev=\($0.isPrevious) proven=\($0.isProven) move=\($0.isMoving)" }) gives \(plan)"
            }
            #expect(plan == ReplicaPlan(members.shuffled(using: &generator), goal: goal), "\(context)")
            #expect(Set(plan.drain).count == plan.drain.count, "\(context)")
            let left = members.filter { !plan.drain.contains($0.id) }
            let made = plan.create + plan.createPrevious
            #expect(goal.wanted > 0 || (left.isEmpty && made == 0), "\(context)")
            #expect(goal.canMakePrevious || plan.createPrevious == 0, "\(context)")
            // A move has a surge of its own, on each side of a hold.
            let moves = Set(members.filter(\.isMoving).map(\.isCurrent)).count
            let surge =
                goal.hold == .none
                ? max(goal.surge, members.contains { !$0.isCurrent || $0.isMoving } ? 1 : 0) : goal.surge + moves
            if made > 0 { #expect(left.count + made <= goal.wanted + surge, "\(context)") }
            let readyBefore = members.count { $0.health == .ready }
            let ready = left.count { $0.health == .ready }
            let isRollout = members.contains { !$0.isCurrent }
            let floor = goal.wanted - (isRollout ? goal.unavailable : 0)
            #expect(ready >= min(readyBefore, floor), "\(context)")
        }
    }
}

@Suite struct PlacementTests {
    private func make(_ name: String, cores: Int = 1000, reserved: Int = 0, ofApp: Int = 0) -> Placement.Node {
        Placement.Node(
            id: node(name), capacityMillicores: cores, capacityMemoryBytes: 1 << 30, reservedMillicores: reserved,
            ofRevision: ofApp, ofApp: ofApp)
    }
    private let quarter = AppSpec.Resources(cpuMillicores: 250, memoryBytes: 64 << 20)

    @Test func `instances spread over nodes, then go where least is reserved`() {
        var placement = Placement([make("a", reserved: 500), make("b"), make("c", reserved: 250)])
        let chosen = (0..<9).map { _ in placement.place(quarter)?.rawValue ?? "-" }
        #expect(chosen == ["b", "c", "a", "b", "c", "a", "b", "c", "b"])
        #expect(placement.place(quarter) == nil, "full")
    }

    @Test func `a node that has the app already comes last`() {
        var placement = Placement([make("a", ofApp: 1), make("b", reserved: 700)])
        #expect(placement.place(quarter) == node("b"))
    }

    @Test func `memory limits as CPU does`() {
        var placement = Placement([make("a")])
        let big = AppSpec.Resources(cpuMillicores: 10, memoryBytes: 600 << 20)
        #expect(placement.place(big) == node("a"))
        #expect(placement.place(big) == nil)
        #expect(make("a").room(for: quarter) == 4)
        #expect(make("a", reserved: 1200).room(for: quarter) == 0)
    }
}

@Suite struct DeadlineQueueTests {
    @Test func `deadlines come out in order`() {
        var generator = SeededGenerator(seed: 1)
        var queue = DeadlineQueue<Int>()
        let dues = (0..<500).map { _ in Instant(nanoseconds: .random(in: 0..<100, using: &generator)) }
        for (index, due) in dues.enumerated() { queue.insert(index, due: due) }
        #expect(queue.earliest == dues.min())
        var seen: [Instant] = []
        while let (due, key) = queue.pop(dueBy: Instant(nanoseconds: 49)) {
            #expect(dues[key] == due)
            seen.append(due)
        }
        #expect(seen == dues.filter { $0.nanoseconds <= 49 }.sorted())
        #expect(queue.earliest == dues.filter { $0.nanoseconds > 49 }.min())
    }
}
