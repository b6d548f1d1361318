import Measuring

/// Something that carries a message there and an answer back.
protocol Link: Sendable {
    var name: String { get }
    /// What counts its bytes, if it was made so.
    var relay: CountingRelay? { get }
    /// Whether its answers come to tasks only: then `exchange` is no measure of round trips.
    var isAwaitedOnly: Bool { get }
    /// More messages in flight than this are not tried.
    var mostInFlight: Int { get }
    /// Handlers answer handlers: no task is woken in between.
    func exchange(_ count: Int, window: Int) async throws -> Pump.Result
    /// One message and its answer after the other, from a task that waits for each.
    /// - Returns: nanoseconds of each.
    func awaited(_ count: Int) async throws -> [Double]
    /// Calls of `malloc` so far, of the process that has both ends; nil where nothing counts them.
    func allocations() async throws -> Double?
    func close() async throws
}

extension Link {
    var isAwaitedOnly: Bool { false }
    var mostInFlight: Int { .max }
    func allocations() -> Double? { countedAllocations() }

    func timed(_ count: Int, _ once: () async throws -> Void) async rethrows -> [Double] {
        var times: [Double] = []
        times.reserveCapacity(count)
        for _ in 0..<count {
            let start = uptimeNanoseconds()
            try await once()
            times.append(Double(uptimeNanoseconds() - start))
        }
        return times
    }
}

/// Which links `protocol` compares, and how each is made: there are three runs with links of their own.
struct Contenders: Sendable {
    var payload: Int
    /// nil: plain TCP.
    var tls: TLSFiles?
    /// The program of `bench/grpc-peer`; nil: without.
    var grpc: String?

    /// - Parameter counting: whether a relay in between counts bytes.
    func bareEcho(counting: Bool = false) async throws -> any Link {
        try await BareEcho(
            tls == nil ? "bare echo" : "bare echo, TLS", payloadBytes: payload, tls: tls, counting: counting)
    }

    func peers(counting: Bool = false) async throws -> any Link {
        try await PeerLink(
            tls == nil ? "peers, shared secret" : "peers, mutual TLS", payloadBytes: payload, tls: tls,
            counting: counting)
    }

    /// A call for each message, and all in one call.
    func grpcLinks(counting: Bool = false) async throws -> [any Link] {
        guard let grpc else { return [] }
        var links: [any Link] = []
        for kind in GRPCLink.Kind.allCases {
            links.append(try await GRPCLink(kind, program: grpc, payloadBytes: payload, tls: tls, counting: counting))
        }
        return links
    }

    func all(counting: Bool = false) async throws -> [any Link] {
        [try await bareEcho(counting: counting), try await peers(counting: counting)]
            + (try await grpcLinks(counting: counting))
    }
}
