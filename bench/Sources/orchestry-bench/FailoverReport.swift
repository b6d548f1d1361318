import Foundation
import Measuring

extension FailoverCommand {
    func report(_ done: [Kill], _ streams: Streams) throws {
        var report = Report(
            "failover",
            setting:
                "\(faultName) to the leader of \(try pairs().count) nodes, \(done.count) times, one write and one read "
                + "each \(interval) ms through the others")
        var times = Report.Table("milliseconds")
        var counts = Report.Table("requests", columns: ["sent", "failed"])
        let outage = Summary(done.map(\.milliseconds))
        times.add("kill to next accepted write", outage)
        var usual: Summary?
        for (name, stream) in [("write", streams.writes), ("read", streams.reads)] {
            let requests = stream.requests
            let quiet = done.flatMap { self.quiet(requests, before: $0) }
            let affected = done.flatMap { self.affected(requests, by: $0) }
            let before = Summary(quiet.filter { $0.failure == nil }.map(\.milliseconds))
            if name == "write" { usual = before }
            times.add("\(name) before the kill" + (name == "write" ? " (baseline)" : ""), before)
            times.add("\(name)s under way meanwhile, until their answer", Summary(affected.map(\.milliseconds)))
            for (when, group) in [
                ("before the kills", quiet), ("under way between a kill and the next accepted write", affected),
                ("in all", requests),
            ] {
                counts.add("\(name)s \(when)", [Double(group.count), Double(group.count { $0.failure != nil })])
            }
            report.notes += Set(requests.compactMap(\.failure)).sorted().prefix(5).map { "a \(name) failed: \($0)" }
            if stream.leftOut > 0 {
                report.notes.append("\(stream.leftOut) \(name)s were left out: too many unanswered")
            }
        }
        var each = Report.Table("each kill", columns: ["ms", "writes under way", "ms of the fault command"])
        for kill in done {
            each.add(
                "\(kill.victim), then \(kill.successor)",
                [
                    kill.milliseconds, Double(affected(streams.writes.requests, by: kill).count),
                    faultCommand == nil ? nil : kill.commandMilliseconds,
                ])
        }
        report.tables = [times, counts, each]
        report.compare("kill to next write, p50", outage?.p50, with: usual?.p50, called: "a write before the kill, p50")
        report.compare(
            "kill to next write, worst", outage?.max, with: usual?.p50, called: "a write before the kill, p50")
        if !isPassing, restartCommand == nil { report.notes.append("the killed node was not started again") }
        try writeFiles(done, streams)
        try output.finish(report)
    }

    private func quiet(_ requests: [RequestStream.Sent], before kill: Kill) -> [RequestStream.Sent] {
        let span = UInt64(before) * 1_000_000_000
        return requests.filter { $0.sentAt >= kill.begunAt - span && $0.answeredAt <= kill.begunAt }
    }

    private func affected(_ requests: [RequestStream.Sent], by kill: Kill) -> [RequestStream.Sent] {
        requests.filter { $0.answeredAt > kill.killedAt && $0.sentAt < kill.acceptedAt }
    }

    private func writeFiles(_ done: [Kill], _ streams: Streams) throws {
        let rows = [("write", streams.writes), ("read", streams.reads)].flatMap { kind, stream in
            stream.requests.map { (kind: kind, sent: $0) }
        }.sorted { $0.sent.sentAt < $1.sent.sentAt }
        let begin = rows.first?.sent.sentAt ?? 0
        func seconds(_ time: UInt64) -> Double { (Double(time) - Double(begin)) / 1e9 }
        if let csv {
            let lines = rows.map { row in
                String(
                    format: "\(row.kind),%.3f,%.3f,%d", seconds(row.sent.sentAt) * 1e3, row.sent.milliseconds,
                    row.sent.failure == nil ? 1 : 0)
            }
            try (["kind,sent_ms,latency_ms,accepted"] + lines).joined(separator: "\n").appending("\n")
                .write(toFile: csv, atomically: true, encoding: .utf8)
        }
        guard let svg else { return }
        var lines = ["write", "read"].map { kind in
            LineChart.Line(
                kind,
                rows.filter { $0.kind == kind }.map { .init(x: seconds($0.sent.sentAt), y: $0.sent.milliseconds) })
        }
        // A tooth of the longest request's height at each.
        let top = rows.map(\.sent.milliseconds).max() ?? 1
        lines.append(
            LineChart.Line(
                "the leader is killed",
                done.flatMap { kill in [0, top, 0].map { .init(x: seconds(kill.killedAt), y: $0) } }))
        try LineChart.document([LineChart("milliseconds until the answer", xLabel: "s", lines: lines)])
            .write(toFile: svg, atomically: true, encoding: .utf8)
    }
}
