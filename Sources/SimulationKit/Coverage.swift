/// What a run got to: shows that schedules lead to the places where it could go wrong.
public struct Coverage: Hashable, Sendable {
    public enum Item: Int, CaseIterable, Hashable, Sendable {
        // The network
        case messageLost, messageCut, messageDuplicated, messageOvertaken, messageOverOneSecond
        /// Lost on a link that is cut one way only.
        case messageCutOneWay
        // Nodes
        case crash, crashOfLeader, restart, pause, pauseOfLeader, rateChanged
        /// It was active when it froze and not any more when it woke.
        case lateWakeUp
        // Elections
        case deposed, leaseLost, leaseLapsed, promisesLapsed, steppedDown
        // PostgreSQL
        case storeRefused, storeSilent, storeDeaf, storeStalled, storeBroken
        /// Of a lease statement, after its sender had given up waiting.
        case lateAnswer
        /// Carried out after its sender had given up waiting.
        case lateStatement
        case promotion, leaseCommitLost, epochLost, writeLost
        /// Lost though acknowledged: only by a promotion.
        case acknowledgedWriteLost
        /// By L9: acquiring or solo was refused for a while.
        case heldAfterPromotion
        // Agents
        case commandObeyed, oldCommandRefused, earlyCommandRefused
        /// A restarted agent that found labels.
        case labelsAdopted
        /// A leader learned from an agent that a higher epoch exists.
        case refusalHeeded
        // Writes
        case writeCommitted, writeFenced, writeAcknowledged, clientRetry, writeForwarded
        /// The same request again, answered from what is stored.
        case retryDeduplicated
        /// The leader saw the connection break.
        case outcomeUnknown
    }

    private var counts = [Int](repeating: 0, count: Item.allCases.count)

    public init() {}

    public subscript(item: Item) -> Int { counts[item.rawValue] }

    mutating func note(_ item: Item, _ times: Int = 1) { counts[item.rawValue] += times }

    public static func += (left: inout Coverage, right: Coverage) {
        for index in left.counts.indices { left.counts[index] += right.counts[index] }
    }

    /// What never happened.
    public var missing: [Item] { Item.allCases.filter { self[$0] == 0 } }
}
