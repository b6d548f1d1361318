import Foundation

/// Time zones by their names of the IANA database, for schedules.
enum TimeZones {
    /// Seconds that local time is ahead of UTC at a second since 1970; nil: there is no such zone.
    static func offset(_ name: String, _ second: Int64) -> Int64? {
        guard let zone = TimeZone(identifier: name) else { return nil }
        return Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(second))))
    }

    static func exists(_ name: String) -> Bool { TimeZone(identifier: name) != nil }
}
