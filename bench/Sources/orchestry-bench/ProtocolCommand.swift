import ArgumentParser
import Measuring
import OrchestryModel
import WireProtocol

/// What a message between two nodes costs, and what it would cost without a protocol.
struct ProtocolCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "protocol",
        abstract: "Round trips and messages per second between two nodes, against a bare echo.",
        discussion: """
            Two nodes in this process, one event-loop thread each, over loopback TCP, with a shared secret and with \
            mutual TLS. The baseline sends frames of the same payload back as they come, over plain TCP and TLS. All \
            take turns in each repetition, so that a busy machine is unfair to all of them alike.
            """)

    @Option(help: "Bytes of payload, 10 to 80.") var payload = 64
    @Option(help: "Round trips of one repetition.") var roundTrips = 5_000
    @Option(help: "Pipelined messages of one repetition.") var messages = 200_000
    @Option(help: "Pipelined messages in flight.") var window = 1_024
    @Option(help: "Repetitions that count; one before them is warm-up.") var repetitions = 7
    @Flag(inversion: .prefixedNo, help: "Measure TLS too (needs the program openssl).") var tls = true
    @OptionGroup var output: OutputOptions

    /// One link's measurements, over all repetitions.
    private struct Course {
        var link: any Link
        var roundTrips: [Double] = []
        var awaited: [Double] = []
        /// Messages per second of each repetition.
        var rates: [Double] = []
    }

    func validate() throws {
        try require((10...80).contains(payload), "--payload must be 10 to 80")
        try require((1...8_192).contains(window), "--window must be 1 to 8192")
        try require(messages >= window && roundTrips > 0, "--messages must be at least --window, --round-trips 1")
        try require(repetitions > 0, "--repetitions must be at least 1")
    }

    func run() async throws {
        var files: TLSFiles?
        var notes: [String] = []
        if tls {
            do {
                files = try await TLSFiles()
            } catch {
                notes.append("TLS was not measured: \(error)")
            }
        }
        defer { files?.remove() }
        var courses = [
            Course(link: try await BareEcho("bare echo", payloadBytes: payload, tls: nil)),
            Course(link: try await PeerLink("peers, shared secret", payloadBytes: payload, tls: nil)),
        ]
        if let files {
            courses.append(Course(link: try await BareEcho("bare echo, TLS", payloadBytes: payload, tls: files)))
            courses.append(Course(link: try await PeerLink("peers, mutual TLS", payloadBytes: payload, tls: files)))
        }
        for repetition in 0...repetitions {
            progress(repetition == 0 ? "warm-up" : "repetition \(repetition) of \(repetitions)")
            for position in courses.indices { try await measure(&courses[position], counts: repetition > 0) }
        }
        for course in courses { try await course.link.close() }
        try report(courses, notes: notes)
    }

    private func measure(_ course: inout Course, counts: Bool) async throws {
        let link = course.link
        let trips = try await link.exchange(roundTrips, window: 1).gaps
        let pipelined = try await link.exchange(messages, window: window).duration
        var awaited: [Double] = []
        for _ in 0..<roundTrips {
            let start = uptimeNanoseconds()
            try await link.awaited()
            awaited.append(Double(uptimeNanoseconds() - start))
        }
        guard counts else { return }
        course.roundTrips += trips.map { $0 / 1e3 }
        course.awaited += awaited.map { $0 / 1e3 }
        course.rates.append(Double(messages) / pipelined * 1e9)
    }

    private func report(_ courses: [Course], notes: [String]) throws {
        var report = Report(
            "protocol",
            setting: "\(payload)-byte payload, \(repetitions) repetitions of \(roundTrips) round trips and \(messages) "
                + "messages with \(window) in flight, one repetition of warm-up")
        var trips = Report.Table("round trip, handler to handler, microseconds")
        var awaited = Report.Table("round trip, awaited by a task, microseconds")
        var rates = Report.Table(
            "pipelined, messages there and back per second", columns: ["n", "median", "lowest", "highest"])
        for course in courses {
            trips.add(course.link.name, Summary(course.roundTrips))
            awaited.add(course.link.name, Summary(course.awaited))
            rates.add(
                course.link.name,
                [Double(course.rates.count), Summary(course.rates)?.p50, course.rates.min(), course.rates.max()])
        }
        report.tables = [trips, awaited, rates, try wireBytes()]
        for (bare, peers) in zip(courses, courses.dropFirst()).enumerated().filter({ $0.offset % 2 == 0 }).map(
            \.element)
        {
            let (name, baseline) = (peers.link.name, bare.link.name)
            report.compare(
                "round trip p50, \(name)", Summary(peers.roundTrips)?.p50, with: Summary(bare.roundTrips)?.p50,
                called: baseline)
            report.compare(
                "round trip p99, \(name)", Summary(peers.roundTrips)?.p99, with: Summary(bare.roundTrips)?.p99,
                called: baseline)
            report.compare(
                "awaited round trip p50, \(name)", Summary(peers.awaited)?.p50, with: Summary(bare.awaited)?.p50,
                called: baseline)
            report.compare(
                "pipelined messages/s, \(name)", Summary(peers.rates)?.p50, with: Summary(bare.rates)?.p50,
                called: baseline, better: .higher)
        }
        report.notes = notes
        try output.finish(report)
    }

    /// The goal for heartbeats is 32 bytes each.
    private func wireBytes() throws -> Report.Table {
        let limit = 32.0
        var table = Report.Table("bytes on the wire, before TLS", columns: ["bytes", "of the \(Int(limit)) allowed"])
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
