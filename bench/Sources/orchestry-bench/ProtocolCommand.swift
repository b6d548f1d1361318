import ArgumentParser
import Foundation
import Measuring
import OrchestryModel
import WireProtocol

/// What a message between two nodes costs, and what it would cost without a protocol, and with gRPC.
struct ProtocolCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "protocol",
        abstract: "Round trips and messages per second between two nodes, against a bare echo and gRPC.",
        discussion: """
            Two nodes in this process, one event-loop thread each, over loopback TCP, with a shared secret and with \
            mutual TLS. The baseline sends frames of the same payload back as they come, over plain TCP and TLS. All \
            take turns in each repetition, so that a busy machine is unfair to all of them alike.

            With --grpc so do gRPC's client and server, in a process of their own with one event-loop thread each and the \
            same payload as raw bytes: a call for each message (unary), and all messages in one call (stream). Build it by
              swift build -c release --package-path bench/grpc-peer
              orchestry-bench protocol --grpc bench/grpc-peer/.build/release/orchestry-bench-grpc

            Bytes on the wire are counted by a relay, and allocations by a counter in front of malloc, both in runs of \
            their own that are not timed.
            """)

    @Option(help: "Bytes of payload, 10 to 80.") var payload = 64
    @Option(help: "Round trips of one repetition.") var roundTrips = 5_000
    @Option(help: "Pipelined messages of one repetition.") var messages = 200_000
    @Option(help: "Pipelined messages in flight.") var window = 1_024
    @Option(help: "Repetitions that count; one before them is warm-up.") var repetitions = 7
    @Flag(inversion: .prefixedNo, help: "Measure TLS too (needs the program openssl).") var tls = true
    @Option(help: ArgumentHelp("The program of bench/grpc-peer: measure gRPC too.", valueName: "program"))
    var grpc: String?
    @Option(help: "Pipelined messages of one repetition of gRPC's.") var grpcMessages = 20_000
    @Option(help: "Messages of the runs that count bytes and allocations.") var counted = 4_096
    @OptionGroup var output: OutputOptions

    /// One link's measurements, over all repetitions.
    struct Course {
        var link: any Link
        var roundTrips: [Double] = []
        var awaited: [Double] = []
        /// Messages per second of each repetition.
        var rates: [Double] = []
    }

    /// Those that are compared with each other.
    struct Side {
        var bare: Course
        var peers: Course
        var grpc: [Course]
        var all: [Course] { [bare, peers] + grpc }

        init(_ contenders: Contenders) async throws {
            bare = Course(link: try await contenders.bareEcho())
            peers = Course(link: try await contenders.peers())
            grpc = try await contenders.grpcLinks().map { Course(link: $0) }
        }
    }

    func validate() throws {
        try require((10...80).contains(payload), "--payload must be 10 to 80")
        try require((1...8_192).contains(window), "--window must be 1 to 8192")
        try require(messages >= window && roundTrips > 0, "--messages must be at least --window, --round-trips 1")
        try require(
            grpcMessages >= window && counted >= window, "--grpc-messages and --counted must be at least --window")
        try require(repetitions > 0, "--repetitions must be at least 1")
        if let grpc {
            try require(FileManager.default.isExecutableFile(atPath: grpc), "--grpc: there is no program \(grpc)")
        }
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
        var contenders = [Contenders(payload: payload, tls: nil, grpc: grpc)]
        if let files { contenders.append(Contenders(payload: payload, tls: files, grpc: grpc)) }
        var sides: [Side] = []
        for contender in contenders { sides.append(try await Side(contender)) }
        for repetition in 0...repetitions {
            progress(repetition == 0 ? "warm-up" : "repetition \(repetition) of \(repetitions)")
            for position in sides.indices {
                try await measure(&sides[position].bare, counts: repetition > 0)
                try await measure(&sides[position].peers, counts: repetition > 0)
                for number in sides[position].grpc.indices {
                    try await measure(&sides[position].grpc[number], counts: repetition > 0)
                }
            }
        }
        for course in sides.flatMap(\.all) { try await course.link.close() }

        progress("bytes on the wire")
        var report = report(sides)
        report.tables.append(try await wireTable(contenders))
        report.tables.append(try heartbeatTable())
        progress("allocations")
        do {
            let rows = try await AllocationsCommand.rows(
                payload: payload, messages: counted, window: window, tls: files != nil, grpc: grpc)
            report.tables.append(allocationTable(rows))
        } catch {
            notes.append("allocations were not counted: \(error)")
        }
        report.notes = notes
        try output.finish(report)
    }

    private func measure(_ course: inout Course, counts: Bool) async throws {
        let link = course.link
        let trips = link.isAwaitedOnly ? [] : try await link.exchange(roundTrips, window: 1).gaps
        let messages = link.isAwaitedOnly ? grpcMessages : messages
        let pipelined = try await link.exchange(messages, window: window).duration
        let awaited = try await link.awaited(roundTrips)
        guard counts else { return }
        course.roundTrips += trips.map { $0 / 1e3 }
        course.awaited += awaited.map { $0 / 1e3 }
        course.rates.append(Double(messages) / pipelined * 1e9)
    }
}
