import Measuring
import OrchestryModel
import WireProtocol

extension ProtocolCommand {
    /// Times and rates, their ratios, and the goals.
    func report(_ sides: [Side]) -> Report {
        var report = Report(
            "protocol",
            setting: "\(payload)-byte payload, \(repetitions) repetitions of \(roundTrips) round trips and \(messages) "
                + "messages" + (grpc == nil ? "" : " (gRPC: \(grpcMessages))")
                + " with \(window) in flight" + (grpc == nil ? "" : " (calls of gRPC: at most 64)")
                + ", one repetition of warm-up")
        var trips = Report.Table("round trip, handler to handler, microseconds")
        var awaited = Report.Table("round trip, awaited by a task, microseconds")
        var rates = Report.Table(
            "pipelined, messages there and back per second", columns: ["n", "median", "lowest", "highest"])
        for course in sides.flatMap(\.all) {
            if !course.link.isAwaitedOnly { trips.add(course.link.name, Summary(course.roundTrips)) }
            awaited.add(course.link.name, Summary(course.awaited))
            rates.add(
                course.link.name,
                [Double(course.rates.count), Summary(course.rates)?.p50, course.rates.min(), course.rates.max()])
        }
        report.tables = [trips, awaited, rates]
        for side in sides {
            compare(side.peers, withBare: side.bare, in: &report)
            for grpc in side.grpc { compare(side.peers, withGRPC: grpc, in: &report) }
        }
        return report
    }

    private func compare(_ peers: Course, withBare bare: Course, in report: inout Report) {
        let (name, baseline) = (peers.link.name, bare.link.name)
        let (ours, theirs) = (Summary(peers.roundTrips), Summary(bare.roundTrips))
        report.compare("round trip p50, \(name)", ours?.p50, with: theirs?.p50, called: baseline)
        report.compare("round trip p99, \(name)", ours?.p99, with: theirs?.p99, called: baseline)
        report.compare(
            "awaited round trip p50, \(name)", Summary(peers.awaited)?.p50, with: Summary(bare.awaited)?.p50,
            called: baseline)
        report.compare(
            "pipelined messages/s, \(name)", Summary(peers.rates)?.p50, with: Summary(bare.rates)?.p50,
            called: baseline, better: .higher)
        report.goal(
            "round trip p50, \(name) ÷ \(baseline)", quotient(ours?.p50, theirs?.p50), atMost: 1.3)
    }

    /// Awaited round trips against awaited ones: gRPC has no others.
    private func compare(_ peers: Course, withGRPC grpc: Course, in report: inout Report) {
        let (name, baseline) = (peers.link.name, grpc.link.name)
        let (ours, theirs) = (Summary(peers.awaited), Summary(grpc.awaited))
        let rates = (Summary(peers.rates)?.p50, Summary(grpc.rates)?.p50)
        report.compare("awaited round trip p50, \(name)", ours?.p50, with: theirs?.p50, called: baseline)
        report.compare("awaited round trip p99, \(name)", ours?.p99, with: theirs?.p99, called: baseline)
        report.compare("pipelined messages/s, \(name)", rates.0, with: rates.1, called: baseline, better: .higher)
        report.goal(
            "awaited round trip p50, \(name) ÷ \(baseline)", quotient(ours?.p50, theirs?.p50), atMost: 0.125)
        report.goal("pipelined messages/s, \(name) ÷ \(baseline)", quotient(rates.0, rates.1), atLeast: 20)
    }

    private func quotient(_ value: Double?, _ baseline: Double?) -> Double? {
        guard let value, let baseline, baseline != 0 else { return nil }
        return value / baseline
    }

    /// Bytes of the TCP streams for each message and its answer.
    func wireTable(_ contenders: [Contenders]) async throws -> Report.Table {
        var table = Report.Table(
            "bytes on the wire for a message of \(payload) and its answer",
            columns: ["there", "back", "there, pipelined", "back, pipelined"])
        for contender in contenders {
            for link in try await contender.all(counting: true) {
                guard let relay = link.relay else { throw BenchFailure("\(link.name) has no relay") }
                // Settings, tables of headers and tickets are exchanged here.
                _ = try await link.awaited(counted)
                let before = relay.bytes
                _ = try await link.awaited(counted)
                let awaited = relay.bytes - before
                _ = try await link.exchange(counted, window: window)
                let begun = relay.bytes
                _ = try await link.exchange(counted, window: window)
                let pipelined = relay.bytes - begun
                table.add(
                    link.name,
                    [awaited.there, awaited.back, pipelined.there, pipelined.back].map { Double($0) / Double(counted) })
                try await link.close()
            }
        }
        return table
    }

    func allocationTable(_ rows: [AllocationsCommand.Row]) -> Report.Table {
        var table = Report.Table(
            "allocations for a message and its answer, both ends", columns: ["awaited", "pipelined"])
        for row in rows { table.add(row.name, [row.awaited, row.pipelined]) }
        return table
    }

    /// The goal for heartbeats is 32 bytes each.
    func heartbeatTable() throws -> Report.Table {
        let limit = 32.0
        var table = Report.Table(
            "bytes of a frame, before TLS", columns: ["bytes", "of the \(Int(limit)) allowed"])
        // A machine that has been up for a month; and the largest there can be.
        for (words, epoch, sentAt) in [
            ("epoch 1,000, up 30 days", Epoch(1_000), UInt64(30 * 86_400) * 1_000_000),
            ("largest possible", Epoch(.max), UInt64.max),
        ] {
            for (name, message) in [
                ("heartbeat", ElectionMessage.heartbeat(epoch: epoch, sentAt: sentAt)),
                ("acknowledgement", .heartbeatAck(epoch: epoch, sentAt: sentAt)),
            ] {
                let bytes = Double(try PeerLink.frameBytes(.election(message)))
                table.add("\(name), \(words)", [bytes, bytes / limit])
            }
        }
        return table
    }
}
