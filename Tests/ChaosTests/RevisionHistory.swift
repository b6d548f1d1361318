/// What clients saw of one app: writes of its specification, each with a marker of its own, and reads.
///
/// The register's state is the pair (revision, marker). A write moves it to (revision + 1, its marker) and returns the
/// new revision; a read returns the pair.
struct RevisionHistory: Sendable, Hashable {
    struct Value: Sendable, Hashable, CustomStringConvertible {
        var revision: Int
        var marker: Int
        var description: String { "(revision \(revision), marker \(marker))" }
    }

    enum Action: Sendable, Hashable {
        /// - Parameter revision: what the answer said; nil: no answer that says what became of it, so it may have
        ///   happened at any time since, may still happen, or may never.
        case write(marker: Int, revision: Int?)
        case read(Value)
    }

    struct Operation: Sendable, Hashable, CustomStringConvertible {
        var client: String
        var action: Action
        /// By one clock. `returned` is ignored for a write without an answer.
        var invoked: Int64
        var returned: Int64

        var isUnknown: Bool { if case .write(_, nil) = action { true } else { false } }

        var description: String {
            let what =
                switch action {
                case .write(let marker, let revision?): "wrote \(marker) as revision \(revision)"
                case .write(let marker, nil): "wrote \(marker), outcome unknown"
                case .read(let value): "read \(value)"
                }
            return "\(client) [\(invoked / 1_000)…\(isUnknown ? "?" : "\(returned / 1_000)") µs] \(what)"
        }
    }

    /// Before any of the operations.
    var initial: Value
    var operations: [Operation]

    enum Verdict: Sendable, Hashable {
        case linearizable
        /// No order explains it. `stuck`: the earliest answer that no order reaches.
        case violation(stuck: String)
        /// The search was given up after this many steps.
        case undecided(steps: Int)
    }
}

extension RevisionHistory {
    /// Whether there is one order of the operations, each taking effect at one instant between its invocation and its
    /// answer, in which the register gives these answers. Exact.
    ///
    /// The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of states
    /// already tried ("Testing for linearizability", 2017). Writes without an answer whose marker no read returned are
    /// interchangeable, so they are only tried in the order of their invocation.
    func check(stepLimit: Int = 20_000_000) -> Verdict {
        var search = Search(self)
        return search.run(stepLimit: stepLimit)
    }

    private struct Search {
        private struct Tried: Hashable {
            var done: [UInt64]
            var value: Value
        }

        private let operations: [Operation]
        /// Calls and answers by time: `operation * 2`, `+ 1` for the answer; the last element is an end mark.
        private var events: [Int] = []
        private var next: [Int] = []
        private var previous: [Int] = []
        private var answerPosition: [Int] = []
        /// For interchangeable writes: the one before, which has to be tried first; -1: none.
        private var predecessor: [Int]
        private var done: [UInt64]
        private var value: Value
        private var stack: [(position: Int, value: Value)] = []
        private var tried: Set<Tried> = []
        private var furthest = -1

        init(_ history: RevisionHistory) {
            operations = history.operations.sorted { ($0.invoked, $0.returned) < ($1.invoked, $1.returned) }
            value = history.initial
            done = Array(repeating: 0, count: (operations.count + 63) / 64)
            predecessor = Array(repeating: -1, count: operations.count)
            var read: Set<Int> = []
            for case .read(let value) in operations.map(\.action) { read.insert(value.marker) }
            var last = -1
            for (index, operation) in operations.enumerated() {
                guard case .write(let marker, nil) = operation.action, !read.contains(marker) else { continue }
                predecessor[index] = last
                last = index
            }
            link()
        }

        /// Builds the list of events. At equal times calls come first: touching intervals overlap.
        private mutating func link() {
            let times: [(time: Int64, isAnswer: Int, event: Int)] = operations.indices.flatMap { index in
                [
                    (operations[index].invoked, 0, index * 2),
                    (operations[index].isUnknown ? .max : operations[index].returned, 1, index * 2 + 1),
                ]
            }
            events = times.sorted { ($0.time, $0.isAnswer, $0.event) < ($1.time, $1.isAnswer, $1.event) }.map(\.event)
            // Position 0 is the head, and the last one the end.
            let count = events.count
            next = Array(1...(count + 2))
            previous = Array(-1...count)
            answerPosition = Array(repeating: 0, count: operations.count)
            for (position, event) in events.enumerated() where event % 2 == 1 {
                answerPosition[event / 2] = position + 1
            }
        }

        mutating func run(stepLimit: Int) -> Verdict {
            var steps = 0
            var position = next[0]
            while position <= events.count {
                steps += 1
                guard steps <= stepLimit else { return .undecided(steps: steps) }
                let event = events[position - 1]
                let index = event / 2
                if event % 2 == 0 {
                    if let after = effect(of: index), remember(index, after) {
                        stack.append((position, value))
                        value = after
                        lift(position)
                        position = next[0]
                    } else {
                        position = next[position]
                    }
                    continue
                }
                // Only writes that may never happen are left.
                if operations[index].isUnknown { return .linearizable }
                furthest = max(furthest, position)
                guard let (call, before) = stack.popLast() else {
                    return .violation(stuck: "\(operations[events[furthest - 1] / 2])")
                }
                value = before
                setDone(events[call - 1] / 2, false)
                unlift(call)
                position = next[call]
            }
            return .linearizable
        }

        /// The register after the operation; nil: it can't come next.
        private func effect(of index: Int) -> Value? {
            switch operations[index].action {
            case .read(let seen): return seen == value ? value : nil
            case .write(let marker, let revision):
                if let revision, revision != value.revision + 1 { return nil }
                if revision == nil, predecessor[index] >= 0, !isDone(predecessor[index]) { return nil }
                return Value(revision: value.revision + 1, marker: marker)
            }
        }

        /// Marks the operation done.
        /// - Returns: false, and nothing marked, when this set of operations led to this value before.
        private mutating func remember(_ index: Int, _ after: Value) -> Bool {
            setDone(index, true)
            if tried.insert(Tried(done: done, value: after)).inserted { return true }
            setDone(index, false)
            return false
        }

        private func isDone(_ index: Int) -> Bool { done[index / 64] & (1 << UInt64(index % 64)) != 0 }

        private mutating func setDone(_ index: Int, _ isDone: Bool) {
            if isDone {
                done[index / 64] |= 1 << UInt64(index % 64)
            } else {
                done[index / 64] &= ~(1 << UInt64(index % 64))
            }
        }

        /// Takes a call and its answer out of the list.
        private mutating func lift(_ call: Int) {
            for position in [call, answerPosition[events[call - 1] / 2]] {
                next[previous[position]] = next[position]
                previous[next[position]] = previous[position]
            }
        }

        private mutating func unlift(_ call: Int) {
            for position in [answerPosition[events[call - 1] / 2], call] {
                next[previous[position]] = position
                previous[next[position]] = position
            }
        }
    }
}
