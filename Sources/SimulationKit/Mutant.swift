import Leadership

/// A rule left out on purpose, to show that the checks notice. Those of the first group are left out of `Election`
/// itself, the others of what is simulated around it.
public enum Mutant: String, CaseIterable, Hashable, Sendable {
    case none

    /// L1: a voter acknowledges another leader while its promise to the first runs.
    case ackUnderPromise
    /// L6: no wait after a start.
    case dropAmnesiaWait
    /// L4: the solo claim is kept while quorum is asked for.
    case keepSoloWhileAsking
    /// L2: an acknowledgement counts from its receipt, not from the heartbeat's send.
    case countFromReceipt

    /// L3, L4: solo is confirmed while an earlier holder's lease may still run.
    case dropPriorExpiresAt
    /// L4: a delayed statement may undo a later one.
    case dropSeq
    /// L9: a promoted standby goes on as if nothing had been lost.
    case dropPromotionHold
    /// L9: epochs go on after a promotion from what the row says.
    case dropEpochFloor

    /// L2: a leader acts on what it was told last, without looking at its clock.
    case actOnReport
    /// L5: PostgreSQL takes writes of any epoch.
    case dropFence
    /// A repeated request is carried out again.
    case dropIdempotency
    /// L5: an agent obeys any epoch.
    case obeyAnyEpoch
    /// L5: a restarted agent does not read its containers' labels.
    case forgetLabels
    /// L5: a leader does not listen to agents that know a higher epoch.
    case ignoreRefusals

    /// The part of it that is in `Election`.
    public var election: Election.Mutation {
        switch self {
        case .ackUnderPromise: .ackUnderPromise
        case .dropAmnesiaWait: .dropAmnesiaWait
        case .keepSoloWhileAsking: .keepSoloWhileAsking
        case .countFromReceipt: .countFromReceipt
        case .none, .dropPriorExpiresAt, .dropSeq, .dropPromotionHold, .dropEpochFloor, .actOnReport, .dropFence,
            .dropIdempotency, .obeyAnyEpoch, .forgetLabels, .ignoreRefusals:
            .none
        }
    }

    /// What the checks say of it; nil: nothing is wrong.
    public var symptom: SimulationFailure.Kind? {
        switch self {
        case .none: nil
        case .ackUnderPromise, .dropAmnesiaWait, .keepSoloWhileAsking, .countFromReceipt, .dropPriorExpiresAt, .dropSeq,
            .dropPromotionHold:
            .twoActive
        case .dropEpochFloor: .epochReused
        case .actOnReport: .obeyedInactive
        case .dropFence: .epochFell
        case .dropIdempotency: .appliedTwice
        case .obeyAnyEpoch, .forgetLabels: .obeyedOld
        case .ignoreRefusals: .agentDeaf
        }
    }
}
