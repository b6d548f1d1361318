/// Everything the checker holds against a run, from the clients' records, PostgreSQL and the nodes' logs. Empty: nothing.
struct Findings: Sendable {
    var problems: [String] = []

    init(record: Workload.Record, apps: [String], witness: Witness, logs: [String: NodeLog]) {
        checkHistories(record, apps)
        checkCounts(record, witness)
        checkRows(apps, witness)
        checkEpochs(witness)
        checkLogs(logs)
    }

    /// No acknowledged write lost, none doubled, no read from the past.
    private mutating func checkHistories(_ record: Workload.Record, _ apps: [String]) {
        for app in apps {
            switch record.history(of: app).check() {
            case .linearizable: break
            case .violation(let stuck): problems.append("\(app) is not linearizable: nothing explains \(stuck)")
            case .undecided(let steps): problems.append("\(app): undecided after \(steps) steps")
            }
        }
    }

    /// An accepted key has one answer, one event and, where it wrote a specification, one revision: the one the client
    /// was told. A key that was not accepted has them all once or not at all.
    private mutating func checkCounts(_ record: Workload.Record, _ witness: Witness) {
        let events = Dictionary(grouping: witness.acts.filter { !$0.key.isEmpty }, by: \.key)
        let revisions = Dictionary(grouping: witness.revisions) { "\($0.app) \($0.marker)" }
        for write in record.writes {
            let answers = witness.answers[write.key] ?? 0
            if answers > 1 || (write.isAccepted && answers != 1) { problems.append("\(write.key): \(answers) answers") }
            let acts = events[write.key]?.count ?? 0
            // Scaling to what it is already changes nothing and says so.
            if acts > 1 || (acts != answers && write.marker != nil) {
                problems.append("\(write.key): \(acts) events, \(answers) answers")
            }
            guard let marker = write.marker else { continue }
            let stored = (revisions["\(write.app) \(marker)"] ?? []).map(\.revision)
            if stored.count != answers { problems.append("\(write.key): \(answers) answers, revisions \(stored)") }
            if case .accepted(let told) = write.outcome, stored != [told] {
                problems.append("\(write.key): the client was told revision \(told ?? -1), stored are \(stored)")
            }
        }
    }

    /// Revisions go up by one, and the app's own row is the last of them.
    private mutating func checkRows(_ apps: [String], _ witness: Witness) {
        for app in apps {
            let revisions = witness.revisions.filter { $0.app == app }
            if revisions.map(\.revision) != Array(1...max(1, revisions.count)) {
                problems.append("\(app): revisions \(revisions.map(\.revision))")
            }
            guard let last = revisions.last else { continue }
            let current = witness.current[app]
            if current != .init(revision: last.revision, marker: last.marker) {
                problems.append(
                    "\(app): its row says \(current.map { "\($0)" } ?? "nothing"), its last revision \(last)")
            }
        }
    }

    /// In the order of commits epochs never fall, and every act was one of the epoch that held the lease.
    private mutating func checkEpochs(_ witness: Witness) {
        var highest: Int64 = 0
        for act in witness.acts {
            if act.epoch < highest {
                problems.append(
                    "\(act.node) wrote '\(act.key)' under epoch \(act.epoch) after epoch \(highest) had written")
            }
            highest = max(highest, act.epoch)
            if act.epoch != act.leaseEpoch {
                problems.append(
                    "\(act.node) wrote '\(act.key)' under epoch \(act.epoch), the lease's was \(act.leaseEpoch)")
            }
        }
        let holders = Dictionary(grouping: witness.epochs, by: \.epoch)
        for (epoch, entries) in holders where entries.count > 1 {
            problems.append("epoch \(epoch) was given to \(entries.map(\.leader))")
        }
    }

    /// No two nodes could act at once, and no agent went back to an older leader.
    private mutating func checkLogs(_ logs: [String: NodeLog]) {
        let tenures = logs.values.flatMap(\.tenures).sorted { $0.since < $1.since }
        for (one, other) in NodeLog.overlaps(tenures) {
            problems.append("\(one.node) and \(other.node) were active at once: \(one), \(other)")
        }
        for (node, log) in logs.sorted(by: { $0.key < $1.key }) {
            for epochs in log.obeyed where epochs != epochs.sorted() {
                problems.append("\(node) obeyed epochs \(epochs)")
            }
        }
    }
}
