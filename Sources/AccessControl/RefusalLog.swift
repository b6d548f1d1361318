import OrchestryModel

/// Decides which refused writes become entries of the audit trail of their own: the first of its kind at once, what
/// repeats it within a while as a number. So a client in a loop can't fill the disk, and no refusal goes unsaid. Pure.
package struct RefusalLog: Sendable {
    private struct Kind: Hashable {
        var actor: String
        var address: String?
        var operation: String
        var app: AppName?
        var status: Int
    }
    private struct Repeats {
        var since: Instant
        var last: AuditRecord
        var count = 0
    }

    /// Refusals of one kind within this long are one entry more.
    package static let interval = Duration.seconds(10)
    /// Kinds that are told apart; what is beyond counts as one kind.
    package static let capacity = 512

    private var kinds: [Kind: Repeats] = [:]

    package init() {}

    /// - Returns: what to record now.
    package mutating func refused(_ record: AuditRecord, at now: Instant) -> [AuditRecord] {
        let due = takeDue(at: now)
        var kind = Kind(
            actor: record.actor, address: record.address, operation: record.operation, app: record.app,
            status: record.status)
        if kinds[kind] == nil, kinds.count >= Self.capacity {
            kind = Kind(actor: "(others)", address: nil, operation: "(others)", app: nil, status: record.status)
        }
        if kinds[kind] != nil {
            kinds[kind]?.count += 1
            kinds[kind]?.last = record
            return due
        }
        kinds[kind] = Repeats(since: now, last: record)
        return due + [record]
    }

    /// Repetitions whose time is over, oldest first. To be called now and then, and before the end.
    package mutating func takeDue(at now: Instant, all: Bool = false) -> [AuditRecord] {
        let due = kinds.filter { all || now - $0.value.since >= Self.interval }.sorted {
            $0.value.since < $1.value.since
        }
        return due.compactMap { kind, repeats in
            kinds[kind] = nil
            guard repeats.count > 0 else { return nil }
            var record = repeats.last
            record.repeats = repeats.count - 1
            return record
        }
    }
}
