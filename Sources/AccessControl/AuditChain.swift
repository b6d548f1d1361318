import Crypto
import OrchestryModel

/// One entry of the audit trail as PostgreSQL has it.
package struct AuditEntry: Hashable, Sendable {
    /// 1, 2, 3… without gaps.
    package var sequence: Int64
    /// The JSON text that was hashed.
    package var record: String
    /// 64 hexadecimal digits.
    package var hash: String
    package init(sequence: Int64, record: String, hash: String) {
        self.sequence = sequence
        self.record = record
        self.hash = hash
    }
}

/// A place in the chain: whoever keeps one elsewhere can later show that nothing before it was touched.
package struct AuditHead: Hashable, Sendable, CustomStringConvertible {
    package var sequence: Int64
    package var hash: String
    package init(sequence: Int64, hash: String) {
        self.sequence = sequence
        self.hash = hash
    }

    /// Before the first entry: SHA-256 of nothing.
    package static let origin = AuditHead(sequence: 0, hash: hexadecimal(SHA256.hash(data: [UInt8]())))

    /// `<sequence>:<hash>`.
    package var description: String { "\(sequence):\(hash)" }
    package init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let sequence = Int64(parts[0]), sequence >= 0, parts[1].utf8.count == 64 else {
            return nil
        }
        self.init(sequence: sequence, hash: parts[1].lowercased())
    }
}

/// Reads the chain from its beginning and says where it is broken. Pure; the entries may come in any number of pieces.
///
/// hash(n) = SHA-256("<n> <hash(n − 1)> <record(n)>"), after the hash-linked logs of Haber and Stornetta (1991). What it
/// can't show is that the whole chain, or its end, was made anew by somebody who may write the table: for that a head
/// must have been kept elsewhere, and is given as `expected`.
package struct AuditChain: Sendable {
    package struct Finding: Hashable, Sendable, CustomStringConvertible {
        package var sequence: Int64
        package var description: String
    }

    package private(set) var head = AuditHead.origin
    /// At most `maximumFindings`, in order.
    package private(set) var findings: [Finding] = []
    private var expected: AuditHead?
    private static let maximumFindings = 20

    /// - Parameter expected: a head that was seen earlier.
    package init(expected: AuditHead? = nil) { self.expected = expected }

    package static func hash(sequence: Int64, previous: String, record: String) -> String {
        hexadecimal(SHA256.hash(data: Array("\(sequence) \(previous) \(record)".utf8)))
    }

    /// The next entries, in order of their numbers.
    package mutating func add(_ entries: [AuditEntry]) {
        for entry in entries { add(entry) }
    }

    private mutating func add(_ entry: AuditEntry) {
        let wanted = head.sequence + 1
        if entry.sequence != wanted {
            let gap = entry.sequence - wanted
            report(
                wanted,
                gap > 0
                    ? "entry \(wanted) is missing" + (gap > 1 ? ", and \(gap - 1) more after it" : "")
                    : "entry \(entry.sequence) comes where \(wanted) should")
        } else if Self.hash(sequence: entry.sequence, previous: head.hash, record: entry.record) != entry.hash {
            report(
                entry.sequence,
                "entry \(entry.sequence) was changed or inserted: its hash is not that of its text after "
                    + "entry \(entry.sequence - 1)")
        }
        // Goes on from what the row says, so that one changed row is one finding and not all that follow.
        head = AuditHead(sequence: entry.sequence, hash: entry.hash)
        if let expected, expected.sequence == entry.sequence, expected.hash != entry.hash {
            report(
                entry.sequence, "entry \(entry.sequence) is not the one whose hash was kept: the chain was made anew")
        }
    }

    /// After the last entry.
    /// - Parameter recorded: the head that the database keeps beside the entries.
    package mutating func end(recorded: AuditHead) {
        if recorded.sequence != head.sequence {
            report(
                head.sequence + 1,
                "the last entry is \(head.sequence), and \(recorded.sequence) is on record: entries were removed or added at "
                    + "the end")
        } else if recorded.hash != head.hash {
            report(head.sequence, "the last entry's hash is not the one on record")
        }
        if let expected, expected.sequence > head.sequence {
            report(
                head.sequence + 1,
                "the last entry is \(head.sequence), and the head that was kept is entry \(expected.sequence): entries were "
                    + "removed from the end")
        }
    }

    private mutating func report(_ sequence: Int64, _ text: String) {
        guard findings.count < Self.maximumFindings else { return }
        findings.append(Finding(sequence: sequence, description: text))
    }
}
