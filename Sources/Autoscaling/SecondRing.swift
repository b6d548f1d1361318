/// Values by second, the newest `capacity` seconds of them, with the total over one sliding window kept up to date.
/// Totals are sums of integers: they don't depend on the order in which seconds came, and adding one second and
/// taking one away gives exactly what summing up again would.
package struct SecondRing<Value: AdditiveArithmetic & Sendable>: Sendable {
    private struct Slot: Sendable {
        /// `never`: empty.
        var second: Int64
        var value: Value
    }
    package static var never: Int64 { Int64.min }

    private var slots: [Slot]
    /// The newest second that was ever set; `never` before.
    package private(set) var latest = Self.never
    private var windowStart: Int64 = 0
    private var windowEnd: Int64 = -1
    private var windowTotal = Value.zero
    /// The value at `windowStart - 1`.
    private var beforeWindow: Value?
    /// The start that was asked for last, and whether it had moved on since the time before: then the window moves on
    /// with each new second as it comes, and an evaluation, with thousands of rings to read, finds the total in the
    /// ring itself and need not fetch old seconds from memory.
    private var asked = Int64.max
    private var follows = false

    /// - Parameter capacity: a power of two.
    package init(capacity: Int) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0, "capacity \(capacity) is not a power of two")
        slots = Array(repeating: Slot(second: Self.never, value: .zero), count: capacity)
    }

    package var capacity: Int { slots.count }

    /// Where a second is kept; two seconds a multiple of `capacity` apart share it.
    package func index(of second: Int64) -> Int { Int(truncatingIfNeeded: second) & (slots.count - 1) }

    package func value(at second: Int64) -> Value? {
        let slot = slots[index(of: second)]
        return slot.second == second ? slot.value : nil
    }

    /// The second that a value for `second` would push out, or replace; nil: its place is free.
    package func displaced(by second: Int64) -> Int64? {
        let other = slots[index(of: second)].second
        return other == Self.never ? nil : other
    }

    /// - Returns: false when the second is older than what the ring holds: nothing changed.
    @discardableResult
    package mutating func set(_ value: Value, at second: Int64) -> Bool {
        let position = index(of: second)
        guard slots[position].second <= second else { return false }
        leave(position)
        slots[position] = Slot(second: second, value: value)
        if second >= windowStart, second <= windowEnd {
            windowTotal += value
        } else if second == windowStart - 1 {
            beforeWindow = value
        } else if follows, second == windowEnd + 1 {
            beforeWindow = self.value(at: windowStart)
            if let beforeWindow { windowTotal -= beforeWindow }
            windowTotal += value
            windowStart += 1
            windowEnd = second
        }
        latest = max(latest, second)
        return true
    }

    package mutating func remove(_ second: Int64) {
        let position = index(of: second)
        guard slots[position].second == second else { return }
        leave(position)
        slots[position] = Slot(second: Self.never, value: .zero)
    }

    private mutating func leave(_ position: Int) {
        let slot = slots[position]
        if slot.second >= windowStart, slot.second <= windowEnd {
            windowTotal -= slot.value
        } else if slot.second == windowStart - 1 {
            beforeWindow = nil
        }
    }

    /// The value of the second before `from`.
    package func value(before from: Int64) -> Value? { from == windowStart ? beforeWindow : value(at: from - 1) }

    /// The first second with a value in `from...to`.
    package func first(from: Int64, to: Int64) -> Int64? {
        var second = max(from, to - Int64(capacity) + 1)
        while second <= to {
            if slots[index(of: second)].second == second { return second }
            second += 1
        }
        return nil
    }

    /// The sum over `from...to`, counted afresh.
    package func total(from: Int64, to: Int64) -> Value {
        var sum = Value.zero
        var second = max(from, to - Int64(capacity) + 1)
        while second <= to {
            let slot = slots[index(of: second)]
            if slot.second == second { sum += slot.value }
            second += 1
        }
        return sum
    }

    /// The sum over `from...to`: the sliding window's where that is the one asked for, else counted afresh.
    package func knownTotal(from: Int64, to: Int64) -> Value {
        from == windowStart && to == windowEnd ? windowTotal : total(from: from, to: to)
    }

    /// Whether the sliding window is `from...to` and its total as `isSo` wants it.
    package func isKnown(from: Int64, to: Int64, _ isSo: (Value) -> Bool) -> Bool {
        from == windowStart && to == windowEnd && from <= to && isSo(windowTotal)
    }

    /// The sum over `from...to`, from the last such sum where the window only moved a little.
    package mutating func slidingTotal(from: Int64, to: Int64) -> Value {
        guard from <= to else { return .zero }
        follows = from > asked
        asked = from
        if from == windowStart, to == windowEnd { return windowTotal }
        let moved = abs(to - windowEnd) + abs(from - windowStart)
        if from <= windowEnd, to >= windowStart, moved < to - from {
            windowTotal -= total(from: windowStart, to: from - 1)
            windowTotal += total(from: windowEnd + 1, to: to)
            windowTotal += total(from: from, to: windowStart - 1)
            windowTotal -= total(from: to + 1, to: windowEnd)
        } else {
            windowTotal = total(from: from, to: to)
        }
        windowStart = from
        windowEnd = to
        beforeWindow = value(at: from - 1)
        return windowTotal
    }

    /// Makes room for at least `capacity` seconds (rounded up to a power of two), keeping what is there.
    package mutating func grow(to capacity: Int) {
        var larger = slots.count
        while larger < capacity { larger *= 2 }
        guard larger > slots.count else { return }
        let old = slots
        slots = Array(repeating: Slot(second: Self.never, value: .zero), count: larger)
        for slot in old where slot.second != Self.never { slots[index(of: slot.second)] = slot }
    }
}
