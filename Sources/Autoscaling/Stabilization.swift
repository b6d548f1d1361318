/// The highest wish of a sliding window, in amortised constant time: a queue of wishes that falls from front to back
/// (a wish below a later one can never be the highest again).
struct Stabilization: Hashable, Sendable {
    private struct Wish: Hashable, Sendable {
        var second: Int64
        var count: Int
    }
    private static let pauseSeconds: Int64 = 5
    private var wishes: [Wish] = []

    /// Whether nothing was wished for lately, so that the window's wishes are not known.
    func isInterrupted(at second: Int64) -> Bool {
        wishes.last.map { $0.second < second - Self.pauseSeconds } ?? true
    }

    /// - Parameter second: normally not below earlier ones; after a clock stepped back, later wishes count as of now.
    mutating func record(_ count: Int, at second: Int64) {
        for index in wishes.indices.reversed() {
            guard wishes[index].second > second else { break }
            wishes[index].second = second
        }
        while let last = wishes.last, last.count <= count { wishes.removeLast() }
        wishes.append(Wish(second: second, count: count))
    }

    /// The highest wish of the last `windowSeconds` (0: of this second alone); nil without any.
    mutating func highest(windowSeconds: Int, at second: Int64) -> Int? {
        let oldest = second - Int64(windowSeconds)
        let expired = wishes.prefix { $0.second < oldest }.count
        if expired > 0 { wishes.removeFirst(expired) }
        return wishes.first?.count
    }
}
