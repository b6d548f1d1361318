import OrchestryModel

/// A binary heap of deadlines, earliest first. Entries are never removed early: whoever pops one checks with the owner
/// whether it still means anything.
package struct DeadlineQueue<Key: Hashable & Sendable>: Sendable {
    private var heap: [(due: Instant, key: Key)] = []

    package init() {}

    package var earliest: Instant? { heap.first?.due }

    package mutating func insert(_ key: Key, due: Instant) {
        heap.append((due, key))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            if heap[parent].due <= heap[child].due { break }
            heap.swapAt(parent, child)
            child = parent
        }
    }

    /// The earliest entry, if it is due by `now`.
    package mutating func pop(dueBy now: Instant) -> (due: Instant, key: Key)? {
        guard let first = heap.first, first.due <= now else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return first }
        heap[0] = last
        var parent = 0
        while true {
            let left = 2 * parent + 1
            let right = left + 1
            var least = parent
            if left < heap.count, heap[left].due < heap[least].due { least = left }
            if right < heap.count, heap[right].due < heap[least].due { least = right }
            if least == parent { break }
            heap.swapAt(parent, least)
            parent = least
        }
        return first
    }
}
