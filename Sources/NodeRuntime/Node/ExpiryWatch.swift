import Foundation

/// Decides when to say that a certificate ends soon: a warning from 30 days on, an error from 7, once a day each. Pure.
struct ExpiryWatch {
    enum Urgency: Int, Comparable {
        case none, soon, verySoon
        static func < (left: Urgency, right: Urgency) -> Bool { left.rawValue < right.rawValue }
    }
    struct Finding: Equatable {
        var urgency: Urgency
        /// Whole days left, rounded down; negative once it has ended.
        var days: Int
        /// It is as urgent for the first time.
        var isNew: Bool
    }

    private static let day: TimeInterval = 86_400
    private var last: (urgency: Urgency, at: Date) = (.none, .distantPast)

    static func urgency(secondsLeft: TimeInterval) -> Urgency {
        switch secondsLeft {
        case ..<(7 * day): .verySoon
        case ..<(30 * day): .soon
        default: .none
        }
    }

    /// - Returns: nil: nothing to say now.
    mutating func look(end: Date, now: Date) -> Finding? {
        let left = end.timeIntervalSince(now)
        let urgency = Self.urgency(secondsLeft: left)
        let isNew = urgency > last.urgency
        guard urgency != .none, isNew || now.timeIntervalSince(last.at) >= Self.day else {
            if urgency < last.urgency { last = (urgency, last.at) }
            return nil
        }
        last = (urgency, now)
        return Finding(urgency: urgency, days: Int((left / Self.day).rounded(.down)), isNew: isNew)
    }
}
