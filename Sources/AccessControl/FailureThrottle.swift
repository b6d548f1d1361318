import OrchestryModel

/// Slows down whoever fails to authenticate, by address. Pure.
///
/// Each failure fills a bucket that leaks; a full one locks the address out, longer each time. A locked address is not
/// listened to at all: to check one more credential would give a guesser that guess. Memory is bounded: where more
/// addresses fail than fit, the one that failed longest ago is forgotten.
package struct FailureThrottle: Sendable {
    package struct Settings: Sendable {
        /// Failures at once that have no consequence but the refusal itself.
        package var burst = 10
        /// One failure is forgiven after this long.
        package var forgives = Duration.seconds(10)
        /// The first lock-out, and the longest: each doubles the one before.
        package var firstLock = Duration.seconds(30)
        package var longestLock = Duration.seconds(900)
        /// After this long without a failure the next lock-out is a first one again.
        package var forgets = Duration.seconds(3_600)
        package var capacity = 4_096
        package init() {}
    }

    private struct Entry: Sendable {
        /// Failures not yet forgiven, as of `at`.
        var level: Double
        var at: Instant
        var lockedUntil: Instant?
        var locks = 0
    }

    private let settings: Settings
    private var entries: [String: Entry] = [:]

    package init(_ settings: Settings = Settings()) { self.settings = settings }

    /// Addresses that are remembered.
    package var count: Int { entries.count }

    /// How long the address has to wait; nil: it may try.
    package func lockLeft(_ address: String, at now: Instant) -> Duration? {
        guard let until = entries[Self.key(of: address)]?.lockedUntil, until > now else { return nil }
        return until - now
    }

    /// - Returns: how long the address is locked out from now on; nil: it may try again.
    package mutating func failed(_ address: String, at now: Instant) -> Duration? {
        let key = Self.key(of: address)
        var entry = entries[key] ?? Entry(level: 0, at: now)
        let quiet = now - entry.at
        if quiet > settings.forgets { entry.locks = 0 }
        entry.level = max(0, entry.level - quiet.inSeconds / settings.forgives.inSeconds) + 1
        entry.at = now
        defer {
            if entries[key] == nil, entries.count >= settings.capacity { forgetOne(at: now) }
            entries[key] = entry
        }
        guard entry.level > Double(settings.burst) else { return nil }
        let lock = min(settings.firstLock * (1 << min(entry.locks, 20)), settings.longestLock)
        entry.locks += 1
        entry.lockedUntil = now + lock
        // Half a bucket is left for when the lock ends.
        entry.level = Double(settings.burst) / 2
        return lock
    }

    private mutating func forgetOne(at now: Instant) {
        func rank(_ entry: Entry) -> (Int, Instant) {
            // Whoever is locked out stays so as long as there is somebody else to forget.
            entry.lockedUntil.map { $0 > now } == true ? (1, entry.lockedUntil ?? now) : (0, entry.at)
        }
        if let oldest = entries.min(by: { rank($0.value) < rank($1.value) }) { entries[oldest.key] = nil }
    }

    /// One customer has a whole /64 of IPv6, so that counts as one address. IPv4 in IPv6 is IPv4.
    package static func key(of address: String) -> String {
        guard address.utf8.contains(UInt8(ascii: ":")) else { return address }
        if let last = address.split(separator: ":").last, last.contains(".") { return String(last) }
        let halves = address.split(separator: "%")[0].split(separator: ":", omittingEmptySubsequences: false)
        // Up to a `::` the groups stand in their places; what it stands for is zeros.
        var groups: [Substring] = []
        for group in halves {
            if group.isEmpty, !groups.isEmpty || halves.first?.isEmpty == true { break }
            groups.append(group)
        }
        let hasGap = address.contains("::")
        let head = hasGap ? groups + Array(repeating: "0", count: max(0, 4 - groups.count)) : groups
        return head.prefix(4).map { $0.lowercased() }.joined(separator: ":") + "::/64"
    }
}
