import Testing

/// The checker itself: histories with a known answer, by hand and by chance, and a slow twin.
struct RevisionHistoryTests {
    typealias Operation = RevisionHistory.Operation

    struct Row: Sendable, CustomTestStringConvertible {
        var name: String
        var operations: [Operation]
        var isLinearizable: Bool
        var testDescription: String { name }
        init(_ name: String, _ isLinearizable: Bool, _ operations: [Operation]) {
            self.name = name
            self.operations = operations
            self.isLinearizable = isLinearizable
        }
    }

    static func write(_ marker: Int, _ revision: Int?, _ invoked: Int64, _ returned: Int64 = 0) -> Operation {
        Operation(client: "w", action: .write(marker: marker, revision: revision), invoked: invoked, returned: returned)
    }

    static func read(_ revision: Int, _ marker: Int, _ invoked: Int64, _ returned: Int64) -> Operation {
        Operation(
            client: "r", action: .read(.init(revision: revision, marker: marker)), invoked: invoked, returned: returned)
    }

    static let rows: [Row] = [
        Row("nothing happened", true, []),
        Row("one write, then read", true, [write(7, 2, 0, 10), read(2, 7, 11, 12)]),
        Row(
            "a read during the write sees the old or the new", true,
            [
                write(7, 2, 0, 10), read(1, 0, 1, 5), read(2, 7, 6, 9),
            ]),
        Row(
            "new, then old: a later read goes back", false,
            [
                write(7, 2, 0, 10), read(2, 7, 1, 4), read(1, 0, 5, 9),
            ]),
        Row("an acknowledged write is lost", false, [write(7, 2, 0, 10), read(1, 0, 11, 12)]),
        Row(
            "an acknowledged write is overwritten by its predecessor", false,
            [
                write(7, 2, 0, 10), write(8, 3, 11, 20), read(2, 7, 21, 22),
            ]),
        Row("two writes get one revision", false, [write(7, 2, 0, 10), write(8, 2, 5, 15)]),
        Row("a write was done twice: the next revision skips one", false, [write(7, 2, 0, 10), write(8, 4, 11, 20)]),
        Row(
            "overlapping writes in the order of their revisions", true,
            [
                write(7, 3, 0, 20), write(8, 2, 0, 20), read(3, 7, 21, 22),
            ]),
        Row("revisions against the order of time", false, [write(7, 3, 0, 10), write(8, 2, 11, 20)]),
        Row("an unknown write that never happened", true, [write(7, nil, 0), write(8, 2, 11, 20)]),
        Row("an unknown write that happened at once", true, [write(7, nil, 0), write(8, 3, 11, 20)]),
        Row(
            "an unknown write that happened long after", true,
            [
                write(7, nil, 0), write(8, 2, 11, 20), read(2, 8, 21, 22), read(3, 7, 30, 31),
            ]),
        Row(
            "an unknown write that happened twice", false,
            [
                write(7, nil, 0), read(2, 7, 10, 11), write(8, 3, 12, 13), read(4, 7, 14, 15),
            ]),
        Row(
            "two gaps, one unknown write", false,
            [
                write(7, nil, 0), write(8, 3, 11, 20), write(9, 5, 21, 30),
            ]),
        Row(
            "two gaps, the second read: the other one filled the first", true,
            [
                write(7, nil, 0), write(6, nil, 1), write(8, 3, 11, 20), write(9, 5, 21, 30), read(4, 7, 22, 25),
            ]),
        Row("an unknown write seen before it was asked for", false, [read(2, 7, 0, 1), write(7, nil, 2)]),
        Row("a marker nobody wrote", false, [write(7, 2, 0, 10), read(2, 9, 11, 12)]),
        Row("the right marker with another revision", false, [write(7, 2, 0, 10), read(3, 7, 11, 12)]),
    ]

    @Test(arguments: rows)
    func `a history by hand`(_ row: Row) {
        let history = RevisionHistory(initial: .init(revision: 1, marker: 0), operations: row.operations)
        let verdict = history.check()
        #expect((verdict == .linearizable) == row.isLinearizable, "\(verdict): \(row.operations)")
        #expect(Self.slowCheck(history) == row.isLinearizable)
    }

    // MARK: By chance

    /// Runs a real register with clients that overlap, and notes what they see.
    static func honest(seed: UInt64, writes: Int, using generator: inout Generator) -> RevisionHistory {
        var operations: [Operation] = []
        let initial = RevisionHistory.Value(revision: 1, marker: 0)
        var value = initial
        var time: Int64 = 0
        for number in 1...writes {
            time += Int64.random(in: 1...4, using: &generator)
            // Takes effect at `time`; the interval reaches to both sides, over its neighbours.
            let invoked = time - Int64.random(in: 0...12, using: &generator)
            let returned = time + Int64.random(in: 0...12, using: &generator)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<4:
                value = .init(revision: value.revision + 1, marker: number)
                operations.append(write(number, value.revision, invoked, returned))
            case 4:
                value = .init(revision: value.revision + 1, marker: number)
                operations.append(write(number, nil, invoked))
            case 5: operations.append(write(number, nil, invoked))
            default: operations.append(read(value.revision, value.marker, invoked, returned))
            }
        }
        return RevisionHistory(initial: initial, operations: operations.shuffled(using: &generator))
    }

    @Test func `what a real register does is linearizable`() {
        for seed in UInt64(0)..<40 {
            var generator = Generator(seed: seed)
            let history = Self.honest(seed: seed, writes: 80, using: &generator)
            #expect(history.check() == .linearizable, "seed \(seed)")
        }
    }

    @Test func `damaged histories get the verdict of a search without any cleverness`() {
        var violations = 0
        for seed in UInt64(0)..<1_500 {
            var generator = Generator(seed: seed)
            var history = Self.honest(seed: seed, writes: 7, using: &generator)
            let victim = Int.random(in: history.operations.indices, using: &generator)
            switch history.operations[victim].action {
            case .write(let marker, let revision?):
                history.operations[victim].action = .write(
                    marker: marker, revision: revision + Int.random(in: -1...1, using: &generator))
            case .write(let marker, nil):
                history.operations[victim].action = .write(
                    marker: marker, revision: Int.random(in: 2...6, using: &generator))
                history.operations[victim].returned = history.operations[victim].invoked + 5
            case .read(var value):
                if Bool.random(using: &generator) {
                    value.revision += Bool.random(using: &generator) ? 1 : -1
                } else {
                    value.marker = Int.random(in: 0...7, using: &generator)
                }
                history.operations[victim].action = .read(value)
            }
            let expected = Self.slowCheck(history)
            if !expected { violations += 1 }
            let verdict = history.check()
            #expect((verdict == .linearizable) == expected, "seed \(seed): \(verdict) \(history.operations)")
        }
        #expect(violations > 250, "the damage must show, or this proves nothing: \(violations) of 1500")
    }

    @Test func `many unknown outcomes don't make the search long`() {
        var operations: [Operation] = []
        for number in 0..<60 { operations.append(Self.write(1_000 + number, nil, Int64(number))) }
        // Every second one happened; which ones nobody saw.
        var revision = 1
        for number in 0..<30 {
            revision += 2
            let time = Int64(100 + number * 10)
            operations.append(Self.write(number, revision, time, time + 5))
        }
        var history = RevisionHistory(initial: .init(revision: 1, marker: -1), operations: operations)
        #expect(history.check(stepLimit: 1_000_000) == .linearizable)
        history.operations.append(Self.read(3, 0, 1_000, 1_001))
        #expect(history.check(stepLimit: 1_000_000) != .linearizable)
    }

    /// Tries every order. For a handful of operations only.
    static func slowCheck(_ history: RevisionHistory) -> Bool {
        func explains(_ value: RevisionHistory.Value, _ rest: [Operation]) -> Bool {
            if rest.allSatisfy(\.isUnknown) { return true }
            for (index, operation) in rest.enumerated() {
                // Nothing that had returned before this was asked for may be left.
                if rest.contains(where: { !$0.isUnknown && $0.returned < operation.invoked }) { continue }
                var others = rest
                others.remove(at: index)
                switch operation.action {
                case .read(let seen): if seen == value, explains(value, others) { return true }
                case .write(let marker, let revision):
                    let after = RevisionHistory.Value(revision: value.revision + 1, marker: marker)
                    if revision == nil || revision == after.revision, explains(after, others) { return true }
                }
            }
            return false
        }
        return explains(history.initial, history.operations)
    }
}

/// Equal seeds, equal histories: SplitMix64 (Steele, Lea and Flood, 2014).
struct Generator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
