/// What a run found wrong.
public struct SimulationFailure: Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Hashable, Sendable {
        /// The invariant of proto-spec/lease.md: two nodes were active at one instant.
        case twoActive
        /// An epoch was acquired twice.
        case epochReused
        /// PostgreSQL accepted a write of an epoch after one of a higher epoch.
        case epochFell
        /// An agent obeyed an epoch below one that it had obeyed since its start or knew by its labels.
        case obeyedOld
        /// An agent obeyed a command that its sender sent while it was not active.
        case obeyedInactive
        /// A request was carried out a second time.
        case appliedTwice
        /// A client was told that its write is stored, and it is not, although no promotion lost it.
        case acknowledgedLost
        /// What a node reported to its shell is not what it answers.
        case misreported
        /// A deadline that is not in the future: the shell would spin.
        case deadlinePassed
        /// Nobody led for long enough after the faults had ended.
        case noLeader
        /// A leader leads in the calm, but an agent does not obey it.
        case agentDeaf
        /// A leader leads in the calm, but a write from before it got no answer.
        case writeStuck
        /// More steps than any sane run takes.
        case tooManySteps
    }
    public var kind: Kind
    /// With true times, nodes and epochs.
    public var detail: String
    public var description: String { "\(kind.rawValue): \(detail)" }
}
