/// How long something takes: between `minimum` and `maximum`, and `slowPerMille` times in a thousand up to `slowMaximum`.
/// Nanoseconds, evenly spread.
public struct Delays: Hashable, Sendable {
    public var minimum: Int64
    public var maximum: Int64
    public var slowPerMille: Int64
    public var slowMaximum: Int64

    public init(minimum: Int64, maximum: Int64, slowPerMille: Int64 = 0, slowMaximum: Int64 = 0) {
        self.minimum = minimum
        self.maximum = maximum
        self.slowPerMille = slowPerMille
        self.slowMaximum = slowMaximum
    }
}

/// What happens to messages between nodes; which links are cut is kept per link.
public struct NetworkConditions: Hashable, Sendable {
    public var delays: Delays
    public var lossPerMille: Int64
    public var duplicatePerMille: Int64

    public init(delays: Delays, lossPerMille: Int64 = 0, duplicatePerMille: Int64 = 0) {
        self.delays = delays
        self.lossPerMille = lossPerMille
        self.duplicatePerMille = duplicatePerMille
    }

    /// A local network in good order.
    public static let good = NetworkConditions(delays: Delays(minimum: 100_000, maximum: 1_000_000))
}

/// One node's link to PostgreSQL.
public enum StoreLink: String, CaseIterable, Hashable, Sendable {
    case open
    /// Connections are refused at once.
    case refusing
    /// Nothing arrives and nothing answers.
    case silent
    /// Statements arrive and are carried out; no answer comes back.
    case deaf
    /// What is under way waits, and goes on when the link is another: a connection that TCP keeps alive through a cut.
    case stalled
}

/// What happens to statements whose link is open.
public struct StoreConditions: Hashable, Sendable {
    /// One way; an answer takes as long again, drawn separately.
    public var delays: Delays
    /// A broken connection, reported at once. Half of these statements are carried out nevertheless, after their delay.
    public var brokenPerMille: Int64

    public init(delays: Delays, brokenPerMille: Int64 = 0) {
        self.delays = delays
        self.brokenPerMille = brokenPerMille
    }

    /// A PostgreSQL nearby that is not busy: 2–8 ms for a statement.
    public static let good = StoreConditions(delays: Delays(minimum: 1_000_000, maximum: 4_000_000))
}
