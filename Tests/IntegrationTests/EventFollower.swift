import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import OrchestryModel

/// A client of `GET /events/stream` as they should be: keeps the last id, and when a connection ends goes on at the next
/// node.
actor EventFollower {
    struct Received: Sendable {
        var id: Int64
        var event: JSONValue
    }

    private let cluster: Cluster
    private let members: [Cluster.Member]
    private(set) var received: [Received] = []
    /// Connections that gave something.
    private(set) var connections = 0
    private(set) var resets = 0
    /// Nodes that said that they stop.
    private(set) var farewells = 0
    private var lastID: Int64
    /// What has come of the next event: without its blank line it may be cut short, and its id counts for nothing.
    private var begun: (id: Int64?, event: JSONValue?) = (nil, nil)

    /// - Parameters:
    ///   - members: asked in turn.
    ///   - lastID: 0: everything.
    init(_ cluster: Cluster, via members: [Cluster.Member], after lastID: Int64 = 0) {
        self.cluster = cluster
        self.members = members
        self.lastID = lastID
    }

    /// Runs until cancelled.
    func run() async {
        var turn = 0
        while !Task.isCancelled {
            do { try await follow(members[turn % members.count]) } catch {}  // Gone or not there yet: the next one.
            turn += 1
            try? await Task.sleep(for: .milliseconds(50))  // Cancelled: the condition ends the loop.
        }
    }

    private func follow(_ member: Cluster.Member) async throws {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(member.apiPort)/events/stream")
        request.headers.add(name: "Last-Event-ID", value: "\(lastID)")
        let response = try await cluster.http.execute(request, timeout: .hours(1))
        guard response.status == .ok else { return }
        connections += 1
        begun = (nil, nil)
        var rest = ByteBuffer()
        for try await var chunk in response.body {
            rest.writeBuffer(&chunk)
            while let length = rest.readableBytesView.firstIndex(of: 10).map({ $0 - rest.readerIndex }) {
                take(rest.readString(length: length) ?? "")
                rest.moveReaderIndex(forwardBy: 1)
            }
            rest.discardReadBytes()
        }
    }

    private func take(_ line: String) {
        if line.hasPrefix("id: ") { begun.id = Int64(line.dropFirst(4)) }
        if line.hasPrefix(": this node stops") { farewells += 1 }
        if line == "event: reset" { resets += 1 }
        if line.hasPrefix("data: {\"app_name\"") { begun.event = try? JSONValue(json: line.dropFirst(6).utf8) }
        guard line.isEmpty else { return }
        lastID = begun.id ?? lastID
        if let event = begun.event { received.append(Received(id: lastID, event: event)) }
        begun = (nil, nil)
    }
}
