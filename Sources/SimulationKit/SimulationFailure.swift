/// What a run found wrong.
public struct SimulationFailure: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Hashable, Sendable {
        /// The invariant of proto-spec/lease.md: two nodes were active at one instant.
        case twoActive
        /// PostgreSQL accepted a write of an epoch after one of a higher epoch.
        case epochFell
        /// What a node reported to its shell is not what it answers.
        case misreported
        /// A deadline that is not in the future: the shell would spin.
        case deadlinePassed
        /// Nobody led for long enough after the faults had ended.
        case noLeader
        /// More steps than any sane run takes.
        case tooManySteps
    }
    public var kind: Kind
    /// With true times, nodes and epochs.
    public var detail: String
    public var description: String { "\(kind.rawValue): \(detail)" }
}
