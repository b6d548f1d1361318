import Certificates
import Foundation
import NIOCore
import NIOSSL
import OrchestryModel
import TestSupport
import Testing
import WireProtocol

/// What one process uses, from `/proc`.
private struct Usage: Sendable {
    var residentBytes: Int
    var descriptors: Int
    var logBytes: Int

    init(_ process: pid_t, log: String) throws {
        let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
        residentBytes = (line.split(whereSeparator: { !$0.isNumber }).first).flatMap { Int($0) }.map { $0 << 10 } ?? 0
        descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count
        logBytes = try FileManager.default.attributesOfItem(atPath: log)[.size] as? Int ?? 0
    }
}

/// A live leader's cluster port, under everything a network or a bad peer can send it. Each attacker comes from an
/// address of its own, so that the log can speak of each.
@Suite(
    .serialized, .enabled(if: postgresExpected, "needs PostgreSQL: see configs/dev/test"), .timeLimit(.minutes(8)))
struct PortTests {
    /// More than this is a leak: some connections' buffers and a backlog of 4 MiB a peer, decoded, in a debug build.
    private static let memoryGrowth = 200 << 20
    /// Floods and storms may write no more than this into the log, all together.
    private static let logGrowth = 256 << 10

    private struct Target {
        var cluster: Cluster
        var member: Cluster.Member
        var process: pid_t
        var certificates: CertificateFolder
        var port: Int { member.clusterPort }

        func usage() throws -> Usage { try Usage(process, log: member.folder + "/log") }
        func tls(_ node: String?) throws -> NIOSSLContext { try WirePeer.tls(certificates, as: node) }

        /// Lines about one attacker.
        func lines(about address: String) -> [Substring] {
            cluster.log(of: member).split(separator: "\n").filter {
                $0.contains("]\(address):") || $0.contains(address)
            }
        }

        /// One line at least that says who and why.
        func expectLine(about address: String, _ reason: String, location: SourceLocation = #_sourceLocation)
            async throws
        {
            let isThere = await eventually { lines(about: address).contains { $0.contains(reason) } }
            #expect(
                isThere, "no line about \(address) with '\(reason)': \(lines(about: address))",
                sourceLocation: location)
        }
    }

    @Test func `nothing that is sent to a live leader's port crashes, fills or deposes it`() async throws {
        try await withCluster("port", .protocolOnly) { cluster in
            let before = try await cluster.leadership()
            let quiet = cluster.logLengths
            try await cluster.registerWeb()
            let member = cluster.member(NodeID(unchecked: before.leader))
            let process = try #require(await cluster.processes.identifier(of: member.id))
            let certificates = cluster.certificates
            for name in ["worker-1", "worker-2", "worker-3", "worker-4"] { try certificates.issue(node: name) }
            let target = Target(cluster: cluster, member: member, process: process, certificates: certificates)
            let writer = Writer(cluster, through: cluster.members)
            async let writing: Void = writer.run()
            // Caches are warm, the allocator has its arenas.
            try await eventuallyTrue("some writes are done") { await writer.outcome.done > 30 }
            let start = try target.usage()
            var most = start
            func step(_ name: String, _ body: () async throws -> Void) async throws {
                let begun = ContinuousClock.now
                try await body()
                let now = try target.usage()
                most.residentBytes = max(most.residentBytes, now.residentBytes)
                most.descriptors = max(most.descriptors, now.descriptors)
                print(
                    "port: \(name): \(ContinuousClock.now - begun), resident \(now.residentBytes >> 20) MiB, "
                        + "\(now.descriptors) descriptors, log +\(now.logBytes - start.logBytes) bytes, "
                        + "\(await writer.outcome.done) writes")
                #expect(now.residentBytes - start.residentBytes < Self.memoryGrowth, "\(name)")
                #expect(try await cluster.leadership() == before, "\(name)")
                let failed = await writer.outcome.failed
                #expect(failed.isEmpty, "\(name): \(failed.prefix(3))")
            }

            try await step("noise, truncated and replayed TLS") { try await noise(target) }
            try await step("TLS without a certificate") { try await strangers(target) }
            try await step("TLS, then frames that are wrong") { try await malformed(target) }
            try await step("names that are wrong") { try await impostors(target) }
            try await step("byte by byte") { try await slowLoris(target) }
            try await step("1,000 idle connections") { try await idle(target) }
            try await step("floods of an authenticated peer") { try await floods(target) }
            try await step("a peer that takes nothing in") { try await deaf(target) }

            // All as before: nothing is held for those who are gone.
            try await eventuallyTrue("descriptors return", within: .seconds(30)) {
                try target.usage().descriptors <= start.descriptors + 3
            }
            let end = try target.usage()
            #expect(end.logBytes - start.logBytes < Self.logGrowth, "\(end.logBytes - start.logBytes) bytes of log")
            await writer.stop()
            await writing
            let outcome = await writer.outcome
            #expect(outcome.failed.isEmpty, "\(outcome.failed)")
            print(
                "port: resident \(start.residentBytes >> 20) → most \(most.residentBytes >> 20) → "
                    + "\(end.residentBytes >> 20) MiB; descriptors \(start.descriptors) → most \(most.descriptors) → "
                    + "\(end.descriptors); log +\(end.logBytes - start.logBytes) bytes; \(outcome.done) writes, "
                    + "longest \(outcome.longest)")
            #expect(await cluster.processes.identifier(of: member.id) == process)
            #expect(Glibc.kill(process, 0) == 0, "the same process lives")
            #expect(try await cluster.leadership() == before)
            // What a busy machine does to a leader for a moment, and what it recovers from, is no matter of this test.
            let doubts = cluster.log(of: member, from: quiet[member.id] ?? 0).split(separator: "\n").count {
                $0.contains("Not leading any more")
            }
            print("port: the leader was in doubt \(doubts) times")
        }
    }

    // MARK: Scenarios

    private func noise(_ target: Target) async throws {
        var random = SystemRandomNumberGenerator()
        for number in 0..<100 {
            let peer = try await WirePeer(port: target.port, from: "127.0.3.1")
            let length = Int.random(in: 1...8192, using: &random)
            let bytes =
                number % 4 == 0
                ? Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
                : (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            // The node may have closed it in the middle.
            try? await peer.send(bytes: bytes)
            #expect(await peer.waitUntilClosed(), "noise of \(bytes.count) bytes is not waited for")
        }
        try await target.expectLine(about: "127.0.3.1", "reason")
        // What a good peer has said is worth nothing when somebody says it again.
        let good = try await WirePeer(port: target.port, from: "127.0.3.2", tls: try target.tls("worker-1"))
        let answer = try await good.introduce("worker-1", to: target.cluster.name, .control)
        #expect(answer?.isAccepted == true, "\(String(describing: answer))")
        let recorded = good.ciphertext
        good.close()
        #expect(recorded.count > 500)
        let replayed = try await WirePeer(port: target.port, from: "127.0.3.3")
        try await replayed.send(bytes: recorded)
        #expect(await replayed.waitUntilClosed())
        try await target.expectLine(about: "127.0.3.3", "reason")
        // Half of a ClientHello, and then nothing, or the end.
        for (address, closes) in [("127.0.3.4", false), ("127.0.3.5", true)] {
            let peer = try await WirePeer(port: target.port, from: address)
            try await peer.send(bytes: Array(recorded.prefix(100)))
            if closes { peer.close() }
            #expect(await peer.waitUntilClosed())
            try await target.expectLine(about: address, closes ? "EOF during handshake" : "Hello exchange in time")
        }
    }

    private func strangers(_ target: Target) async throws {
        let anonymous = try await WirePeer(port: target.port, from: "127.0.4.1", tls: try target.tls(nil))
        // It may be closed before or after the Hello has been written.
        let answer = try? await anonymous.introduce("worker-1", to: target.cluster.name, .control)
        #expect(answer == nil, "without a certificate nobody is answered: \(String(describing: answer))")
        #expect(await anonymous.waitUntilClosed())
        try await target.expectLine(about: "127.0.4.1", "it shows no certificate")
        let folder = try TemporaryFolder("foreign")
        let foreign = CertificateFolder(path: folder.path + "/certs")
        try foreign.initialize()
        try foreign.issue(node: "worker-1")
        let unknown = try await WirePeer(
            port: target.port, from: "127.0.4.2", tls: try WirePeer.tls(foreign, as: "worker-1"))
        let none = try? await unknown.introduce("worker-1", to: target.cluster.name, .control)
        #expect(none == nil, "\(String(describing: none))")
        try await target.expectLine(about: "127.0.4.2", "none of the authorities")
    }

    private func malformed(_ target: Target) async throws {
        var hello = ByteBuffer()
        try FrameEncoder.encode(
            WirePeer.hello("worker-1", cluster: target.cluster.name, channel: .control), into: &hello)
        let good = Array(hello.readableBytesView)
        var magic = good
        magic[6] ^= 1
        var noise = SystemRandomNumberGenerator()
        let garbage = (0..<500).map { _ in UInt8.random(in: 0...255, using: &noise) }
        // Address, bytes, the code it is answered with where one is certain, and a word of the line in the log.
        let rows: [(String, [UInt8], ErrorCode?, String)] = [
            ("127.0.5.1", [0, 0, 4, 1], .frameTooLong, "reason"),
            ("127.0.5.2", [0xFF, 0xFF, 0xFF, 0xFF], .frameTooLong, "reason"),
            ("127.0.5.3", [0, 0, 0, 1, 1], .frameTooShort, "reason"),
            ("127.0.5.4", magic, .badValue, "magic"),
            ("127.0.5.5", [0, 0, 0, 2, 0x06, 0], .unexpectedMessage, "during the Hello exchange"),
            ("127.0.5.6", [0, 0, 0, 2, 0xEE, 0], .unknownType, "reason"),
            ("127.0.5.7", Array(good.dropLast(10)), .helloTimeout, "Hello exchange in time"),
            ("127.0.5.8", garbage, nil, "reason"),
        ]
        for (address, bytes, code, word) in rows {
            let peer = try await WirePeer(port: target.port, from: address, tls: try target.tls("worker-1"))
            try await peer.send(bytes: bytes)
            let answer = await peer.next()
            if let code { #expect(answer?.errorCode == code, "\(address): \(String(describing: answer))") }
            #expect(await peer.waitUntilClosed(), "\(address)")
            try await target.expectLine(about: address, word)
        }
    }

    private func impostors(_ target: Target) async throws {
        let cluster = target.cluster.name
        let other = target.cluster.members.first { $0.id != target.member.id }?.id.rawValue ?? ""
        let me = target.member.id.rawValue
        // Address, whose certificate, the Hello, the code.
        let rows: [(String, String, Message, ErrorCode)] = [
            (
                "127.0.6.1", "worker-1", WirePeer.hello("worker-1", cluster: "elsewhere", channel: .control),
                .clusterMismatch
            ),
            (
                "127.0.6.2", "worker-1",
                WirePeer.hello("worker-1", cluster: cluster, channel: .control, versions: 7...9), .noCommonVersion
            ),
            (
                "127.0.6.3", "worker-1", WirePeer.hello("worker-2", cluster: cluster, channel: .control),
                .identityMismatch
            ),
            (
                "127.0.6.4", me, WirePeer.hello(me, role: .controller, cluster: cluster, channel: .control),
                .duplicateNode
            ),
            // A controller that stands and lives, under its own certificate: only the incarnation differs.
            (
                "127.0.6.5", other, WirePeer.hello(other, role: .worker, cluster: cluster, channel: .control),
                .duplicateNode
            ),
        ]
        for (address, name, hello, code) in rows {
            let peer = try await WirePeer(port: target.port, from: address, tls: try target.tls(name))
            try await peer.send(hello)
            let answer = await peer.next()
            #expect(answer?.errorCode == code, "\(address): \(String(describing: answer))")
            #expect(await peer.waitUntilClosed(), "\(address)")
            try await target.expectLine(about: address, "reason")
            if case .hello(let said) = hello { try await target.expectLine(about: address, said.node.id.rawValue) }
        }
    }

    private func slowLoris(_ target: Target) async throws {
        let peers = try await withThrowingTaskGroup(of: WirePeer.self) { group in
            for _ in 0..<50 { group.addTask { try await WirePeer(port: target.port, from: "127.0.7.1") } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        // The head of a TLS record of 16 KiB, which never gets there.
        let bytes: [UInt8] = [0x16, 3, 1, 0x40, 0] + Array(repeating: 1, count: 200)
        let begun = ContinuousClock.now
        for byte in bytes where ContinuousClock.now - begun < .seconds(10) && peers.contains(where: { !$0.isClosed }) {
            // Those that are closed already don't take it.
            for peer in peers where !peer.isClosed { try? await peer.send(bytes: [byte]) }
            try await Task.sleep(for: .milliseconds(50))
        }
        let left = peers.count { !$0.isClosed }
        #expect(left == 0, "two seconds are the limit for all bytes together")
    }

    private func idle(_ target: Target) async throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        if limit.rlim_cur < 4096 {
            limit.rlim_cur = min(4096, limit.rlim_max)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        let before = try target.usage()
        var idle: [WirePeer] = []
        for number in 0..<1000 {
            // Several addresses, so that the total counts and not only each one.
            idle.append(try await WirePeer(port: target.port, from: "127.0.8.\(1 + number % 10)"))
        }
        let during = try target.usage()
        #expect(during.descriptors - before.descriptors < 400, "\(during.descriptors - before.descriptors) half-open")
        // A good peer's place is free again two seconds later at the latest.
        let accepted = await eventually(within: .seconds(20)) {
            guard let peer = try? await WirePeer(port: target.port, tls: try target.tls("worker-1")) else {
                return false
            }
            defer { peer.close() }
            return (try? await peer.introduce("worker-1", to: target.cluster.name, .control))?.isAccepted == true
        }
        #expect(accepted)
        let left = await eventually { idle.allSatisfy(\.isClosed) }
        #expect(left, "\(idle.count { !$0.isClosed }) are still open")
    }

    private func storm(_ count: Int, _ message: (Int) -> (Message, UInt64)) throws -> [UInt8] {
        var buffer = ByteBuffer()
        for number in 0..<count {
            let (message, correlation) = message(number)
            try FrameEncoder.encode(message, correlation: correlation, into: &buffer)
        }
        return Array(buffer.readableBytesView)
    }

    private func joined(_ name: String, _ target: Target) async throws -> (control: WirePeer, bulk: WirePeer) {
        let tls = try target.tls(name)
        let bulk = try await WirePeer(port: target.port, tls: tls)
        let first = try await bulk.introduce(name, to: target.cluster.name, .bulk)
        let control = try await WirePeer(port: target.port, tls: tls)
        let second = try await control.introduce(name, to: target.cluster.name, .control)
        #expect(first?.isAccepted == true && second?.isAccepted == true)
        return (control, bulk)
    }

    private func floods(_ target: Target) async throws {
        let peer = try await joined("worker-2", target)
        let node = NodeID(unchecked: "worker-2")
        let request = ControlRequest(operation: .listApps, idempotencyKey: "k", actor: "flood")
        let sample = Sample(app: AppName(unchecked: "web"), node: node, second: 1_700_000_000)
        let heartbeat = Message.election(.heartbeat(epoch: Epoch(1), sentAt: 1))
        let floods: [(WirePeer, [UInt8])] = [
            (peer.control, try storm(100_000) { _ in (.ping, 0) }),
            (peer.control, try storm(50_000) { _ in (heartbeat, 0) }),
            (
                peer.control,
                try storm(10_000) { number in
                    (.forwardRequest(request, deadlineMilliseconds: 1000), UInt64(2 * number + 2))
                }
            ),
            (peer.control, try storm(20_000) { _ in (.renew, 0) }),
            (peer.bulk, try storm(300) { _ in (.sampleBatch(Array(repeating: sample, count: 500)), 0) }),
            (peer.bulk, try storm(20_000) { _ in (.routingAck(.init(epoch: Epoch(1), number: 1)), 0) }),
        ]
        for (connection, bytes) in floods {
            // Given up on, or ended by the node: both are an end of the flood.
            try? await connection.send(bytes: bytes)
        }
        try await eventuallyTrue("the flood is worked off, or its sender is disconnected", within: .seconds(60)) {
            if peer.control.isClosed { return true }
            try await peer.bulk.send(.sampleBatch([]))
            try await peer.control.send(.logRequest(instance: InstanceID(unchecked: "a"), tailLines: 1), correlation: 4)
            return true
        }
        peer.control.close()
        peer.bulk.close()
    }

    private func deaf(_ target: Target) async throws {
        let peer = try await joined("worker-3", target)
        try await peer.control.stopReading()
        let request = ControlRequest(operation: .systemMetrics, idempotencyKey: "k", actor: "deaf")
        for _ in 0..<20 where !peer.control.isClosed {
            // As above.
            try? await peer.control.send(
                bytes: try storm(500) { number in
                    (.forwardRequest(request, deadlineMilliseconds: 1000), UInt64(2 * number + 2))
                })
        }
        peer.control.close()
        peer.bulk.close()
    }
}
